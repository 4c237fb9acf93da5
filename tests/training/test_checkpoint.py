import errno
import itertools
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch

from sar_codec.errors import UserError
from sar_codec.training import checkpoint, sealed
from sar_codec.training.checkpoint import State
from sar_codec.training.keeping import KeptCheckpoints


def a_state(**changes: Any) -> State:
    entries = {
        "epoch": 1,
        "batch": 0,
        "global_step": 0,
        "model_state_dict": {"w": torch.arange(3.0)},
        "ema_state_dict": None,
        "optimizer": "Adam",
        "optimizer_state_dict": {},
        "given_learning_rate": 0.1,
        "scheduler_state_dict": {},
        "best_val_loss": 1.0,
        "best_epoch": None,
        "epochs_without_improvement": 0,
        "train_sums": {},
        "gradients": None,
        "bad_steps_in_row": 0,
        "random_states": {},
        "epoch_random_states": None,
        "random_states_of_others": [],
        "config": {},
        "preprocessing_params": {},
        "history": [],
        "made_with": {},
    }
    return State(**(entries | changes))


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "latest.pth"
    checkpoint.save(a_state(epoch=3), path)
    loaded = checkpoint.load(path)
    assert loaded.epoch == 3
    assert torch.equal(loaded.model_state_dict["w"], torch.arange(3.0))
    assert os.listdir(path.parent) == ["latest.pth"]


def test_anyone_can_read_it_with_torch(tmp_path: Path) -> None:
    checkpoint.save(a_state(), tmp_path / "x.pth")
    read = torch.load(tmp_path / "x.pth")
    assert tuple(read) == checkpoint.ENTRIES
    torch.load(tmp_path / "x.pth", mmap=True)


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
    checkpoint.save(a_state(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match="cut short"):
        checkpoint.load(path)


@pytest.mark.parametrize("other", [{"epoch": 1}, [1, 2], torch.zeros(3)])
def test_another_programs_file_is_refused(tmp_path: Path, other: Any) -> None:
    torch.save(other, tmp_path / "x.pth")
    with pytest.raises(UserError, match="not a checkpoint of sar_codec"):
        checkpoint.load(tmp_path / "x.pth")


@pytest.mark.parametrize("entry", checkpoint.ENTRIES)
def test_a_checkpoint_without_an_entry_is_refused(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = tuple(each for each in checkpoint.ENTRIES if each != entry)
    monkeypatch.setattr(checkpoint, "ENTRIES", without)
    checkpoint.save(a_state(), tmp_path / "x.pth")
    with pytest.raises(UserError, match=f"{entry}: field required"):
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

    whole = a_state()
    object.__setattr__(whole, "config", Canary())
    checkpoint.save(whole, tmp_path / "x.pth")
    with pytest.raises(UserError, match="not a checkpoint"):
        checkpoint.load(tmp_path / "x.pth")
    assert not (tmp_path / "canary").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        checkpoint.save(a_state(), tmp_path / "file" / "latest.pth")


def test_what_a_notebook_passes_becomes_readable_without_trust(tmp_path: Path) -> None:
    given = {"vmin": np.float64(-30.5), "root": tmp_path, "sizes": (np.int64(1), 2), "x": None}
    config = checkpoint.plain(given, "config")
    assert config == {"vmin": -30.5, "root": str(tmp_path), "sizes": [1, 2], "x": None}
    checkpoint.save(a_state(config=config), tmp_path / "x.pth")
    assert torch.load(tmp_path / "x.pth", weights_only=True)["config"] == config


def test_what_cannot_be_read_back_is_refused_before_training() -> None:
    with pytest.raises(TypeError, match=r"config\.model\.0 is a set"):
        checkpoint.plain({"model": [{1, 2}]}, "config")


@pytest.mark.parametrize("large", [1, 100, 3000, 10_000, 50_000])
def test_parts_of_any_size_are_hashed_in_their_order(
    large: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "LARGE", large)
    weights = {f"layer{size}": torch.rand(size) for size in (1, 10, 1000, 5000, 20_000)}
    weights["a view"] = weights["layer5000"][::2]
    checkpoint.save(a_state(model_state_dict=weights), tmp_path / "x.pth")
    loaded = checkpoint.load(tmp_path / "x.pth").model_state_dict  # its checksum is right
    assert all(torch.equal(loaded[name], each) for name, each in weights.items())


@pytest.mark.parametrize("call", [1, 2, 3])
def test_large_parts_that_do_not_reach_the_disk_are_told(
    call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {f"layer{number}": torch.randn(50, 100) for number in range(4)}
    path = tmp_path / "latest.pth"
    monkeypatch.setattr(sealed, "LARGE", 10_000)
    checkpoint.save(a_state(model_state_dict=weights), path)
    assert torch.equal(checkpoint.load(path).model_state_dict["layer3"], weights["layer3"])
    before, calls, fsync = path.read_bytes(), itertools.count(1), os.fsync

    def failing(handle: int) -> None:
        if next(calls) == call:  # a kernel, too, tells of it once only
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(UserError, match=r"latest\.pth: cannot be written \(Input/output error"):
        for _ in range(3):  # so many calls there are in each or in two
            checkpoint.save(a_state(model_state_dict=weights), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["latest.pth"]


@pytest.mark.slow
def test_saving_takes_at_most_twice_as_long_as_torch_alone(tmp_path: Path) -> None:
    weights = {f"layer{number}": torch.randn(1250, 1000) for number in range(10)}  # 50 MB
    kept = KeptCheckpoints(tmp_path)
    ratios = []
    for _ in range(9):
        began = time.perf_counter()
        torch.save(vars(a_state(model_state_dict=weights)), tmp_path / "bare.pth")
        between = time.perf_counter()
        kept.keep(a_state(model_state_dict=weights), is_best=True)
        ratios.append((time.perf_counter() - between) / (between - began))
    print(f"\nsaving 50 MB took {median(ratios):.2f} times as long as torch.save")
    assert median(ratios) <= 2
