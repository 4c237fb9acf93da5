import errno
import os
import resource
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


def test_a_file_written_bit_by_bit_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x"
    with files.WholeFile(path, overwrite=False) as file:
        file.write(b"??cd")
        file.write(b"e")
        file.rewrite_start(b"ab")
        file.write(b"f")
        assert not path.exists()
    assert path.read_bytes() == b"abcdef"
    assert os.listdir(tmp_path / "new") == ["x"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "of another file")])
def test_an_error_while_writing_bit_by_bit_leaves_the_old_file_and_is_told(
    error: BaseException, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(type(error)) as told, files.WholeFile(path, overwrite=True) as file:
        file.write(b"new")
        raise error
    assert told.value is error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("writes", [1, 1000])
def test_a_file_too_large_for_the_disk_is_told_and_not_left(writes: int, tmp_path: Path) -> None:
    path = tmp_path / "x"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with (  # one write fails as it is sent on when the context ends, one of many before that
            pytest.raises(UserError, match=r"x: cannot be written .File too large.*free"),
            files.WholeFile(path, overwrite=True) as file,
        ):
            for _ in range(writes):
                file.write(bytes(100_001 // writes + 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []
    with pytest.raises(ValueError, match="closed"):
        file.write(b"more")


@pytest.mark.parametrize("operation", ["fsync", "replace"])
def test_a_failed_ending_leaves_the_old_file_and_nothing_else(
    operation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def fail(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr({"fsync": os, "replace": Path}[operation], operation, fail)
        with (
            pytest.raises(UserError, match=r"x: cannot be written .No space.*, [0-9,]+ bytes free"),
            files.WholeFile(path, overwrite=True) as file,
        ):
            file.write(b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("appears", ["before", "meanwhile"])
@pytest.mark.parametrize("target", [None, "none"])
def test_a_file_that_may_not_be_overwritten_is_kept(
    target: str | None,
    appears: str,
    links: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: os.link(tmp_path / "none", "none"))
    path = tmp_path / "x"

    def appear() -> None:
        path.write_bytes(b"old") if target is None else path.symlink_to(target)

    if appears == "before":
        appear()
    with (
        pytest.raises(UserError, match="x: exists already; give another name"),
        files.WholeFile(path, overwrite=False) as file,
    ):
        file.write(b"new")
        appear()
    assert os.listdir(tmp_path) == ["x"]
    assert path.read_bytes() == b"old" if target is None else path.is_symlink()


def test_a_new_file_needs_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "hardlink_to", lambda *_: os.link(tmp_path / "none", "none"))
    with files.WholeFile(tmp_path / "x", overwrite=False) as file:
        file.write(b"new")
    assert (tmp_path / "x").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("name", "said"), [("file/x", "file/x: cannot be written"), (".", "is a folder; give the name")]
)
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_place_where_there_can_be_no_file_is_told_at_once(
    overwrite: bool, name: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=said):
        files.WholeFile(tmp_path / name, overwrite)
    assert os.listdir(tmp_path) == ["file"]


def test_only_temporaries_are_swept(tmp_path: Path) -> None:
    for name in ("latest.pth", ".latest.pth.123.tmp", ".hidden", "x.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".folder.tmp").mkdir()
    assert files.sweep_temporaries(tmp_path) == [tmp_path / ".latest.pth.123.tmp"]
    assert sorted(os.listdir(tmp_path)) == [".folder.tmp", ".hidden", "latest.pth", "x.tmp"]
    assert files.sweep_temporaries(tmp_path / "none") == []
