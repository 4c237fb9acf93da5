"""Files that appear whole or not at all."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

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


class WholeFile:
    """A file that is written bit by bit, and appears when the context ends, whole or not at all.

    If the context ends with an error, or a write fails, nothing is left behind.

    Args:
        path: of the file.
        overwrite: whether it may take the place of another.

    Raises:
        UserError: there is a file already that may not be overwritten, or it cannot be written;
            also when writing and leaving the context. What was there is intact.
    """

    def __init__(self, path: Path, overwrite: bool) -> None:
        self._path, self._overwrite = path, overwrite
        self._temporary = temporary_beside(path)
        if path.is_dir():
            raise UserError(f"{path}: is a folder; give the name of a file")
        if not overwrite and os.path.lexists(path):
            raise self._exists()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._temporary.open("wb")
        except OSError as error:
            raise cannot_be_written(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.discard()
            return
        with self._discarded_on_error():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            take_place(self._temporary, self._path, self._overwrite)

    def write(self, content: bytes) -> None:
        """Writes after what was written before."""
        with self._discarded_on_error():
            self._file.write(content)

    def rewrite_start(self, content: bytes) -> None:
        """Writes over the first bytes."""
        with self._discarded_on_error():
            self._file.seek(0)
            self._file.write(content)
            self._file.seek(0, os.SEEK_END)

    def flushed(self) -> Path:
        """Where the file is until the context ends, with all that was written to it."""
        with self._discarded_on_error():
            self._file.flush()
        return self._temporary

    def discard(self) -> None:
        """Ends it without a file."""
        with suppress(OSError):  # of bytes that were still to be written
            self._file.close()
        with suppress(OSError):
            self._temporary.unlink()

    @contextmanager
    def _discarded_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.discard()
            if isinstance(error, FileExistsError):
                raise self._exists() from None
            if isinstance(error, OSError):
                raise cannot_be_written(self._path, error) from error
            raise

    def _exists(self) -> UserError:
        return UserError(f"{self._path}: exists already; give another name, or allow to overwrite")


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


def take_place(temporary: Path, path: Path, overwrite: bool = True) -> None:
    """Renames a file that is written and synced to `path`, for good even after a power cut.

    Raises:
        FileExistsError: something has that name already and is not to be overwritten.
    """
    if overwrite:
        temporary.replace(path)
    else:
        _rename_to_new(temporary, path)
    temporary.unlink(missing_ok=True)  # still there where both are one file
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


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Renames, but for FileExistsError where there is something of that name."""
    try:
        path.hardlink_to(temporary)  # unlike a rename, never takes the place of a file
    except FileExistsError:
        raise
    except OSError:  # a filesystem without links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.replace(path)


def _is_about_space(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _existing(path: Path) -> Path:
    """The nearest folder above that exists."""
    return next(each for each in (path, *path.absolute().parents) if each.exists())
