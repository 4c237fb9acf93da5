"""Loops over symbols, compiled."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import event

FOLDERS = "coding", "entropy", "models"  # that have compiled loops, and all that these call
Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(loop: Loop) -> Loop:
    """The same function, compiled when it is first called, and run without Python's lock.

    The machine code is kept in a cache, where there is a folder for it that can be written:
    `__pycache__`, the user's cache or `NUMBA_CACHE_DIR`. It is of this state of the package alone:
    Numba itself notices that the file of a loop changed, but not that of one which it calls.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    loop.__qualname__ += f"_{_state()}"  # which is the name in the cache
    try:
        return cast(Loop, numba.njit(cache=True, **options)(loop))
    except RuntimeError:  # "no locator available": nowhere to keep it
        return cast(Loop, numba.njit(**options)(loop))


@contextmanager
def telling_of_compilation(tell: Callable[[], None]) -> Iterator[None]:
    """A context in which `tell` is called once, if loops are compiled that no cache holds."""
    with event.install_listener("numba:compile", _Teller(tell)):
        yield


class _Teller(event.Listener):
    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell: Callable[[], None] | None = tell

    def on_start(self, event: event.Event) -> None:
        tell, self._tell = self._tell, None
        if tell:
            tell()

    def on_end(self, event: event.Event) -> None:
        pass


@cache
def _state() -> str:
    """Eight hex digits of all that compiled loops are made of."""
    state = hashlib.sha256()
    package = Path(__file__).parent.parent
    for folder in FOLDERS:
        for path in sorted((package / folder).glob("*.py")):
            state.update(path.read_bytes())
    return state.hexdigest()[:8]
