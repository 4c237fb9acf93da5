"""Files that appear whole or not at all."""

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from sar_codec.errors import UserError

_PREFIX, _SUFFIX = ".", ".tmp"


def write_whole(path: Path, parts: Sequence[bytes]) -> None:
    """Writes `parts`, one after the other, into a temporary file and puts that in `path`'s place.

    Whoever opens `path` sees the old file or the new one, even after a power cut.

    Raises:
        UserError: it cannot be written; what was there is intact.
    """
    write_whole_by(path, lambda file: file.writelines(parts), sum(map(len, parts)))


def write_whole_by(path: Path, write: Callable[[IO[bytes]], object], size: int) -> None:
    """As `write_whole`, of what `write` writes into the file that it is given.

    Args:
        path: of the file.
        write: is given the temporary file.
        size: bytes that it will write, for messages.

    Raises:
        UserError: it cannot be written; what was there is intact.
    """

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())

    _put_in_place(path, fill, size)


def give_same_content(source: Path, target: Path) -> None:
    """Makes `target` what `source` is now: another name of the same bytes, or else a copy.

    Files are replaced here, never changed, so the two names are as good as two files.

    Raises:
        UserError: it cannot be written; what was there is intact.
    """

    def fill(temporary: Path) -> None:
        try:
            temporary.hardlink_to(source)
        except OSError:  # another filesystem, or one without links
            shutil.copyfile(source, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())

    _put_in_place(target, fill, 0 if not source.exists() else source.stat().st_size)


def sweep_temporaries(folder: Path) -> list[Path]:
    """Removes what writers that were killed left in a folder; gives what it removed.

    To be called by the one process that writes there.
    """
    stale = [path for path in folder.glob(f"{_PREFIX}*{_SUFFIX}") if path.is_file()]
    for path in stale:
        path.unlink(missing_ok=True)
    return stale


def keep_aside(path: Path) -> None:
    """Renames a file or folder, where there is one, to path.1, path.2 ..., the first not taken."""
    if path.exists():
        numbers = range(1, 1 + len(list(path.parent.glob(f"{path.name}.*"))) + 1)
        names = [path.with_name(f"{path.name}.{number}") for number in numbers]
        path.rename(next(name for name in names if not name.exists()))


def cannot_be_written(path: Path, error: BaseException, size: int | None = None) -> UserError:
    """What to tell the user of a failed write, with the bytes needed and free where they matter."""
    free = None
    with suppress(OSError):
        free = shutil.disk_usage(_existing(path)).free
    reason = str(error)
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror  # without the temporary file's name
    if free is not None and _is_about_space(error):
        reason += (
            f", {free:,} bytes free" if size is None else f", {size:,} bytes needed, {free:,} free"
        )
    return UserError(
        f"{path}: cannot be written ({reason}); what was there before is intact; make it writable, "
        "free some space there or choose another output folder"
    )


def temporary_beside(path: Path) -> Path:
    """The name under which this process writes what will take `path`'s place."""
    return path.with_name(f"{_PREFIX}{path.name}.{os.getpid()}{_SUFFIX}")


def take_place(temporary: Path, path: Path) -> None:
    """Renames a file that is written and synced to `path`, for good even after a power cut."""
    temporary.replace(path)
    temporary.unlink(missing_ok=True)  # still there where both were one file already
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _put_in_place(path: Path, fill: Callable[[Path], object], size: int) -> None:
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(temporary)
        take_place(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        raise cannot_be_written(path, error, size) from error


def _is_about_space(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _existing(path: Path) -> Path:
    """The nearest folder above that exists."""
    return next(each for each in (path, *path.absolute().parents) if each.exists())
