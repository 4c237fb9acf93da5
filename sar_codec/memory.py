"""How the memory of a program's own process is managed."""

import ctypes
from contextlib import suppress

# Of glibc's malloc.h, for mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1
_LARGEST_MMAP_THRESHOLD = 2**25


def keep_freed_memory() -> None:
    """Lets this process keep memory that it frees, for what it allocates next.

    By default, glibc gives arrays of a few megabytes back to the system as soon as they are freed,
    and each page of the next one must be found and cleared again: a twentieth of the time that
    tiles take. Only for programs: whoever imports this package manages memory as they like. Does
    nothing where there is no glibc.
    """
    with suppress(AttributeError, OSError, TypeError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        allocator.mallopt(_TRIM_THRESHOLD, _MOST)
