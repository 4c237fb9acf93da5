"""What becomes of point targets: ships, masts, corner reflectors."""

from itertools import product
from math import hypot
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sar_codec.evaluation.scenes import Scene

ABOVE_DB = 15  # its surroundings; one pixel in 10^9 of single-look speckle is that bright
MOST = 200
_ALONE = 5  # pixels to each side, all valid, of which none is as bright
_INNER, _OUTER = 3, 10  # pixels to each side: where surroundings begin and end
_CHUNK = 4096  # maxima looked at together: 7 MB of windows
# Within 2 pixels, the nearest first: of equal levels, the peak is the one that has moved least.
_STEPS = np.array(sorted(product(range(-2, 3), repeat=2), key=lambda step: hypot(*step)))


class Targets(NamedTuple):
    """Levels and positions of decoded peaks, each the largest value within 2 pixels.

    Attributes:
        number: of point targets.
        peak_loss_db: original minus decoded peak, the mean.
        largest_peak_loss_db: the worst target's.
        offset_pixels: the mean distance between original and decoded peak, each where a parabola
            through the decibels of the pixel and its neighbours along an axis has its maximum.
    """

    number: int
    peak_loss_db: float
    largest_peak_loss_db: float
    offset_pixels: float


def point_targets(scene: Scene) -> NDArray[np.int64]:
    """Rows and columns of the strongest point targets of an original, `(N, 2)`, N up to 200.

    One is brighter than all else in 11 x 11 valid pixels, and 15 dB above the median of the valid
    ones in 21 x 21 around it, without the inner 7 x 7. The strongest comes first.
    """
    peaks = _maxima(scene)
    levels = scene.decibels[tuple(peaks.T)]
    order = np.argsort(-levels, kind="stable")
    side = 2 * _OUTER + 1
    around = np.pad(scene.decibels, _OUTER, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(around, (side, side))
    ring, alone = ~_square(_INNER), _square(_ALONE)
    found = np.empty((0, 2), np.int64)
    for start in range(0, len(order), _CHUNK):
        some = order[start : start + _CHUNK]
        values = windows[tuple(peaks[some].T)]
        stands_out = levels[some] - np.nanmedian(values[:, ring], axis=1) > ABOVE_DB
        is_highest = (values[:, alone] >= levels[some, None]).sum(1) == 1
        found = np.concatenate([found, peaks[some[stands_out & is_highest]]])
        if len(found) >= MOST:
            break
    return found[:MOST]


def targets(scene: Scene, decoded: NDArray[np.float32], positions: NDArray[np.int64]) -> Targets:
    """Of decoded decibels `(height, width)`, at what `point_targets` found; NaN without any."""
    if not len(positions):
        return Targets(0, float("nan"), float("nan"), float("nan"))
    nearby = _at(decoded, positions[:, None] + _STEPS)
    best = nearby.argmax(1)
    moved = _STEPS[best]
    losses = scene.decibels[tuple(positions.T)].astype(np.float64) - nearby.max(1)
    offsets = moved + _refined(decoded, positions + moved) - _refined(scene.decibels, positions)
    distance = float(np.hypot(*offsets.T).mean())
    return Targets(len(positions), float(losses.mean()), float(losses.max()), distance)


def _maxima(scene: Scene) -> NDArray[np.int64]:
    """Rows and columns of pixels, `(N, 2)`, than which none around is brighter or invalid."""
    side = 2 * _ALONE + 1
    if min(scene.decibels.shape) < side:
        return np.empty((0, 2), np.int64)
    levels = torch.from_numpy(np.where(scene.valid, scene.decibels, np.inf))[None, None]
    highest = torch.nn.functional.max_pool2d(levels, (side, 1), 1)
    highest = torch.nn.functional.max_pool2d(highest, (1, side), 1)
    inner = scene.decibels[_ALONE:-_ALONE, _ALONE:-_ALONE]
    return np.argwhere(inner == highest[0, 0].numpy()) + _ALONE


def _square(reach: int) -> NDArray[np.bool_]:
    """Which pixels of a window lie so near to its centre."""
    distance = np.abs(np.arange(-_OUTER, _OUTER + 1)) <= reach
    return distance[:, None] & distance


def _refined(decibels: NDArray[np.float32], peaks: NDArray[np.int64]) -> NDArray[np.float64]:
    """How far from pixels the maximum of a parabola is along each axis, `(N, 2)`, within 0.5."""
    offsets = []
    for axis in np.eye(2, dtype=np.int64):
        before, at, after = (
            _at(decibels, peaks + step * axis).astype(np.float64) for step in (-1, 0, 1)
        )
        curvature = 2 * at - before - after
        curved = curvature > 0
        shift = (after - before) / 2 / np.where(curved, curvature, 1)
        offsets.append(np.where(curved, shift.clip(-0.5, 0.5), 0))
    return np.stack(offsets, 1)


def _at(image: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """The values at positions `(..., 2)`."""
    return image[positions[..., 0], positions[..., 1]]
