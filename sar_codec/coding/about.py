"""What a .sarc file says of the image in it: its header."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, MaxLen, MinLen, MultipleOf
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from sar_codec.coding.container import Reader
from sar_codec.coding.grids import MOST_PIXELS, Grid
from sar_codec.coding.pixels import Stored
from sar_codec.coding.tiling import ALIGNMENT, LARGEST_SIDE, Tiling
from sar_codec.data.description import Description
from sar_codec.data.scaling import Quantity
from sar_codec.errors import UserError

Side = Annotated[int, Gt(0), Le(LARGEST_SIDE), MultipleOf(ALIGNMENT)]
Finite = Annotated[float, Field(allow_inf_nan=False), Ge(-1e6), Le(1e6)]
_MODEL_ID = r"^[0-9a-f]{64}$"


@dataclass(frozen=True)
class About:
    """The header of a file, but for the description of the raster.

    Attributes:
        quantity: what the pixels are.
        mode: "quality" if coded by a network, "bounded" if to a maximum error.
        quality: 1 to 8; None if bounded.
        max_error_db: that no valid pixel is off by more than; None if not bounded.
        model: SHA-256 of the weights that are needed to decode.
        tile: height and width of tiles.
        shift_db: of each band, what was added to its decibels before the network saw them.
        program: what wrote the file, and its version.
        grid: that the raster was taken from, if tiles are of that.
    """

    quantity: Quantity
    mode: Literal["quality", "bounded"]
    quality: Annotated[float, Ge(1), Le(8)] | None
    max_error_db: Annotated[float, Ge(0), Le(100)] | None
    model: Annotated[str, Field(pattern=_MODEL_ID)]
    tile: tuple[Side, Side]
    shift_db: Annotated[tuple[Finite, ...], MinLen(1), MaxLen(4)]
    program: Annotated[str, MaxLen(200)]
    grid: Grid | None = None
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)


_ABOUT = TypeAdapter(About)


@dataclass(frozen=True)
class Header:
    """All that a file says of its image.

    Attributes:
        about: how it was coded.
        raster: what the raster says besides its pixels.
    """

    about: About
    raster: Description

    def to_json(self) -> dict[str, Any]:
        """The inverse of `from_json`."""
        about = asdict(self.about)
        if self.about.grid is None:
            del about["grid"]
        return {"about": about, "raster": self.raster.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any], tile_count: int) -> "Header":
        """The header that `to_json` made the dict of.

        Args:
            data: from a file, not to be trusted.
            tile_count: that the file has.

        Raises:
            UserError: it is none, or does not fit that many tiles.
        """
        if data.keys() != {"about", "raster"}:
            raise _damaged(f"entries {', '.join(sorted(data))[:100]}, expected about and raster")
        try:
            about = _ABOUT.validate_json(json.dumps(data["about"]))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = ".".join(map(str, first["loc"]))
            raise _damaged(f"{name}: {first['msg'].lower()}") from None
        header = cls(about, Description.from_json(data["raster"]))
        header._check(tile_count)
        return header

    @property
    def tiling(self) -> Tiling:
        tiled = self.about.grid or self.raster
        return Tiling(tiled.height, tiled.width, *self.about.tile)

    @property
    def parts(self) -> int:
        """How many parts each tile has: one for each band, and one for mask and alpha band."""
        return len(self.raster.measured) + (self.has_validity)

    @property
    def has_validity(self) -> bool:
        """Whether the raster has a mask or an alpha band."""
        return self.raster.has_mask or self.raster.alpha is not None

    def stored(self, band: int) -> Stored:
        """How a band, counted from 0 without the alpha band, stores its values."""
        described = self.raster.bands[self.raster.measured[band] - 1]
        dtype = np.dtype(self.raster.dtype)
        return Stored(
            dtype, self.about.quantity, self.raster.nodata, described.scale, described.offset
        )

    def _check(self, tile_count: int) -> None:
        about = self.about
        if (about.quality is None) == (about.mode == "quality"):
            raise _damaged(f"mode {about.mode} and quality {about.quality}")
        if (about.max_error_db is None) == (about.mode == "bounded"):
            raise _damaged(f"mode {about.mode} and maximum error {about.max_error_db}")
        if about.grid is not None:
            if about.mode != "quality" or self.has_validity:
                raise _damaged("a grid, which a file of its kind has not")
            on_grid = about.grid.height * about.grid.width
            if on_grid > min(self.raster.height * self.raster.width, MOST_PIXELS):
                raise _damaged("a grid of more pixels than the raster has")
            bands = len(self.raster.measured)
            if about.grid.across != self.raster.width or any(
                len(each) != 1 + bands or not 0 <= each[0] <= MOST_PIXELS
                for each in about.grid.alone
            ):
                raise _damaged("a grid of another raster")
        if len(about.shift_db) != len(self.raster.measured):
            raise _damaged(f"{len(about.shift_db)} shifts for {len(self.raster.measured)} bands")
        scales = [self.raster.bands[band - 1].scale for band in self.raster.measured]
        if not all(math.isfinite(scale) and scale for scale in scales):
            raise _damaged(f"scales {scales}")
        if (expected := self.tiling.count * self.parts) != tile_count:
            raise _damaged(f"an image of {expected} parts of tiles, it has {tile_count}")


def open_header(file: Reader, path: Path, most_pixels: int) -> Header:
    """The header of a file.

    Raises:
        UserError: it is damaged, or its image has more than `most_pixels` pixels.
    """
    try:
        header = Header.from_json(file.header, file.tile_count)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    pixels = header.raster.height * header.raster.width * len(header.raster.measured)
    if pixels > most_pixels:
        raise UserError(
            f"{path}: {pixels:,} pixels, more than the {most_pixels:,} that are allowed; "
            "raise --max-pixels if you trust the file"
        )
    return header


def _damaged(how: str) -> UserError:
    return UserError(f"its header is damaged ({how}): get another copy of the file")
