"""Scenes of speckle of which all is known."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sar_codec.evaluation.scenes import Scene, make_scene


def speckle_db(height: int, width: int, looks: float, seed: int = 0) -> NDArray[np.float32]:
    """Decibels of uncorrelated speckle of mean power 0.1."""
    rng = np.random.default_rng(seed)
    power = rng.gamma(looks, 0.1 / looks, (height, width))
    return (10 * np.log10(power)).astype(np.float32)


@pytest.fixture
def speckled() -> Callable[..., NDArray[np.float32]]:
    return speckle_db


@pytest.fixture
def scene() -> Scene:
    """Of 200 x 264 pixels, five looks, a dark lake, and a wedge without data."""
    decibels = speckle_db(200, 264, 5)
    decibels[40:120, 40:160] -= 10
    decibels[:20, :100] = np.nan
    return make_scene("somewhere", "VV", "there", decibels)
