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
from sar_codec.evaluation.scenes import Scene
from sar_codec.networks import finder, network_of


class ArraySource:
    """An image in memory, `(height, width)` of float32 decibels, as a raster of one band."""

    def __init__(self, decibels: NDArray[np.float32]) -> None:
        self._decibels = decibels
        height, width = decibels.shape
        self.description = Description(
            height=height,
            width=width,
            dtype="float32",
            bands=(BandDescription(None, "dB", 1.0, 0.0, "gray", {}),),
            crs=None,
            transform=None,
            ground_points=(),
            ground_points_crs=None,
            tags={},
            nodata=np.nan,
            has_mask=False,
            overviews=(),
            block=(height, width),
            is_tiled=False,
        )

    def read(
        self, row: int, column: int, height: int, width: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        pixels = self._decibels[None, row : row + height, column : column + width]
        return pixels, np.isfinite(pixels)

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
    """

    model: Path
    keeps_power: bool
    threads: int
    settings: tuple[float, ...] = (1, 2, 3, 4, 5, 6, 7, 8)

    @property
    def name(self) -> str:
        return "ours" if self.keeps_power else "ours, least dB error"

    @property
    def about(self) -> str:
        keep = "power" if self.keeps_power else "decibels"
        return f"sar-codec compress --quality 1 ... 8 --keep {keep}, {network_of(self.model).id}"

    def encode(self, scene: Scene, setting: float) -> bytes:
        wanted = Wanted(
            quality=setting,
            keeps_power=self.keeps_power,
            model=self.model,
            workers=self.threads,
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scene.sarc"
            compress_source(ArraySource(scene.decibels), "db", path, wanted)
            return path.read_bytes()

    def decode(self, data: bytes, scene: Scene) -> NDArray[np.float32]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scene.sarc"
            path.write_bytes(data)
            with Image(path, finder(self.model), self.threads) as image:
                return image.read(0, 0, *scene.decibels.shape)[0]
