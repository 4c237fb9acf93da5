"""Loops run compiled, with a cache of their code or without."""

import numpy as np

from sar_codec.entropy.compiled import compiled

LOOP = """
def total(values):
    found = 0
    for value in values:
        found += value
    return found
"""


def test_where_code_cannot_be_kept_a_loop_runs_all_the_same() -> None:
    """What comes from no file has no place beside it for its code."""
    names: dict[str, object] = {}
    exec(LOOP, names)
    assert compiled(names["total"])(np.arange(5)) == 10  # type: ignore[type-var, operator]  # a name of unknown code
