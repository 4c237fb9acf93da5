"""What TensorBoard is given."""

import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow
from torch import Tensor, nn

from sar_codec.training import tracking
from sar_codec.training.tracking import HISTOGRAM_BINS, Tracker, masked_crc32c


@pytest.mark.parametrize(
    ("values", "bins"),
    [
        (torch.randn(1000, generator=torch.Generator().manual_seed(0)), HISTOGRAM_BINS),
        (torch.zeros(7), 1),
        (torch.tensor(3.5), 1),
        (torch.tensor([-1e30, 1e30]), HISTOGRAM_BINS),
    ],
    ids=["many", "equal", "one", "huge"],
)
def test_a_histogram_counts_every_value_where_it_lies(
    values: Tensor, bins: int, tmp_path: Path
) -> None:
    histogram = _histogram_of(values, tmp_path)
    assert histogram is not None
    assert (histogram.min, histogram.max) == (values.min(), values.max())
    assert histogram.num == values.numel()
    assert histogram.sum == pytest.approx(float(values.double().sum()))
    assert histogram.sum_squares == pytest.approx(float(values.double().square().sum()))
    assert len(histogram.bucket) == len(histogram.bucket_limit) == bins
    flat = values.double().flatten().numpy()
    below = [np.count_nonzero(flat <= limit) for limit in histogram.bucket_limit]
    # A value on the edge of two bins may count in either.
    np.testing.assert_allclose(np.cumsum(histogram.bucket), below, atol=1)
    assert sum(histogram.bucket) == values.numel()


def test_values_that_are_not_finite_have_no_histogram(tmp_path: Path) -> None:
    assert _histogram_of(torch.tensor([1.0, torch.nan]), tmp_path) is None


@pytest.mark.parametrize("data", [b"", b"a", bytes(range(256)) * 9])
def test_the_checksum_is_tensorboards(data: bytes) -> None:
    assert masked_crc32c(data) == pywrap_tensorflow.masked_crc32c(data)


def test_tensorboard_writes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    monkeypatch.setattr(tracking, "masked_crc32c", lambda data: seen.append(data) or 0)
    tracker = Tracker(tmp_path)
    tracker.scalars({"x": 1.0}, 1)
    tracker.close()
    assert seen
    monkeypatch.undo()
    Tracker(tmp_path / "other").writer(1).close()  # the real one is back in place


def _histogram_of(values: Tensor, folder: Path) -> Any:
    model = nn.Module()
    model.weight = nn.Parameter(values)
    tracker = Tracker(folder)
    tracker.scalars({"x": 1.0}, 1)
    tracker.histograms(model, 1)
    tracker.close()
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"histograms": 0})
    events.Reload()
    if not events.Tags()["histograms"]:
        return None
    return events.Histograms("weights/weight")[0].histogram_value


@pytest.mark.parametrize("number", [1, 99999])
def test_events_come_after_those_of_a_run_that_began_in_the_same_second(
    number: int, tmp_path: Path
) -> None:
    folder = tmp_path / "tensorboard"
    folder.mkdir()
    name = f"events.out.tfevents.{int(time.time()):010d}.{platform.node()}.{number}.0"
    (folder / name).touch()
    began = time.monotonic()
    Tracker(tmp_path).writer(0).close()
    assert time.monotonic() - began < 2
    names = sorted(each.name for each in folder.iterdir())
    assert len(names) == 2
    assert names[0] == name


def test_an_event_file_of_the_future_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "events.out.tfevents.9999999999.a.1.0").touch()
    began = time.monotonic()
    Tracker(tmp_path).writer(0).close()
    assert time.monotonic() - began < 3
