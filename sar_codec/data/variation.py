"""Windows as of another product: of other spacing, looks and calibration."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sar_codec.data.patches import Area

_OCTAVES = 1.0  # of spacing, to both sides
_BLUR = 1.5  # pixels, standard deviation at most; half of the windows have none
_SHIFT_DB = 8.0
_REACH = 4.0  # of the blur, in standard deviations at most


def read_varied(
    area: Area, row: int, column: int, size: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Decibels of a window of the area, `(size, size)`, or of one around or in its place.

    Power is resampled from up to twice or down to half of the side, maybe blurred, which averages
    looks as multilooking does, and multiplied by a constant. Where the area holds no such window,
    or not all of it is valid, the spacing stays as it is.

    Args:
        area: of the window.
        row: where it begins.
        column: likewise.
        size: its side; all of it is valid.
        rng: to draw from, the same numbers in any case.
    """
    side = round(size * 2.0 ** rng.uniform(-_OCTAVES, _OCTAVES))
    blur, shift = max(0.0, rng.uniform(-_BLUR, _BLUR)), rng.uniform(-_SHIFT_DB, _SHIFT_DB)
    decibels = _around(area, row, column, size, side)
    if decibels is None:
        decibels = area.read(row, column, size, size)
    power = torch.from_numpy(10 ** (decibels / 10))[None, None]
    if blur > 0:
        power = _blurred(power, blur)
    power = functional.interpolate(power, (size, size), mode="bilinear", antialias=True)
    result: NDArray[np.float32] = (10 * power[0, 0].log10() + shift).numpy()
    return result


def _around(area: Area, row: int, column: int, size: int, side: int) -> NDArray[np.float32] | None:
    """A window of another side about a window's middle, None where that is not all valid."""
    if side > min(area.height, area.width):
        return None
    top, left = (
        min(max(begin + (size - side) // 2, 0), length - side)
        for begin, length in ((row, area.height), (column, area.width))
    )
    decibels = area.read(top, left, side, side)
    return decibels if np.isfinite(decibels).all() else None


def _blurred(power: Tensor, deviation: float) -> Tensor:
    reach = int(np.ceil(_REACH * deviation))
    places = torch.arange(-reach, reach + 1.0)
    weights = torch.exp(-0.5 * (places / deviation) ** 2)
    weights = (weights / weights.sum())[None, None, None]
    edged = functional.pad(power, (reach, reach, reach, reach), "replicate")
    return functional.conv2d(functional.conv2d(edged, weights), weights.mT)
