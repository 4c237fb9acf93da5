"""Distortion, radiometry and speckle: cases whose answer is known."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sar_codec.evaluation.distortion import distortion
from sar_codec.evaluation.radiometry import bias, power
from sar_codec.evaluation.ratio import mean_ratio
from sar_codec.evaluation.scenes import Scene, make_scene
from sar_codec.evaluation.speckle import BLOCK, homogeneous_blocks, speckle
from sar_codec.metrics import ssim

Speckled = Callable[..., NDArray[np.float32]]


def garbage_where_invalid(scene: Scene, decoded: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(scene.valid, decoded, 1e6).astype(np.float32)


@pytest.mark.parametrize("offset_db", [-0.5, 0.25])
def test_a_constant_offset_is_found_by_each_measure(scene: Scene, offset_db: float) -> None:
    decoded = garbage_where_invalid(scene, scene.decibels + np.float32(offset_db))
    found = distortion(scene, decoded)
    assert found.rmse_db == pytest.approx(abs(offset_db), rel=1e-4)
    assert found.max_error_db == pytest.approx(abs(offset_db), rel=1e-4)
    assert found.psnr_db == pytest.approx(20 * np.log10(scene.range_db / abs(offset_db)), abs=1e-3)
    expected = [offset_db, offset_db, abs(offset_db), *3 * [offset_db]]
    assert bias(scene, decoded) == pytest.approx(expected, abs=1e-5)
    assert mean_ratio(scene, decoded) == pytest.approx(10 ** (-offset_db / 10), rel=1e-5)


def test_nothing_is_lost_by_the_same(scene: Scene) -> None:
    found = distortion(scene, garbage_where_invalid(scene, scene.decibels))
    assert found == (0, 0, np.inf, pytest.approx(1))


def test_ssim_is_that_of_metrics_where_all_is_valid(speckled: Speckled) -> None:
    scene = make_scene("a", "VV", "here", speckled(40, 56, 4))
    decoded = scene.decibels + speckled(40, 56, 4, seed=1) / 10
    unit = [
        torch.tensor((each - scene.low_db) / scene.range_db) for each in (decoded, scene.filled)
    ]
    expected = float(ssim(*(each[None, None].float() for each in unit)))
    assert distortion(scene, decoded).ssim == pytest.approx(expected, abs=1e-5)


def test_ssim_does_not_see_what_is_invalid(scene: Scene) -> None:
    decoded = scene.decibels + np.float32(1)
    same = distortion(scene, garbage_where_invalid(scene, decoded)).ssim
    assert same == distortion(scene, np.where(scene.valid, decoded, 0)).ssim


def test_smoothing_decibels_biases_power_by_the_mean_of_a_logarithm(speckled: Speckled) -> None:
    """Single-look speckle loses 2.5 dB: Euler's constant in decibels."""
    scene = make_scene("a", "VV", "here", speckled(256, 256, 1))
    flat = np.full_like(scene.decibels, scene.decibels.mean())
    assert bias(scene, flat).overall_db == pytest.approx(-10 * np.euler_gamma / np.log(10), abs=0.1)


def test_bias_is_told_apart_by_how_much_is_scattered(speckled: Speckled) -> None:
    decibels = speckled(320, 320, 20)
    rows = np.arange(320)[:, None]
    decibels += np.where(rows < 32 + 128, -12, 0).astype(np.float32)
    scene = make_scene("a", "VV", "here", decibels)
    found = bias(scene, decibels + np.where(rows < 32 + 128, 1, 0).astype(np.float32))
    assert found.dark_db == pytest.approx(1, abs=1e-4)
    assert found.bright_db == pytest.approx(0, abs=1e-4)
    assert found.largest_block_db == pytest.approx(1, abs=1e-4)
    assert found.block_db == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (3, 100), (63, 64)])
def test_small_images_have_a_bias(speckled: Speckled, shape: tuple[int, int]) -> None:
    decibels = speckled(*shape, 5)
    scene = Scene("a", "VV", "here", decibels, -30, 10)
    assert bias(scene, decibels + 1).overall_db == pytest.approx(1, abs=1e-4)
    assert bias(scene, decibels + 1).block_db == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("looks", [1, 5, 20])
def test_looks_are_those_that_speckle_was_made_of(speckled: Speckled, looks: float) -> None:
    decibels = speckled(480, 480, looks)
    corners = homogeneous_blocks(make_scene("a", "VV", "here", decibels))
    found = speckle(decibels, corners)
    assert found.looks == pytest.approx(looks, rel=0.15)
    assert found.correlation == pytest.approx(0, abs=0.05)


def test_correlation_of_a_mean_of_two_by_two_is_a_half(speckled: Speckled) -> None:
    fine = power(speckled(481, 481, 4))
    mean = (fine[1:, 1:] + fine[:-1, 1:] + fine[1:, :-1] + fine[:-1, :-1]) / 4
    decibels = (10 * np.log10(mean)).astype(np.float32)
    corners = homogeneous_blocks(make_scene("a", "VV", "here", decibels))
    assert speckle(decibels, corners).correlation == pytest.approx(0.5, abs=0.06)


def test_homogeneous_blocks_are_where_nothing_changes(speckled: Speckled) -> None:
    decibels = speckled(480, 480, 5)
    decibels[:240] += np.linspace(0, 200, 480, dtype=np.float32)  # 10 dB a block
    decibels[300:330, 300:330] = np.nan
    corners = homogeneous_blocks(make_scene("a", "VV", "here", decibels))
    assert len(corners) == round(0.05 * (400 - 4))
    assert (corners[:, 0] >= 240).all()
    assert all(np.isfinite(decibels[r : r + BLOCK, c : c + BLOCK]).all() for r, c in corners)


def test_where_no_block_fits_there_is_no_number(speckled: Speckled) -> None:
    decibels = speckled(10, 10, 5)
    corners = homogeneous_blocks(make_scene("a", "VV", "here", decibels))
    assert corners.shape == (0, 2)
    assert np.isnan(speckle(decibels, corners)).all()


def test_flat_is_as_many_looks_as_can_be(speckled: Speckled) -> None:
    corners = np.array([[0, 0]])
    assert speckle(np.zeros((BLOCK, BLOCK), np.float32), corners) == (np.inf, 1)
