"""One run a folder, and one process."""

import atexit
import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sar_codec.errors import UserError
from sar_codec.files import cannot_be_written

_NAME = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_until_the_end = ExitStack()
atexit.register(_until_the_end.close)
_held: dict[Path, int] = {}  # folders that this process holds, and how often


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """A context in which no other process can be in `locked` with the same folder.

    Ends with the process, however it ends. Nested uses in one process are one.

    Raises:
        UserError: another process is; says which. Or the folder cannot be written.
    """
    key = run_dir.resolve()
    if key in _held:
        _held[key] += 1
        try:
            yield
        finally:
            _held[key] -= 1
        return
    handle = _claim(run_dir)
    _held[key] = 1
    try:
        yield
    finally:
        del _held[key]
        with suppress(OSError):
            (run_dir / _NAME).unlink()
        os.close(handle)


def hold(run_dir: Path) -> None:
    """Enters `locked` until the program ends, or `release_held` is called.

    Raises:
        UserError: as `locked`.
    """
    _until_the_end.enter_context(locked(run_dir))


def release_held() -> None:
    """Lets others have the folders that this process was to hold until its end."""
    _until_the_end.close()


def is_inside(path: str | os.PathLike[str] | None, folder: Path) -> bool:
    """Whether a path leads into a folder or to it; None leads nowhere."""
    return path is not None and Path(path).resolve().is_relative_to(folder.resolve())


def refuse_to_train_over(run_dir: Path) -> None:
    """Makes sure that a new run begins in a folder without checkpoints.

    Raises:
        UserError: there are some.
    """
    if any((run_dir / "checkpoints").glob("*.pth")):
        raise UserError(
            f"{run_dir}: holds a run already; give another folder, or go on with it by resume=auto"
        )


def _claim(run_dir: Path) -> int:
    path = run_dir / _NAME
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                # Not flock, which a killed process's loader workers would hold for some seconds.
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _NO_LOCKS:
                    print(
                        f"warning: {run_dir}: its file system has no locks ({error.strerror}); "
                        "make sure that no other process trains there",
                        file=sys.stderr,
                    )
                    break
                if not isinstance(error, BlockingIOError | PermissionError):
                    raise
                owner = os.read(handle, 200).decode(errors="replace").strip() or "another process"
                os.close(handle)
                raise UserError(
                    f"{run_dir}: {owner} is at work there; wait for it, stop it, or give "
                    "another folder with hydra.run.dir=FOLDER"
                ) from None
            # The one before may have removed the file between our opening and our locking it.
            if path.exists() and os.fstat(handle).st_ino == path.stat().st_ino:
                break
            os.close(handle)
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
    except OSError as error:
        raise UserError(f"{cannot_be_written(run_dir, error)}: hydra.run.dir=FOLDER") from error
    return handle
