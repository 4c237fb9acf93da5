"""Loops over symbols, compiled."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(loop: Loop) -> Loop:
    """The same function, compiled when it is first called, and run without Python's lock.

    The machine code is kept in a cache, where there is a folder for it that can be written:
    `__pycache__`, the user's cache or `NUMBA_CACHE_DIR`.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return cast(Loop, numba.njit(cache=True, **options)(loop))
    except RuntimeError:  # "no locator available": nowhere to keep it
        return cast(Loop, numba.njit(**options)(loop))
