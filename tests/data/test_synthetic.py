from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sar_codec.data.raster import find_bands
from sar_codec.data.scaling import from_decibels, to_decibels
from sar_codec.data.synthetic import SyntheticScene, scene, speckle

# Measured over the 24 bands of Sentinel-1 IW scenes that `real_scenes` reads: the medians of
# `homogeneous` (they range over 4.1 to 7.3 and 0.63 to 0.75), and the lowest and highest of the
# 1st, 50th and 99th percentiles of a band in dB.
REAL_ENL = 6.10
REAL_CORRELATION = 0.678
REAL_PERCENTILES_DB = {1: (-44.31, -12.86), 50: (-21.56, -7.45), 99: (-12.63, 5.55)}
# The uncalibrated ones hold DN squared.
DN_SQUARED_TO_SIGMA0_DB = -55.6

SCENES = 12
Intensity = NDArray[np.float32]


def lag_1(blocks: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Correlation of neighbours along an axis, one for each block `(..., H, W)`."""
    deviation = blocks - blocks.mean((-2, -1), keepdims=True)
    moved = np.moveaxis(deviation, axis, -1)
    products = (moved[..., 1:] * moved[..., :-1]).mean((-2, -1))
    return products / (deviation**2).mean((-2, -1))


def homogeneous(power: Intensity, side: int = 24) -> tuple[float, float]:
    """ENL and lag-1 correlation of the tenth of an image's blocks that vary least (medians)."""
    rows, columns = power.shape[0] // side, power.shape[1] // side
    blocks = power[: rows * side, : columns * side].astype(np.float64)
    blocks = blocks.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)
    blocks = blocks[np.isfinite(blocks).all((1, 2))]
    blocks = blocks[blocks.var((1, 2)) > 0]
    enl = blocks.mean((1, 2)) ** 2 / blocks.var((1, 2))
    calm = enl >= np.quantile(enl, 0.9)
    correlation = (lag_1(blocks[calm], -1) + lag_1(blocks[calm], -2)) / 2
    return float(np.median(enl[calm])), float(np.median(correlation))


@pytest.fixture(scope="module")
def scenes() -> list[Intensity]:
    return [scene(0, index) for index in range(SCENES)]


@pytest.fixture
def real_scenes(shared_data: Path) -> list[Intensity]:
    """Real Sentinel-1 IW scenes as sigma0 in linear power, NaN where invalid."""
    folders = sorted(shared_data.glob("s1sigma0_*"))
    bands = [band for folder in folders for band in find_bands(folder, "db")]
    for folder in ("s1grd_amazon", "s1grd_panama"):
        bands += find_bands(shared_data / folder, "power", offset_db=DN_SQUARED_TO_SIGMA0_DB)
    wholes = [band.read(0, 0, band.height, band.width) for band in bands]
    return [from_decibels(decibels, "power") for decibels in wholes]


def test_a_scene_is_the_same_bytes_each_time() -> None:
    first = scene(3, 5, size=96)
    np.random.seed(1)  # somebody else's randomness
    assert scene(3, 5, size=96).tobytes() == first.tobytes()


@pytest.mark.parametrize("seed, index", [(4, 5), (3, 6), (5, 3)])
def test_another_seed_or_index_is_another_scene(seed: int, index: int) -> None:
    assert not np.array_equal(scene(3, 5, size=96), scene(seed, index, size=96))


@pytest.mark.parametrize("size", [1, 2, 3, 31, 100, 257, 513])
def test_a_scene_of_any_size_is_positive_and_finite(size: int) -> None:
    for index in range(3):
        power = scene(1, index, size=size)
        assert power.shape == (size, size) and power.dtype == np.float32
        assert np.isfinite(power).all() and (power > 0).all()


@pytest.mark.parametrize("looks, correlation", [(0.5, 0.0), (1, 0.0), (5.5, 0.7), (100, 0.95)])
def test_a_scene_of_any_speckle_is_positive_and_finite(looks: float, correlation: float) -> None:
    power = scene(1, 2, 96, looks, correlation)
    assert np.isfinite(power).all() and (power > 0).all()


