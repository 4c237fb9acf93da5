"""What becomes of speckle, on blocks that hold hardly anything else."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sar_codec.evaluation.radiometry import power
from sar_codec.evaluation.scenes import Scene

BLOCK = 24  # pixels; small enough to lie within a field, large enough for a variance
_SHARE = 0.05  # of the blocks, those that are most homogeneous
_LEAST = 8  # blocks


class Speckle(NamedTuple):
    """Medians over homogeneous blocks.

    Attributes:
        looks: the equivalent number of looks, mean squared over variance of power; smoothing
            makes it larger, which is a loss of measured values, whatever it looks like.
        correlation: of power with its right and lower neighbours'.
    """

    looks: float
    correlation: float


def homogeneous_blocks(scene: Scene) -> NDArray[np.int64]:
    """The upper left corners of the most homogeneous blocks of a scene, `(N, 2)`.

    Their quarters have the same mean power as near as can be found. Not those of the least
    variance: that would choose by what is measured then, and find too many looks.
    """
    found = []
    for row in range(0, scene.decibels.shape[0] - BLOCK + 1, BLOCK):
        for column in range(0, scene.decibels.shape[1] - BLOCK + 1, BLOCK):
            block = scene.decibels[row : row + BLOCK, column : column + BLOCK]
            if np.isfinite(block).all():
                half = BLOCK // 2
                quarters = power(block).reshape(2, half, 2, half).mean((1, 3))
                found.append((float(quarters.std() / quarters.mean()), row, column))
    count = max(_LEAST, round(_SHARE * len(found)))
    corners = [each[1:] for each in sorted(found)[:count]]
    return np.array(corners, np.int64).reshape(-1, 2)


def speckle(decibels: NDArray[np.float32], corners: NDArray[np.int64]) -> Speckle:
    """Of an image `(height, width)`, original or decoded; NaN without blocks."""
    if not len(corners):
        return Speckle(float("nan"), float("nan"))
    blocks = np.stack([power(decibels[r : r + BLOCK, c : c + BLOCK]) for r, c in corners])
    mean = blocks.mean((1, 2), keepdims=True)
    off = blocks - mean
    variance = np.square(off).mean((1, 2))
    down = (off[:, 1:] * off[:, :-1]).mean((1, 2))
    across = (off[:, :, 1:] * off[:, :, :-1]).mean((1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        looks = np.square(mean.ravel()) / variance
        correlation = (down + across) / 2 / variance
    # A block that became flat has infinitely many looks, and what correlation is not defined.
    return Speckle(float(np.median(looks)), float(np.median(np.nan_to_num(correlation, nan=1.0))))
