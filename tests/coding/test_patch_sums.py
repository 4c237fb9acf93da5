"""Sums of power over patches, against the same in float64 and many arrays."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sar_codec.coding.gains import MOST_GAIN_DB, parts_of_blocks
from sar_codec.coding.patch_sums import PATCH, block_sums, gained_sums, power_sums

SHAPES = [(64, 128), (131, 70), (7, 300), (1, 1)]


def summed(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    rows, columns = (np.arange(0, each, side) for each in values.shape)
    return np.add.reduceat(np.add.reduceat(values, rows, 0), columns, 1)


def image(shape: tuple[int, int]) -> NDArray[np.float32]:
    """Of which some is not finite, and some beyond what any instrument measures."""
    decibels = (8 * np.random.default_rng(0).standard_normal(shape) - 12).astype(np.float32)
    unusual = decibels[::3, ::5]
    unusual.flat[:8] = np.array([np.nan, np.inf, -np.inf, 500, -500, 149, -149, 0])[: unusual.size]
    return decibels


def power(decibels: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(decibels), 10 ** (decibels.clip(-150, 150) / 10), 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_power_of_patches(shape: tuple[int, int]) -> None:
    decibels = image(shape)
    expected = summed(power(decibels.astype(np.float64)), PATCH)
    np.testing.assert_allclose(power_sums(decibels), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [64, 32])
def test_power_of_patches_with_gains_and_how_it_changes(shape: tuple[int, int], block: int) -> None:
    random = np.random.default_rng(1)
    decibels, times = image(shape), random.uniform(0.5, 8.5, shape).astype(np.float32)
    steps = random.uniform(-800, 800, [-(-side // block) for side in shape])
    rows, columns = parts_of_blocks(steps, shape, block)
    gains = rows.astype(np.float64) @ columns.astype(np.float64) * times
    expected = power(decibels + gains.clip(-MOST_GAIN_DB, MOST_GAIN_DB))
    for order, found in enumerate(gained_sums(decibels, times, rows, columns)):
        np.testing.assert_allclose(found, summed(expected * times**order, PATCH), rtol=1e-3)


def test_sums_of_blocks_of_patches() -> None:
    patches = np.random.default_rng(2).uniform(size=(19, 33)).astype(np.float32)
    np.testing.assert_allclose(block_sums(patches, 8), summed(patches.astype(np.float64), 8))
    assert block_sums(np.zeros((0, 3), np.float32), 8).shape == (0, 1)
