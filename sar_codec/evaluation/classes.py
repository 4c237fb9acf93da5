"""What users derive from power: kinds of scene, where water is, how two polarisations compare."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sar_codec.evaluation.radiometry import block_sums, power
from sar_codec.evaluation.scenes import Scene

BOXCAR = 5  # pixels; what speckle is averaged over before a threshold
_BIN_DB = 0.1
_SMOOTHING = 11  # bins that are averaged before heights are compared
_LEAST_CLASS = 0.01  # of pixels
_HIGHEST_VALLEY = 0.5  # of the lower of two modes


_KIND_BLOCK = 24  # pixels
_KINDS_DB = {"even": 1.0, "varied": 2.5, "strongly varied": np.inf}
KINDS = tuple(_KINDS_DB)
"""Of scenes, by how much the mean power of 24 x 24 pixels varies."""


class BandRatio(NamedTuple):
    """Errors of the ratio of two bands' block means of linear power, decoded minus original.

    Attributes:
        mean_db: of blocks.
        rmse_db: the root of the mean of squares.
    """

    mean_db: float
    rmse_db: float


def kind_of(scene: Scene) -> str:
    """How much the mean power of 24 x 24 pixels varies over a scene.

    "even" is below a standard deviation of 1 dB, as of fields or forest alone, "varied" below
    2.5 dB, "strongly varied" above, as of towns, mountains and coasts.
    """
    shape = scene.decibels.shape
    missing = [(0, -side % _KIND_BLOCK) for side in shape]  # of the last blocks of rows and columns
    window = _KIND_BLOCK, _KIND_BLOCK
    counts, sums = (
        _pooled(np.pad(each, missing), window, window, 0)
        for each in (scene.valid.astype(np.float64), _linear(scene.decibels, scene.valid))
    )
    enough = counts >= counts.max() / 2
    spread_db = (10 * np.log10(sums[enough] / counts[enough])).std()
    return next(kind for kind, limit in _KINDS_DB.items() if spread_db < limit)


def water_threshold(scene: Scene) -> float:
    """Decibels below which the mean power of 5 x 5 pixels of an original is water's; or NaN.

    It is that of Otsu (1979, https://doi.org/10.1109/TSMC.1979.4310076), and NaN unless the scene
    is bimodal: each class has 1 % of pixels, and at the threshold there are less than half as many
    of a level as at each class's mode. Where little is water, it is therefore NaN; and what it
    separates is what is dark, water or not.
    """
    levels = _smoothed_db(scene, scene.decibels)[scene.valid]
    low = np.floor(levels.min() / _BIN_DB) * _BIN_DB
    bins = int((levels.max() - low) / _BIN_DB) + 1
    counts, edges = np.histogram(levels, bins, (low, low + bins * _BIN_DB))
    below = np.cumsum(counts)[:-1] / len(levels)
    sums = np.cumsum(counts * (edges[:-1] + _BIN_DB / 2))[:-1] / len(levels)
    possible = (below >= _LEAST_CLASS) & (below <= 1 - _LEAST_CLASS)
    if not possible.any():
        return float("nan")
    within = np.where(possible, below * (1 - below), np.inf)
    between = np.square(levels.mean() * below - sums) / within
    # Of empty bins between classes, all are as good: the middle one.
    best = int(np.median(np.flatnonzero(between == between.max()))) + 1
    heights = np.convolve(counts, np.ones(_SMOOTHING), "same")
    valley = heights[best - 1 : best + 1].mean()
    modes = min(heights[:best].max(), heights[best:].max())
    return float(edges[best]) if valley < _HIGHEST_VALLEY * modes else float("nan")


def water_agreement(scene: Scene, decoded: NDArray[np.float32], threshold: float) -> float:
    """The intersection over union of water in original and decoded decibels `(height, width)`.

    Args:
        scene: the original.
        decoded: finite where the scene is valid.
        threshold: of `water_threshold`; NaN gives NaN.
    """
    if np.isnan(threshold):
        return float("nan")
    before, after = (
        _smoothed_db(scene, each)[scene.valid] < threshold for each in (scene.decibels, decoded)
    )
    either = np.count_nonzero(before | after)
    return np.count_nonzero(before & after) / either if either else float("nan")


def band_ratio_bias(
    first: Scene,
    first_decoded: NDArray[np.float32],
    second: Scene,
    second_decoded: NDArray[np.float32],
) -> BandRatio:
    """Of decibels `(height, width)` of two bands of a place, over pixels that are valid in both.

    Blocks are of 64 x 64 pixels, and lie where those of `radiometry.bias` do; NaN where none of
    them has a pixel that is valid in both.

    Raises:
        ValueError: the bands are not of the same size.
    """
    if first.decibels.shape != second.decibels.shape:
        raise ValueError(
            f"bands of {first.decibels.shape} and {second.decibels.shape} pixels: expected two of "
            "the same size"
        )
    valid = first.valid & second.valid
    counts = block_sums(valid.astype(np.float64))
    if not counts.any():
        return BandRatio(float("nan"), float("nan"))
    enough = counts >= counts.max() / 2
    images = (first_decoded, second_decoded, first.decibels, second.decibels)
    levels_db = [10 * np.log10(block_sums(_linear(each, valid))[enough]) for each in images]
    errors = levels_db[0] - levels_db[1] - (levels_db[2] - levels_db[3])
    return BandRatio(float(errors.mean()), float(np.sqrt(np.square(errors).mean())))


def _smoothed_db(scene: Scene, decibels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Decibels of the mean power of the valid ones of 5 x 5 pixels; anything where invalid."""
    summed, counted = (
        np.where(scene.valid, _pooled(each, (BOXCAR, BOXCAR), 1, BOXCAR // 2), 1)
        for each in (_linear(decibels, scene.valid), scene.valid.astype(np.float64))
    )
    return 10 * np.log10(summed / counted)


def _linear(decibels: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Power, 0 where invalid."""
    return np.where(valid, power(np.where(valid, decibels, 0)), 0)


def _pooled(
    values: NDArray[np.float64], window: tuple[int, int], step: int | tuple[int, int], border: int
) -> NDArray[np.float64]:
    """Means of windows `(height, width)`, of zeros beyond so wide a border."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    return torch.nn.functional.avg_pool2d(tensor, window, step, border)[0, 0].numpy()
