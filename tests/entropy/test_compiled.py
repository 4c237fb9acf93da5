"""Loops run compiled, with a cache of their code or without."""

from pathlib import Path

import numpy as np

import sar_codec
from sar_codec.entropy.compiled import FOLDERS, compiled

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


def test_all_that_have_compiled_loops_are_told_apart_in_the_cache() -> None:
    """Else a loop's kept code would outlive a change of what it calls."""
    package = Path(sar_codec.__file__).parent
    users = [path for path in package.rglob("*.py") if "import compiled" in path.read_text()]
    assert len(users) > 3
    assert {path.relative_to(package).parts[0] for path in users} <= set(FOLDERS)
