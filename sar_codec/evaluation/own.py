"""Our codec, as those that are compared: whole .sarc files."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.decompressing import Image
from sar_codec.conversion import Wanted, compress_source
from sar_codec.data.description import BandDescription, Description
from sar_codec.data.scaling import Quantity
from sar_codec.evaluation.bounded import BOUNDS_DB
from sar_codec.evaluation.codecs import Mode
from sar_codec.evaluation.lossless import ERRORS, from_digital_numbers, to_digital_numbers
from sar_codec.evaluation.scenes import Scene
from sar_codec.networks import finder, network_of

_COMMAND = "sar-codec compress --no-verify"


class ArraySource:
    """An image in memory, `(height, width)`, as a raster of one band.

    Args:
        pixels: float32 decibels, invalid where not finite, or uint16 amplitudes, where 0.
    """

    def __init__(self, pixels: NDArray[np.float32] | NDArray[np.uint16]) -> None:
        self._pixels = pixels
        height, width = pixels.shape
        are_decibels = pixels.dtype == np.float32
        self.description = Description(
            height=height,
            width=width,
            dtype="float32" if are_decibels else "uint16",
            bands=(BandDescription(None, "dB" if are_decibels else None, 1.0, 0.0, "gray", {}),),
            crs=None,
            transform=None,
            ground_points=(),
            ground_points_crs=None,
            tags={},
            nodata=np.nan if are_decibels else 0.0,
            has_mask=False,
            overviews=(),
            block=(height, width),
            is_tiled=False,
        )

    def read(
        self, row: int, column: int, height: int, width: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        pixels = self._pixels[None, row : row + height, column : column + width]
        return pixels, np.isfinite(pixels) & (pixels != self.description.nodata)

    def read_mask(self, row: int, column: int, height: int, width: int) -> NDArray[np.bool_]:
        return self.read(row, column, height, width)[1][0]

    def read_alpha(self, row: int, column: int, height: int, width: int) -> NDArray[Any]:
        raise ValueError("an array has no alpha band")


@dataclass(frozen=True)
class OwnCodec:
    """Our codec along its qualities.

    Counted is all of the file: which pixels are valid, gains, checks and descriptions too.

    Attributes:
        model: a checkpoint or file of weights.
        keeps_power: whether gains keep the mean power of blocks; else the error in dB is least.
        threads: to code with.
        settings: qualities, 1 to 8.
        mode: what these are.
    """

    model: Path
    keeps_power: bool
    threads: int
    settings: tuple[float, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    mode: Mode = "rate"

    @property
    def name(self) -> str:
        return "ours" if self.keeps_power else "ours, least dB error"

    @property
    def about(self) -> str:
        keep = "power" if self.keeps_power else "decibels"
        return f"{_COMMAND} --quality 1 ... 8 --keep {keep}, {network_of(self.model).id}"

    def encode(self, scene: Scene, setting: float) -> bytes:
        wanted = Wanted(
            quality=setting,
            keeps_power=self.keeps_power,
            model=self.model,
            workers=self.threads,
        )
        return _file_of(ArraySource(scene.decibels), "db", wanted)

    def decode(self, data: bytes, scene: Scene) -> NDArray[np.float32]:
        return _pixels_of(data, self.model, self.threads)


@dataclass(frozen=True)
class OwnBounded:
    """Our codec along the largest error that it may make; counted is all of the file.

    Attributes:
        model: a checkpoint or file of weights.
        threads: to code with.
        settings: bounds in dB.
        mode: what these are.
    """

    model: Path
    threads: int
    settings: tuple[float, ...] = BOUNDS_DB
    mode: Mode = "bounded"
    name: str = "ours, bounded"

    @property
    def about(self) -> str:
        return f"{_COMMAND} --max-error-db BOUND, {network_of(self.model).id}"

    def encode(self, scene: Scene, setting: float) -> bytes:
        wanted = Wanted(max_error_db=setting, model=self.model, workers=self.threads)
        return _file_of(ArraySource(scene.decibels), "db", wanted)

    def decode(self, data: bytes, scene: Scene) -> NDArray[np.float32]:
        return _pixels_of(data, self.model, self.threads)


@dataclass(frozen=True)
class OwnLossless:
    """Our codec without loss, of digital numbers as `lossless`; counted is all of the file.

    Attributes:
        model: a checkpoint or file of weights.
        threads: to code with.
        settings: the only one, which says nothing.
        mode: that there is none to choose.
    """

    model: Path
    threads: int
    settings: tuple[float, ...] = (0.0,)
    mode: Mode = "lossless"
    name: str = "ours, lossless"

    @property
    def about(self) -> str:
        return f"{_COMMAND} --max-error-db 0, {network_of(self.model).id}; {ERRORS}"

    def encode(self, scene: Scene, setting: float) -> bytes:
        wanted = Wanted(max_error_db=0, model=self.model, workers=self.threads)
        return _file_of(ArraySource(to_digital_numbers(scene)), "amplitude", wanted)

    def decode(self, data: bytes, scene: Scene) -> NDArray[np.float32]:
        return from_digital_numbers(_pixels_of(data, self.model, self.threads))


Own = OwnCodec | OwnBounded | OwnLossless


def _file_of(source: ArraySource, quantity: Quantity, wanted: Wanted) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.sarc"
        # The other codecs do not decode what they wrote, to check it, either.
        compress_source(source, quantity, path, wanted, verifying=None)
        return path.read_bytes()


def _pixels_of(data: bytes, model: Path, threads: int) -> NDArray[Any]:
    """Pixels `(height, width)` of all of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.sarc"
        path.write_bytes(data)
        with Image(path, finder(model), threads) as image:
            raster = image.header.raster
            return image.read(0, 0, raster.height, raster.width)[0]
