import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sar_codec.training import progress
from sar_codec.training.progress import RunningMeans, followed


def test_means_are_over_samples() -> None:
    means = RunningMeans()
    assert means.values() == {}
    means.add({"loss": torch.tensor(1.0)}, 3)
    means.add({"loss": torch.tensor(5.0)}, 1)
    assert means.values() == {"loss": 2.0}


def test_without_a_terminal_there_is_a_line_in_the_log_every_so_often(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("INFO")
    clock = iter(range(0, 1000, 20))  # each look at it is 20 s later
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    means = RunningMeans()
    for _ in followed(iter([torch.zeros(2, 1)] * 4), "Epoch 3 [Train]", 0, 4, means):
        means.add({"loss": torch.tensor(0.25), "psnr": torch.tensor(30.0)}, 2)
    assert [record.getMessage() for record in caplog.records] == [
        "Epoch 3 [Train] 2/4 loss=0.25 psnr=30",
        "Epoch 3 [Train] 4/4 loss=0.25 psnr=30",
    ]
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar_with_running_metrics(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    means = RunningMeans()
    for _ in followed(iter([torch.zeros(2, 1)] * 2), "Epoch 1 [Val]", 0, 2, means):
        means.add({name: torch.tensor(0.5) for name in ("loss", "psnr", "ssim", "mse")}, 2)
    shown = capsys.readouterr().err
    assert "Epoch 1 [Val]" in shown
    assert "loss=0.5 psnr=0.5 ssim=0.5" in shown


def test_no_batch_is_drawn_that_is_not_used() -> None:
    drawn = 0

    class Loader:
        def __len__(self) -> int:
            return 10

        def __iter__(self) -> Iterator[Tensor]:
            nonlocal drawn
            while True:
                drawn += 1
                yield torch.zeros(1)

    assert len(list(followed(iter(Loader()), "", 0, 3, RunningMeans()))) == 3
    assert drawn == 3
