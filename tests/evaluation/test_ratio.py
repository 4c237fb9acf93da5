"""Ratio images of which is known what is left in them."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sar_codec.evaluation.ratio import ratio
from sar_codec.evaluation.scenes import Scene

Speckled = Callable[..., NDArray[np.float32]]


def of(decibels: NDArray[np.float32]) -> Scene:
    return Scene("a", "VV", "here", decibels, -30, 10)


def fields(height: int, width: int) -> NDArray[np.float32]:
    """Squares of 40 pixels of one level in dB each, with a standard deviation of 5 dB."""
    rng = np.random.default_rng(1)
    levels = rng.normal(0, 5, (height // 40, width // 40))
    return np.kron(levels, np.ones((40, 40))).astype(np.float32)


def test_taken_speckle_has_no_structure(speckled: Speckled) -> None:
    ground = fields(400, 400)
    found = ratio(of(ground + speckled(400, 400, 5)), ground - 10)
    assert found.mean == pytest.approx(1, abs=0.01)
    assert found.structure < 0.01


def test_speckle_that_is_correlated_over_three_pixels_has_none(speckled: Speckled) -> None:
    fine = np.power(10, speckled(403, 403, 1) / 10)
    mean = np.lib.stride_tricks.sliding_window_view(fine, (4, 4)).mean((2, 3))
    decibels = (10 * np.log10(mean)).astype(np.float32)
    assert ratio(of(decibels), np.full_like(decibels, -10)).structure < 0.03


def test_white_noise_that_was_added_has_no_structure(scene: Scene) -> None:
    noise = np.random.default_rng(3).normal(0, 1, scene.decibels.shape).astype(np.float32)
    decoded = np.where(scene.valid, scene.decibels + noise, 1e6).astype(np.float32)
    assert ratio(scene, decoded).structure < 0.01


def test_all_structure_is_left_if_what_is_decoded_is_flat() -> None:
    """Of squares of 40 pixels, neighbours at a distance of 4 to 8 are in the same for 85 %."""
    ground = fields(800, 800)
    assert ratio(of(ground), np.zeros_like(ground)).structure == pytest.approx(0.85, abs=0.04)


def test_structure_is_its_share_of_the_variance(speckled: Speckled) -> None:
    ground, noise = fields(800, 800), speckled(800, 800, 5)
    both = ratio(of(ground + noise), np.zeros_like(ground)).structure
    alone = ratio(of(ground), np.zeros_like(ground)).structure
    assert both == pytest.approx(alone * ground.var() / (ground.var() + noise.var()), abs=0.01)


def test_alternating_stripes_are_structure() -> None:
    stripes = np.tile(np.repeat([1, -1], 6), 20).astype(np.float32)
    decibels = np.tile(stripes, (240, 1))
    across = np.mean([abs(np.mean(stripes[lag:] * stripes[:-lag])) for lag in range(4, 9)])
    found = ratio(of(decibels), np.zeros_like(decibels))
    assert found.structure == pytest.approx((1 + across) / 2, abs=1e-6)


def test_structure_is_not_seen_where_the_scene_is_invalid(scene: Scene) -> None:
    ground = np.where(scene.valid, 0, 50).astype(np.float32)
    one = ratio(scene, scene.decibels * np.float32(0.5))
    assert ratio(scene, scene.decibels * np.float32(0.5) + ground) == one
    assert ratio(scene, np.where(scene.valid, scene.decibels / 2, np.nan)) == one


@pytest.mark.parametrize("offset_db", [0, 0.7])
def test_where_nothing_was_taken_no_structure_is_left(scene: Scene, offset_db: float) -> None:
    found = ratio(scene, scene.decibels + np.float32(offset_db))
    assert found.mean == pytest.approx(10 ** (-offset_db / 10), rel=1e-5)
    assert found.structure == 0


def test_of_an_image_that_is_too_small_nothing_is_known(speckled: Speckled) -> None:
    assert np.isnan(ratio(of(speckled(4, 4, 5)), np.zeros((4, 4), np.float32)).structure)
