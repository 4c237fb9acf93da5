import errno
import os
from pathlib import Path
from typing import Any

import pytest

from sar_codec import files
from sar_codec.errors import UserError


def test_parts_are_written_one_after_the_other(tmp_path: Path) -> None:
    files.write_whole(tmp_path / "new" / "x", [b"a", b"b", b""])
    assert (tmp_path / "new" / "x").read_bytes() == b"ab"
    assert os.listdir(tmp_path / "new") == ["x"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, r"No space left on device, 4 bytes needed, [0-9,]+ free"),
        (errno.EDQUOT, r"Disk quota exceeded, 4 bytes needed, [0-9,]+ free"),
        (errno.EIO, r"Input/output error\)"),
        (errno.EACCES, r"Permission denied\)"),
        (errno.EROFS, r"Read-only file system\)"),
    ],
)
@pytest.mark.parametrize("operation", ["fsync", "open", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    code: int, said: str, operation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    files.write_whole(path, [b"old"])

    def fail(*arguments: Any, **settings: Any) -> None:
        raise OSError(code, os.strerror(code), "x.tmp")

    with monkeypatch.context() as patched:
        patched.setattr(*{"fsync": (os, "fsync")}.get(operation, (Path, operation)), fail)
        with pytest.raises(UserError, match=f"x: cannot be written .{said}"):
            files.write_whole(path, [b"news"])
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("links", [True, False])
def test_the_same_content_stays_when_the_first_name_is_written_again(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: os.link(tmp_path / "none", "none"))
    first, second = tmp_path / "first", tmp_path / "second"
    files.write_whole(first, [b"1"])
    for _ in range(2):  # the second time, both are the same file already
        files.give_same_content(first, second)
    files.write_whole(first, [b"2"])
    assert (first.read_bytes(), second.read_bytes()) == (b"2", b"1")
    assert sorted(os.listdir(tmp_path)) == ["first", "second"]


def test_only_temporaries_are_swept(tmp_path: Path) -> None:
    for name in ("latest.pth", ".latest.pth.123.tmp", ".hidden", "x.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".folder.tmp").mkdir()
    assert files.sweep_temporaries(tmp_path) == [tmp_path / ".latest.pth.123.tmp"]
    assert sorted(os.listdir(tmp_path)) == [".folder.tmp", ".hidden", "latest.pth", "x.tmp"]
    assert files.sweep_temporaries(tmp_path / "none") == []
