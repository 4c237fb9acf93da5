"""Whether a .sarc file decodes to what it should."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sar_codec.coding.decompressing import MOST_PIXELS, Image
from sar_codec.conversion import Progress, Wanted
from sar_codec.data.georaster import open_input
from sar_codec.errors import UserError
from sar_codec.networks import finder


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


def check(
    original: str | os.PathLike[str],
    coded: str | os.PathLike[str],
    wanted: Wanted,
    progress: Progress = lambda pixels: None,
) -> Difference:
    """Decodes a file and compares it with the raster that it was made of.

    Raises:
        UserError: an invalid pixel is not what it was, or a pixel is off by more than was wanted:
            the file is removed then, as it would be a lie.
    """
    squares = count = largest = 0.0
    power = np.zeros(2)
    with open_input(original) as source, Image(coded, finder(wanted.model)) as image:
        for window in image.windows():
            pixels, valid = source.read(*window)
            decoded = image.read(*window)
            for band in range(len(pixels)):
                stored = image.header.stored(band)
                before, after = (stored.to_decibels(each[band]) for each in (pixels, decoded))
                counts = valid[band] & np.isfinite(before)
                same = np.isfinite(after) == np.isfinite(before)
                if not (same | ~valid[band]).all():
                    Path(coded).unlink()
                    raise UserError(f"{coded}: pixels became invalid, so it was removed again")
                error = np.abs(after[counts] - before[counts], dtype=np.float64)
                squares += float(np.square(error).sum())
                largest = max(largest, float(error.max(initial=0)))
                count += len(error)
                power += [(10 ** (each[counts] / 10.0)).sum() for each in (before, after)]
            progress(pixels.size)
    limit = wanted.max_error_db
    # Decibels of float32 are rounded when they are compared here.
    if limit is not None and largest > limit + 1e-4:
        Path(coded).unlink()
        raise UserError(f"{coded}: a pixel was off by {largest} dB, so it was removed again")
    if not count:
        return Difference(0.0, 0.0, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(10 * np.log10(power[1] / power[0]))
    return Difference((squares / count) ** 0.5, largest, ratio)


def decodes(
    coded: str | os.PathLike[str],
    model: Path | None = None,
    workers: int | None = None,
    most_pixels: int = MOST_PIXELS,
    on_damage: Callable[[int, UserError], object] | None = None,
    progress: Progress = lambda pixels: None,
) -> int:
    """Decodes all of a file; how many tiles it has.

    Raises:
        UserError: it cannot be opened; without `on_damage`, a tile is damaged.
    """
    with Image(coded, finder(model), workers, most_pixels, on_damage) as image:
        for window in image.windows():
            image.read(*window)
            image.read_validity(*window)
            progress(len(image.header.raster.measured) * window.height * window.width)
        return image.header.tiling.count * image.header.parts