def test_point_targets_reach_25_db_and_hardly_more(scenes: list[Intensity]) -> None:
    brightest = max(10 * np.log10(float(power.max())) for power in scenes)
    assert 22 < brightest < 26


@pytest.mark.parametrize("looks", [0.5, 1, 1.5, 5.5, 18, 36])
@pytest.mark.parametrize("correlation", [0, 0.7])
def test_speckle_has_mean_one_and_the_looks_asked_for(looks: float, correlation: float) -> None:
    field = speckle(np.random.default_rng(0), 400, looks, correlation).astype(np.float64)
    assert field.mean() == pytest.approx(1, abs=0.02)
    assert field.mean() ** 2 / field.var() == pytest.approx(looks, rel=0.1)


@pytest.mark.parametrize("correlation", [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.7, 0.8, 0.9])
@pytest.mark.parametrize("axis", [-2, -1])
def test_speckle_has_the_correlation_asked_for(correlation: float, axis: int) -> None:
    field = speckle(np.random.default_rng(1), 400, 2, correlation).astype(np.float64)
    assert lag_1(field, axis) == pytest.approx(correlation, abs=0.05)


def test_single_look_speckle_is_exponential() -> None:
    field = speckle(np.random.default_rng(2), 500, looks=1, correlation=0)
    quantiles = np.array([0.1, 0.5, 0.9, 0.99])
    np.testing.assert_allclose(np.quantile(field, quantiles), -np.log(1 - quantiles), rtol=0.03)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_speckle_may_be_smaller_than_its_kernel(size: int) -> None:
    assert speckle(np.random.default_rng(3), size, 5.5, 0.95).shape == (size, size)


def test_scenes_vary_as_little_as_real_ones_where_they_vary_least(
    scenes: list[Intensity],
) -> None:
    enl = float(np.median([homogeneous(power)[0] for power in scenes]))
    assert enl == pytest.approx(REAL_ENL, rel=0.1)


def test_scenes_are_as_correlated_as_real_ones(scenes: list[Intensity]) -> None:
    correlation = float(np.median([homogeneous(power)[1] for power in scenes]))
    assert correlation == pytest.approx(REAL_CORRELATION, abs=0.05)


@pytest.mark.parametrize("percent", [1, 50, 99])
def test_each_scene_has_decibels_like_some_real_scene(
    scenes: list[Intensity], percent: int
) -> None:
    lowest, highest = REAL_PERCENTILES_DB[percent]
    seen = [10 * np.log10(np.percentile(power, percent)) for power in scenes]
    assert lowest < min(seen) and max(seen) < highest, np.round(seen, 1)


def test_what_is_recorded_of_real_scenes_is_what_they_give(real_scenes: list[Intensity]) -> None:
    enl, correlation = np.median([homogeneous(power) for power in real_scenes], axis=0)
    assert enl == pytest.approx(REAL_ENL, abs=0.01)
    assert correlation == pytest.approx(REAL_CORRELATION, abs=0.001)
    for percent, (lowest, highest) in REAL_PERCENTILES_DB.items():
        seen = [10 * np.log10(np.nanpercentile(power, percent)) for power in real_scenes]
        assert (min(seen), max(seen)) == pytest.approx((lowest, highest), abs=0.01)


@pytest.mark.parametrize(
    "row, column, height, width", [(0, 0, 70, 70), (3, 11, 20, 31), (69, 69, 1, 1)]
)
def test_windows_of_a_scene_are_parts_of_the_scene(
    row: int, column: int, height: int, width: int
) -> None:
    source = SyntheticScene(seed=2, index=4, size=70, looks=3, correlation=0.5)
    whole = to_decibels(scene(2, 4, 70, 3, 0.5), "power")
    np.testing.assert_array_equal(
        source.read(row, column, height, width),
        whole[row : row + height, column : column + width],
    )
    assert (source.height, source.width) == (70, 70)


def test_each_scene_is_a_place_of_its_own() -> None:
    places = {SyntheticScene(seed, index, 8, 1, 0).place for seed in (0, 1) for index in (0, 1)}
    assert len(places) == 4
