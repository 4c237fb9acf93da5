"""The images that codecs are compared on."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.pixels import filled
from sar_codec.data.georaster import describe
from sar_codec.data.raster import POLARISATION, Band
from sar_codec.data.sources import WINDOW_PERCENTILES
from sar_codec.errors import UserError


@dataclass(frozen=True, eq=False)
class Scene:
    """One band of one image, whole.

    Attributes:
        name: of the file, as short as tells it apart.
        band: its polarisation, or its number.
        place: the same for bands of the same ground, which are no independent examples.
        decibels: `(height, width)`, NaN where invalid.
        low_db: the lower end of the window that integers are mapped from.
        high_db: its upper end.
    """

    name: str
    band: str
    place: str
    decibels: NDArray[np.float32]
    low_db: float
    high_db: float

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        return np.isfinite(self.decibels)

    @cached_property
    def filled(self) -> NDArray[np.float32]:
        """Decibels with what lies around put where they are invalid."""
        return filled(self.decibels)

    @property
    def pixels(self) -> int:
        """How many are valid."""
        return int(self.valid.sum())

    @property
    def is_cross_polarised(self) -> bool:
        """Whether its band is VH or HV."""
        return self.band in ("VH", "HV")

    @property
    def range_db(self) -> float:
        return self.high_db - self.low_db

    def to_integers(self, bits: int) -> NDArray[np.uint16]:
        """Decibels of the window to all of the integers of so many bits, clipped."""
        unit = (self.filled.clip(self.low_db, self.high_db) - self.low_db) / self.range_db
        return np.rint(unit * (2**bits - 1)).astype(np.uint16)

    def from_integers(self, values: NDArray[np.uint16], bits: int) -> NDArray[np.float32]:
        """The inverse of `to_integers`."""
        unit = values.astype(np.float64) / (2**bits - 1)
        return (unit * self.range_db + self.low_db).astype(np.float32)


def make_scene(name: str, band: str, place: str, decibels: NDArray[np.float32]) -> Scene:
    """The scene of an array of decibels, its window the percentiles of all valid pixels.

    Raises:
        UserError: no pixel is valid, or all have the same value.
    """
    values = decibels[np.isfinite(decibels)]
    if not len(values):
        raise UserError(f"{name}, {band}: no pixel is valid; check data.quantity and data.nodata")
    low, high = (float(each) for each in np.percentile(values, WINDOW_PERCENTILES))
    if not low < high:
        raise UserError(f"{name}, {band}: all pixels have the same value; leave it out")
    return Scene(name, band, place, decibels, low, high)


def read_scenes(bands: Sequence[Band]) -> list[Scene]:
    """The scenes of bands of files, named by their paths from where these part.

    Raises:
        UserError: a file cannot be read, or is blank.
    """
    folders = [set(Path(band.path).absolute().parent.parts) for band in bands]
    shared = set.intersection(*folders)
    scenes = []
    for band in bands:
        path = Path(band.path).absolute()
        parts = [part for part in path.parent.parts if part not in shared]
        name = "/".join([*parts, POLARISATION.sub("", path.stem).strip("_-. ")])
        decibels = band.read(0, 0, band.height, band.width)
        scenes.append(make_scene(name, _label(band), band.place, decibels))
    return scenes


def _label(band: Band) -> str:
    """The polarisation, where the band's description or its file's name tells it."""
    texts = [Path(band.path).name]
    if not band.path.endswith(".npy"):
        with suppress(UserError):  # of a kind that cannot be compressed as it is
            texts.insert(0, describe(band.path).bands[band.index - 1].name or "")
    found = (POLARISATION.search(text) for text in texts)
    return next((each[0].upper() for each in found if each), f"band {band.index}")
