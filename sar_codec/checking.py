"""Whether a .sarc file decodes to what it should."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.compressing import Progress, Source, without_hidden
from sar_codec.coding.decompressing import MOST_PIXELS, Image
from sar_codec.coding.tiling import Window
from sar_codec.errors import UserError
from sar_codec.networks import finder

# Decibels of float32 are rounded when errors are measured here.
_ROUNDING_DB = 1e-4


@dataclass(frozen=True)
class Difference:
    """How a decoded raster differs from the original, over valid pixels of all bands.

    Attributes:
        rmse_db: root mean squared error in dB.
        max_error_db: the largest error in dB.
        power_db: mean power decoded over mean power original, in dB.
    """

    rmse_db: float
    max_error_db: float
    power_db: float

    def __str__(self) -> str:
        return (
            f"RMSE {self.rmse_db:.3f} dB, largest error {self.max_error_db:.3f} dB, mean power "
            f"{self.power_db:+.3f} dB"
        )


class _Sums:
    """What a `Difference` is made of."""

    def __init__(self) -> None:
        self.squares = self.count = self.largest = 0.0
        self.power = np.zeros(2)

    def add(self, before: NDArray[np.float32], after: NDArray[np.float32]) -> None:
        """Adds decibels of pixels, `(n,)`."""
        error = np.abs(after - before, dtype=np.float64)
        self.squares += float(np.square(error).sum())
        self.largest = max(self.largest, float(error.max(initial=0)))
        self.count += len(error)
        with np.errstate(over="ignore"):  # of integers that are said to be decibels
            self.power += [(10 ** (each.astype(np.float64) / 10)).sum() for each in (before, after)]

    def difference(self) -> Difference:
        if not self.count:
            return Difference(0.0, 0.0, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = float(10 * np.log10(self.power[1] / self.power[0]))
        return Difference((self.squares / self.count) ** 0.5, self.largest, ratio)


def check(source: Source, image: Image, progress: Progress) -> Difference:
    """Decodes all of a file and compares it with the raster that it was made of.

    Raises:
        UserError: a pixel is off by more than the file says, one that is kept as it is differs by
            a bit, or the mask or the alpha band does.
    """
    sums, raster = _Sums(), image.header.raster
    total = raster.height * raster.width * len(raster.measured)
    for window in image.windows():
        pixels, valid = source.read(*window)
        decoded = image.read(*window)
        for band in range(len(pixels)):
            stored = image.header.stored(band)
            kept = without_hidden(image.header, band, pixels[band], valid[band])
            before, after = (stored.to_decibels(each) for each in (pixels[band], decoded[band]))
            counts = valid[band] & np.isfinite(before)
            if kept[~counts].tobytes() != decoded[band][~counts].tobytes():
                raise UserError("pixels that are not valid would become others")
            if (
                not np.isfinite(after[counts]).all()
                or stored.is_nodata(decoded[band][counts]).any()
            ):
                raise UserError("valid pixels would become invalid")
            sums.add(before[counts], after[counts])
        _check_validity(source, image, window)
        progress(pixels.size, total)
    found, limit = sums.difference(), image.header.about.max_error_db
    if limit is not None and found.max_error_db > limit + _ROUNDING_DB:
        raise UserError(f"a pixel would be off by {found.max_error_db} dB")
    return found


def _check_validity(source: Source, image: Image, window: Window) -> None:
    mask, alpha = image.read_validity(*window)
    if mask is not None and not np.array_equal(mask, source.read_mask(*window)):
        raise UserError("the mask would become another one")
    if alpha is not None and alpha.tobytes() != source.read_alpha(*window).tobytes():
        raise UserError("the alpha band would become another one")


def decodes(
    coded: str | os.PathLike[str],
    progress: Progress,
    model: Path | None = None,
    workers: int | None = None,
    most_pixels: int = MOST_PIXELS,
    on_damage: Callable[[int, UserError], object] | None = None,
) -> int:
    """Decodes all of a file; how many tiles it has.

    Raises:
        UserError: it cannot be opened; without `on_damage`, a tile is damaged.
    """
    with Image(coded, finder(model), workers, most_pixels, on_damage) as image:
        raster = image.header.raster
        bands = len(raster.measured)
        for window in image.windows():
            image.read(*window)
            image.read_validity(*window)
            progress(bands * window.height * window.width, bands * raster.height * raster.width)
        return image.header.tiling.count
