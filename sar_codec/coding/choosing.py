"""What a raster is coded with, found out from a few windows of it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.coders import QualityCoder
from sar_codec.coding.compressing import Source
from sar_codec.coding.pixels import Stored
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
_KEPT_BYTES = 8  # of a pixel that is kept as it is, about

Decibels = list[NDArray[np.float32]]
Rate = Callable[[int], float]  # bits a pixel at a step of quality
Overhead = Callable[[float], float]  # bits a pixel, of a file of so many


def samples(source: Source, stored: list[Stored], every: int = 1) -> list[Decibels]:
    """Decibels of windows all over a raster, `(h, w)`, a list for each band; NaN where invalid.

    Args:
        source: the raster.
        stored: its bands.
        every: row and column of the windows is taken.
    """
    found: list[Decibels] = [[] for _ in stored]
    for window in _spread(source.description.height, source.description.width):
        pixels, valid = (each[:, ::every, ::every] for each in source.read(*window))
        for band, each in enumerate(stored):
            decibels = each.to_decibels(pixels[band])
            decibels[~valid[band]] = np.nan
            found[band].append(decibels)
    return found


def shifts_db(source: Source, stored: list[Stored]) -> list[float]:
    """What to add to each band so that it lies where networks know it: whole dB, mostly 0.

    Digital numbers, which are not calibrated, lie some 55 dB higher than sigma nought.
    """
    bands = [_finite(each) for each in samples(source, stored, _EVERY)]
    if not all(map(len, bands)):
        bands = [_finite(each) for each in samples(source, stored)]
    return [_shift_db(each) for each in bands]


def _finite(decibels: Decibels) -> NDArray[np.float32]:
    return np.concatenate([each[np.isfinite(each)] for each in decibels])


def _shift_db(decibels: NDArray[np.float32]) -> float:
    median = float(np.median(decibels.astype(np.float64))) if len(decibels) else _TYPICAL_DB
    low, high = _FAMILIAR_DB
    if low <= median <= high:
        return 0.0
    # No measurement is beyond a few hundred dB; a header holds no more than these.
    return float(round(min(max(_TYPICAL_DB - median, -_LARGEST_DB), _LARGEST_DB)))


def quality_for(
    bits_per_pixel: float,
    bands: list[Decibels],
    shifts_db: list[float],
    coder: QualityCoder,
    overhead: Overhead,
    coded: float,
    workers: int,
) -> float:
    """The quality at which a raster takes so many bits a pixel, told from windows of it.

    Args:
        bits_per_pixel: wanted.
        bands: from `samples`.
        shifts_db: of the bands.
        coder: of tiles, of any quality.
        overhead: bits a pixel that are neither of latents nor of gains, of a file of so many.
        coded: pixels that are coded for each of the raster's.
        workers: threads.

    Raises:
        UserError: no quality takes that many, or that few; says between what they lie.
    """
    windows = [
        (decibels, shift)
        for band, shift in zip(bands, shifts_db, strict=True)
        for decibels in band
        if np.isfinite(decibels).any()
    ]
    count = sum(decibels.size for band in bands for decibels in band) / coded
    with ThreadPoolExecutor(workers, initializer=one_thread_each) as pool:

        def of_all(size: Callable[[QualityCoder, NDArray[np.float32], float], int]) -> Rate:
            def rate(step: int) -> float:
                at = replace(coder, quality=_quality(step))
                sizes = pool.map(lambda window: size(at, *window), windows)
                return 8 * sum(sizes) / count

            return cache(rate)

        latents, gains = of_all(_latents_size), of_all(_gains_size)
        low, high = 0, 7 * _QUALITY_STEPS

        def of_gains(step: int) -> float:
            return gains(step) if coder.keeps_power else 0.0

        # Gains take much time, and the quality changes their size little.
        likely = of_gains(high // 2)
        least, most = (
            bits + overhead(bits) for bits in (latents(step) + likely for step in (low, high))
        )
        if not least <= bits_per_pixel <= most:
            raise UserError(
                f"--target-bpp={bits_per_pixel}: this raster takes {least:.3f} to {most:.3f} bits "
                "a pixel; give one between them, or --max-error-db for more"
            )
        left = bits_per_pixel - overhead(bits_per_pixel)
        step = _nearest(latents, left - likely, low, high)
        return _quality(_nearest(latents, left - of_gains(step), low, high))


def _quality(step: int) -> float:
    return 1 + step / _QUALITY_STEPS


def _latents_size(coder: QualityCoder, decibels: NDArray[np.float32], shift_db: float) -> int:
    return len(coder.encoded(decibels, Window(0, 0, *decibels.shape), shift_db).data)


def _gains_size(coder: QualityCoder, decibels: NDArray[np.float32], shift_db: float) -> int:
    tile = Window(0, 0, *decibels.shape)
    data, _, latents = coder.encoded(decibels, tile, shift_db)
    kept = coder.kept(decibels, tile, tile[2:], {tile: latents}, len(data), shift_db)
    return len(kept.gains) + _KEPT_BYTES * int(kept.are_lost.sum())


def _nearest(increasing: Rate, value: float, low: int, high: int) -> int:
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
