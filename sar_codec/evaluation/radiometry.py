"""What is left of the power that was measured: bias of means, over all and over blocks."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sar_codec.evaluation.scenes import Scene

BLOCK = 64  # pixels, as much as fields or lakes that are averaged


class Bias(NamedTuple):
    """Decoded over original mean of linear power, in dB.

    Attributes:
        overall_db: of all valid pixels.
        block_db: the mean of the blocks' biases.
        largest_block_db: the block's that is furthest from 0, without its sign.
        dark_db: the mean over the third of the blocks that scatters least.
        middle_db: over the next third.
        bright_db: over the third that scatters most.
    """

    overall_db: float
    block_db: float
    largest_block_db: float
    dark_db: float
    middle_db: float
    bright_db: float


def bias(scene: Scene, decoded: NDArray[np.float32]) -> Bias:
    """Of decoded decibels `(height, width)`, finite where the scene is valid.

    Blocks begin at half a block from the corner, where there is room: a codec that holds the
    means of blocks of its own is measured between them.
    """
    before, after = (
        np.where(scene.valid, power(np.where(scene.valid, each, 0)), 0)
        for each in (scene.decibels, decoded)
    )
    sums, counts = block_sums(before), block_sums(scene.valid.astype(np.float64))
    enough = counts >= max(counts.max() / 2, 1)
    ratios_db = 10 * np.log10(block_sums(after)[enough] / sums[enough])
    order = np.argsort(sums[enough] / counts[enough])
    thirds = [float(ratios_db[part].mean()) for part in np.array_split(order, 3) if len(part)]
    thirds += [float("nan")] * (3 - len(thirds))
    overall = float(10 * np.log10(after.sum() / before.sum()))
    return Bias(overall, float(ratios_db.mean()), float(np.abs(ratios_db).max()), *thirds)


def power(decibels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Linear power, float64."""
    return np.power(10, decibels.astype(np.float64) / 10)


def block_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over whole blocks, in no particular order, of an image `(height, width)`: `(N,)`.

    They begin at half a block from the corner, where there is room; of a smaller side, over all.
    """
    rows, columns = (min(BLOCK, side) for side in values.shape)
    top, left = (BLOCK // 2 if side >= 2 * BLOCK else 0 for side in values.shape)
    down, across = (values.shape[0] - top) // rows, (values.shape[1] - left) // columns
    whole = values[top : top + down * rows, left : left + across * columns]
    return whole.reshape(down, rows, across, columns).sum((1, 3)).ravel()
