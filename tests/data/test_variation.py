"""Windows as of another product."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sar_codec.data.datasets import PatchLoader, RandomPatches
from sar_codec.data.patches import Area, Windows, survey
from sar_codec.data.variation import read_varied

MakeScene = Callable[..., Any]
SIZE = 48


def speckle(height: int = 160, width: int = 150) -> NDArray[np.float32]:
    power = np.random.default_rng(0).gamma(4, 0.25, (height, width))
    return (10 * np.log10(power) - 12).astype(np.float32)


def varied(area: Area, seed: int, row: int = 50, column: int = 40) -> NDArray[np.float32]:
    return read_varied(area, row, column, SIZE, np.random.default_rng(seed))


def looks(decibels: NDArray[np.float32]) -> float:
    power = 10 ** (decibels.astype(np.float64) / 10)
    return float(power.mean() ** 2 / power.var())


def test_windows_differ_in_looks_and_level_and_each_is_always_the_same(
    array_scene: MakeScene,
) -> None:
    area = Area.whole(array_scene(speckle()))
    found = [varied(area, seed) for seed in range(40)]
    for seed, window in enumerate(found):
        assert window.shape == (SIZE, SIZE) and window.dtype == np.float32
        assert np.isfinite(window).all()
        assert np.array_equal(window, varied(area, seed))
    levels = [10 * np.log10((10 ** (each / 10)).mean()) + 12 for each in found]
    assert min(levels) < -6 and max(levels) > 6 and abs(np.mean(levels)) < 2.5
    assert min(map(looks, found)) < 6 < 25 < max(map(looks, found))


def test_power_is_averaged_not_decibels(array_scene: MakeScene) -> None:
    """A checkerboard of 0 and 20 dB is 17 dB from afar; its mean decibels are 10."""
    rows, columns = np.indices((160, 160))
    board = np.where((rows + columns) % 2, 20, 0).astype(np.float32)
    area = Area.whole(array_scene(board))
    smooth = [each for each in (varied(area, seed) for seed in range(40)) if each.std() < 0.1]
    assert len(smooth) > 5
    for window in smooth:
        assert 17 - 8 <= window.mean() <= 17.1 + 8
    assert np.mean([window.mean() for window in smooth]) == pytest.approx(17, abs=3)


def test_what_is_invalid_around_a_window_is_not_read_into_it(array_scene: MakeScene) -> None:
    decibels = speckle()
    decibels[:50] = decibels[98:] = np.nan
    area = Area.whole(array_scene(decibels))
    assert all(np.isfinite(varied(area, seed)).all() for seed in range(20))


@pytest.mark.parametrize("size", [(SIZE, SIZE), (SIZE, 300)])
def test_an_area_that_holds_no_larger_window_is_varied_too(
    array_scene: MakeScene, size: tuple[int, int]
) -> None:
    area = Area.whole(array_scene(speckle(*size)))
    windows = [varied(area, seed, 0, 0) for seed in range(20)]
    assert all(np.isfinite(each).all() for each in windows)
    assert max(map(looks, windows)) > 10


@pytest.mark.parametrize("workers", [0, 2])
def test_a_share_of_the_samples_is_varied_whatever_loads_them(
    array_scene: MakeScene, workers: int
) -> None:
    windows = [Windows(survey(Area.whole(array_scene(speckle(200, 200)))), SIZE)]

    def epoch(vary: float, workers: int) -> torch.Tensor:
        patches = RandomPatches(windows, SIZE, -50, 30, 0, False, repeat=8, vary=vary)
        return torch.cat(list(PatchLoader(patches, 16, workers, 0, shuffle=False)))

    plain, half = epoch(0, 0), epoch(0.5, workers)
    level = (half.mean((1, 2, 3)) - plain.mean()).abs() * 80
    assert len(half) == 128
    assert 0.3 < (level > 0.6).float().mean() < 0.6
    assert torch.equal(half, epoch(0.5, 0))
