"""What a raster is coded with, found out from a few windows of it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.compressing import Source
from sar_codec.coding.lossy import Network
from sar_codec.coding.pixels import Stored, filled
from sar_codec.coding.threads import one_thread_each
from sar_codec.coding.tiling import Window
from sar_codec.errors import UserError

# Medians within this range, in dB, are as in the scenes that networks were trained on.
_FAMILIAR_DB = -25.0, -5.0
_TYPICAL_DB = -13.0
_LARGEST_DB = 1e6
_WINDOWS = 4  # to a side, spread evenly
_SIDE = 512
_EVERY = 4  # row and column of them tells the median as well
_QUALITY_STEPS = 64  # of one

Decibels = list[NDArray[np.float32]]


def samples(source: Source, stored: list[Stored]) -> list[Decibels]:
    """Decibels of windows all over a raster, `(h, w)`, a list for each band; NaN where invalid."""
    found: list[Decibels] = [[] for _ in stored]
    for window in _spread(source.description.height, source.description.width):
        pixels, valid = source.read(*window)
        for band, each in enumerate(stored):
            decibels = each.to_decibels(pixels[band])
            decibels[~valid[band]] = np.nan
            found[band].append(decibels)
    return found


def shift_db(decibels: Decibels) -> float:
    """What to add to a band so that it lies where networks know it: whole dB, mostly 0.

    Digital numbers, which are not calibrated, lie some 55 dB higher than sigma nought.
    """
    values = _finite(decibels, _EVERY)
    if not len(values):
        values = _finite(decibels, 1)
    if not len(values):
        return 0.0
    median = float(np.median(values.astype(np.float64)))
    low, high = _FAMILIAR_DB
    if low <= median <= high:
        return 0.0
    # No measurement is beyond a few hundred dB; a header holds no more than these.
    return float(round(min(max(_TYPICAL_DB - median, -_LARGEST_DB), _LARGEST_DB)))


def _finite(decibels: Decibels, every: int) -> NDArray[np.float32]:
    sparse = [each[::every, ::every] for each in decibels]
    return np.concatenate([each[np.isfinite(each)] for each in sparse])


def quality_for(
    bits_per_pixel: float,
    bands: list[Decibels],
    shifts_db: list[float],
    network: Network,
    workers: int,
) -> float:
    """The quality at which windows of a raster take so many bits a pixel.

    Args:
        bits_per_pixel: wanted.
        bands: from `samples`.
        shifts_db: of the bands.
        network: a trained codec.
        workers: threads.

    Raises:
        UserError: no quality takes that many, or that few; says between what they lie.
    """
    windows = [
        filled(decibels) + np.float32(shift)
        for band, shift in zip(bands, shifts_db, strict=True)
        for decibels in band
        if np.isfinite(decibels).any()
    ]
    count = sum(decibels.size for band in bands for decibels in band)

    def bits(window: NDArray[np.float32], step: int) -> int:
        quality = 1 + step / _QUALITY_STEPS
        return 8 * len(network.encode(window, Window(0, 0, *window.shape), quality).data)

    with ThreadPoolExecutor(workers, initializer=one_thread_each) as pool:

        def rate(step: int) -> float:
            return sum(pool.map(lambda window: bits(window, step), windows)) / count

        low, high = 0, 7 * _QUALITY_STEPS
        least, most = rate(low), rate(high)
        if not least <= bits_per_pixel <= most:
            raise UserError(
                f"--target-bpp={bits_per_pixel}: this raster takes {least:.3f} to {most:.3f} bits "
                "a pixel; give one between them, or --max-error-db for more"
            )
        return 1 + _nearest(rate, bits_per_pixel, low, high) / _QUALITY_STEPS


def _nearest(increasing: Callable[[int], float], value: float, low: int, high: int) -> int:
    """Where, between two integers, a function that increases comes nearest to a value."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if increasing(middle) <= value else (low, middle)
    return min((low, high), key=lambda step: abs(increasing(step) - value))


def _spread(height: int, width: int) -> Iterator[Window]:
    rows, columns = _begins(height), _begins(width)
    for row in rows:
        for column in columns:
            yield Window(row, column, min(_SIDE, height - row), min(_SIDE, width - column))


def _begins(side: int) -> list[int]:
    """Where windows begin: all of a small side, some of a large one."""
    if side <= _WINDOWS * _SIDE:
        return list(range(0, side, _SIDE))
    return [int(begin) for begin in np.linspace(0, side - _SIDE, _WINDOWS)]
