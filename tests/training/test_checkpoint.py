import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sar_codec.errors import UserError
from sar_codec.training import checkpoint


def state(**changes: Any) -> dict[str, Any]:
    return (
        dict.fromkeys(checkpoint.KEYS, 0) | {"model_state_dict": {"w": torch.arange(3.0)}} | changes
    )


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "latest.pth"
    checkpoint.save(state(epoch=3), path)
    loaded = checkpoint.load(path)
    assert loaded["epoch"] == 3
    assert torch.equal(loaded["model_state_dict"]["w"], torch.arange(3.0))
    assert os.listdir(path.parent) == ["latest.pth"]


@pytest.mark.parametrize(
    "content", [b"", b"hello, this is no checkpoint", b"PK\x03\x04 and then nothing"]
)
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a checkpoint") as refusal:
        checkpoint.load(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "x.pth"
    checkpoint.save(state(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load(path)


@pytest.mark.parametrize("other", [{"epoch": 1}, [1, 2], torch.zeros(3)])
def test_another_programs_file_is_refused(tmp_path: Path, other: Any) -> None:
    torch.save(other, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"model_state_dict.* missing"):
        checkpoint.load(tmp_path / "x.pth")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        checkpoint.load(tmp_path / "x.pth")
    with pytest.raises(UserError, match="no such file"):
        checkpoint.load(tmp_path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Canary:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "canary",)

    torch.save(state(config=Canary()), tmp_path / "x.pth")
    with pytest.raises(UserError, match="not a checkpoint"):
        checkpoint.load(tmp_path / "x.pth")
    assert not (tmp_path / "canary").exists()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "latest.pth"
    checkpoint.save(state(epoch=1), path)

    def half(file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"latest.pth: cannot be written .*No space left"):
        checkpoint.write_whole(path, half)
    assert checkpoint.load(path)["epoch"] == 1
    assert os.listdir(tmp_path) == ["latest.pth"]


@pytest.mark.parametrize("links", [True, False])
def test_the_same_content_stays_when_the_first_name_is_written_again(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: os.link(tmp_path / "none", "none"))
    latest, best = tmp_path / "latest.pth", tmp_path / "best.pth"
    checkpoint.save(state(epoch=1), latest)
    for _ in range(2):  # the second time, both are the same file already
        checkpoint.give_same_content(latest, best)
    checkpoint.save(state(epoch=2), latest)
    assert (checkpoint.load(latest)["epoch"], checkpoint.load(best)["epoch"]) == (2, 1)
    assert sorted(os.listdir(tmp_path)) == ["best.pth", "latest.pth"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        checkpoint.save(state(), tmp_path / "file" / "latest.pth")


def test_another_architecture_is_refused_with_the_names_that_differ() -> None:
    saved = {"a": torch.zeros(2, 3), "b": torch.zeros(1), "gone": torch.zeros(1)}
    expected = {"a": torch.zeros(2, 4), "b": torch.zeros(1), "new": torch.zeros(())}
    with pytest.raises(UserError) as refusal:
        checkpoint.check_same_architecture("x.pth", saved, expected)
    for part in (
        "a (2x3 in the checkpoint, 2x4 in the model)",
        "new (not in the",
        "gone (not in the",
    ):
        assert part in str(refusal.value)
    assert "b (" not in str(refusal.value)
    checkpoint.check_same_architecture("x.pth", saved, saved)


def test_what_a_notebook_passes_becomes_readable_without_trust(tmp_path: Path) -> None:
    given = {"vmin": np.float64(-30.5), "root": tmp_path, "sizes": (np.int64(1), 2), "x": None}
    config = checkpoint.plain(given, "config")
    assert config == {"vmin": -30.5, "root": str(tmp_path), "sizes": [1, 2], "x": None}
    checkpoint.save(state(config=config), tmp_path / "x.pth")
    assert torch.load(tmp_path / "x.pth", weights_only=True)["config"] == config


def test_what_cannot_be_read_back_is_refused_before_training() -> None:
    with pytest.raises(TypeError, match=r"config\.model\.0 is a set"):
        checkpoint.plain({"model": [{1, 2}]}, "config")
