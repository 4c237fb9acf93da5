"""One run a folder, and one process."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from sar_codec.errors import UserError
from sar_codec.run_lock import is_inside, locked, refuse_to_train_over


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_a_run_goes_on_warned(
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_locks(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    with locked(tmp_path):
        pass
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {tmp_path}: its file system has no locks (")
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_another_error_of_a_lock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "lockf", failing)
    with pytest.raises(UserError, match="Input/output error"), locked(tmp_path):
        pass


def test_only_whole_checkpoints_make_a_run(tmp_path: Path) -> None:
    refuse_to_train_over(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".latest.pth.7.tmp").touch()
    refuse_to_train_over(tmp_path)
    (tmp_path / "checkpoints" / "previous.pth").touch()
    with pytest.raises(UserError, match="holds a run already"):
        refuse_to_train_over(tmp_path)


def test_what_is_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    monkeypatch.chdir(tmp_path)
    assert is_inside("run", tmp_path / "run")
    assert is_inside("link/checkpoints/latest.pth", Path("run"))
    assert not is_inside("running/checkpoints/latest.pth", Path("run"))
    assert not is_inside(None, Path("run"))
