"""Lakes of known areas, and bands of known ratios."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sar_codec.evaluation.classes import (
    KINDS,
    band_ratio_bias,
    kind_of,
    water_agreement,
    water_threshold,
)
from sar_codec.evaluation.scenes import Scene

Speckled = Callable[..., NDArray[np.float32]]
Decibels = NDArray[np.float32]


def of(decibels: Decibels, band: str = "VV") -> Scene:
    return Scene("a", band, "here", decibels, -40, 10)


def lake_db(left: int = 40, width: int = 80, depth_db: float = 12) -> Decibels:
    """A lake of so many columns and 100 rows in 200 x 200 pixels of -10 dB, without speckle."""
    decibels = np.full((200, 200), -10, np.float32)
    decibels[50:150, left : left + width] -= depth_db
    return decibels


def test_the_threshold_is_between_water_and_land(speckled: Speckled) -> None:
    decibels = lake_db() + speckled(200, 200, 5) + 10
    assert -18 < water_threshold(of(decibels)) < -14


def test_of_two_levels_the_threshold_is_in_the_middle() -> None:
    decibels = np.full((100, 100), -10, np.float32)
    decibels[:, :50] = -30
    scene = of(decibels)
    scene.decibels[:, 46:54] = np.nan  # what a boxcar mixes
    assert water_threshold(scene) == pytest.approx(-20, abs=0.05)


@pytest.mark.parametrize("looks", [1, 5, 50])
@pytest.mark.parametrize("side", [60, 256])
def test_of_one_class_there_is_no_threshold(speckled: Speckled, looks: float, side: int) -> None:
    assert np.isnan(water_threshold(of(speckled(side, side, looks))))


def test_a_slope_is_not_two_classes(speckled: Speckled) -> None:
    slope = np.linspace(0, 15, 200, dtype=np.float32)
    assert np.isnan(water_threshold(of(speckled(200, 200, 5) + slope)))


@pytest.mark.parametrize(("width", "is_found"), [(1, False), (3, False), (10, True)])
def test_a_class_has_a_hundredth_of_the_pixels(width: int, is_found: bool) -> None:
    decibels = np.full((200, 200), -10, np.float32)
    decibels[:40, :width] = -40
    assert np.isfinite(water_threshold(of(decibels))) == is_found


@pytest.mark.parametrize("shape", [(1, 1), (3, 50)])
def test_small_or_flat_images_have_no_threshold(shape: tuple[int, int]) -> None:
    assert np.isnan(water_threshold(of(np.full(shape, -10, np.float32))))


@pytest.mark.parametrize("moved", [0, 8, -20, 80])
def test_a_moved_lake_agrees_where_it_still_is(moved: int) -> None:
    scene = of(lake_db())
    # In the middle of what a border is averaged to, in dB of 1/5, 2/5, ... of the power.
    threshold = -10 + 10 * np.log10(0.5)
    found = water_agreement(scene, lake_db(40 + moved), threshold)
    assert found == pytest.approx((80 - abs(moved)) / (80 + abs(moved)), abs=1e-3)


def test_half_a_lake_agrees_by_half() -> None:
    scene = of(lake_db())
    found = water_agreement(scene, lake_db(width=40), water_threshold(scene))
    assert found == pytest.approx(0.5, abs=0.02)


def test_a_lake_that_is_gone_does_not_agree() -> None:
    scene = of(lake_db())
    threshold = water_threshold(scene)
    assert water_agreement(scene, np.full_like(scene.decibels, -10), threshold) == 0
    assert water_agreement(scene, scene.decibels, threshold) == 1


def test_water_is_not_seen_where_the_scene_is_invalid(scene: Scene) -> None:
    threshold = water_threshold(scene)
    assert np.isfinite(threshold)
    noise = np.random.default_rng(2).normal(0, 2, scene.decibels.shape).astype(np.float32)
    found = [
        water_agreement(scene, np.where(scene.valid, scene.decibels + noise, fill), threshold)
        for fill in (np.float32(1e6), np.float32(-90), np.float32(np.nan))
    ]
    assert 0.9 < found[0] < 1
    assert found == [found[0]] * 3


def test_without_a_threshold_there_is_no_agreement(scene: Scene) -> None:
    assert np.isnan(water_agreement(scene, scene.decibels, float("nan")))


def test_without_water_there_is_no_agreement(scene: Scene) -> None:
    assert np.isnan(water_agreement(scene, scene.decibels, -200))


def test_offsets_of_two_bands_differ_by_what_their_ratio_is_off(
    scene: Scene, speckled: Speckled
) -> None:
    second = of(speckled(200, 264, 5, seed=4) - 7, "VH")
    second.decibels[100:, 250:] = np.nan
    decoded = np.where(scene.valid, scene.decibels + 0.3, 1e6).astype(np.float32)
    other = np.where(second.valid, second.decibels - 0.2, np.nan).astype(np.float32)
    assert band_ratio_bias(scene, decoded, second, other) == pytest.approx([0.5, 0.5], abs=1e-5)
    assert band_ratio_bias(second, other, scene, decoded) == pytest.approx([-0.5, 0.5], abs=1e-5)


def test_errors_of_blocks_are_in_the_root_mean_square(speckled: Speckled) -> None:
    # Two blocks across, from half a block on: columns 32 to 96 and 96 to 160.
    first, second = (of(speckled(96, 192, 5, seed=seed)) for seed in (2, 3))
    error = np.where(np.arange(192) < 96, 1, -2).astype(np.float32)
    found = band_ratio_bias(first, first.decibels + error, second, second.decibels)
    assert found == pytest.approx([-0.5, np.sqrt(2.5)], abs=1e-5)


def test_what_two_bands_share_is_no_error_of_their_ratio(scene: Scene) -> None:
    decoded: Any = scene.decibels + np.float32(1.5)
    assert band_ratio_bias(scene, decoded, scene, decoded) == (0, 0)


def test_bands_are_of_the_same_size(scene: Scene) -> None:
    other = of(scene.decibels[:100])
    with pytest.raises(ValueError, match="the same size"):
        band_ratio_bias(scene, scene.decibels, other, other.decibels)


def test_bands_that_share_no_valid_pixel_have_no_ratio(speckled: Speckled) -> None:
    first, second = of(speckled(20, 20, 5)), of(speckled(20, 20, 5))
    first.decibels[:10] = np.nan
    second.decibels[10:] = np.nan
    assert np.isnan(band_ratio_bias(first, first.decibels, second, second.decibels)).all()


@pytest.mark.parametrize(
    ("spread_db", "kind"), [(0.0, "even"), (3.5, "varied"), (6.5, "strongly varied")]
)
def test_kinds_are_told_by_how_much_means_vary(
    speckled: Speckled, spread_db: float, kind: str
) -> None:
    decibels = speckled(240, 240, 20)
    decibels[:, 120:] += np.float32(spread_db)  # a standard deviation of half of that
    assert kind_of(of(decibels)) == kind


@pytest.mark.parametrize("shape", [(30, 30), (24, 100), (1, 1)])
def test_scenes_of_any_shape_have_a_kind(speckled: Speckled, shape: tuple[int, int]) -> None:
    decibels = speckled(*shape, 5)
    decibels[:-1, :-1] = np.nan  # valid at the edges alone
    assert kind_of(Scene("a", "VV", "here", decibels, -30, 0)) in KINDS
