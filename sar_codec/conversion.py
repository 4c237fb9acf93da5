"""Rasters to .sarc files and back: what the `sar-codec` command does."""

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from sar_codec.checking import Difference, check
from sar_codec.coding.about import About, Header
from sar_codec.coding.cells import Cells
from sar_codec.coding.choosing import quality_for, samples, shifts_db
from sar_codec.coding.coders import BoundedCoder, QualityCoder
from sar_codec.coding.compressing import Progress, Source, TileCoder, compress
from sar_codec.coding.container import Writer, size_without_tiles
from sar_codec.coding.decompressing import MOST_PIXELS, Bounded, Image
from sar_codec.coding.gridded import on_its_grid
from sar_codec.coding.parts import HEAD_SIZE
from sar_codec.coding.pixels import Stored
from sar_codec.coding.threads import cores
from sar_codec.coding.tiling import Tiling
from sar_codec.data.description import Description
from sar_codec.data.georaster import open_input, stated_quantity
from sar_codec.data.geotiff import open_output
from sar_codec.data.scaling import Quantity
from sar_codec.errors import UserError
from sar_codec.networks import BOUNDED, QUALITY, finder, network_of

DEFAULT_QUALITY = 5.0
_MOST_WORKERS = 1024
_TILE = 1024  # the largest side of a tile
# The quality, or bits a pixel, from which the grid that a raster comes from saves bytes.
_GRID_FROM, _GRID_BPP = 4.0, 0.35


def untold(done: int, total: int) -> None:
    """A `Progress` for those who do not want to know."""


@dataclass(frozen=True)
class Wanted:
    """How a raster is to be coded.

    Attributes:
        quality: from 1, the smallest files, to 8; None with the next two: `DEFAULT_QUALITY`.
        max_error_db: that no valid pixel is to be off by more than.
        target_bpp: bits a pixel of a band that the file is to take.
        keeps_power: whether gains keep the mean power of blocks; else the error in dB is least.
        quantity: what the pixels are, if the raster does not say it.
        model: a checkpoint or file of weights; None: what comes with the package.
        workers: threads; None: one a core.
    """

    quality: float | None = None
    max_error_db: float | None = None
    target_bpp: float | None = None
    keeps_power: bool = True
    quantity: Quantity | None = None
    model: Path | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        given = [
            f"{name}={value}"
            for name, value in (
                ("quality", self.quality),
                ("max_error_db", self.max_error_db),
                ("target_bpp", self.target_bpp),
            )
            if value is not None
        ]
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)}: give only one of them")
        if self.quality is not None and not 1 <= self.quality <= 8:
            raise UserError(f"quality={self.quality}: expected a number from 1, the smallest, to 8")
        if self.max_error_db is not None and not 0 <= self.max_error_db < math.inf:
            raise UserError(f"max_error_db={self.max_error_db}: expected 0, lossless, or more")
        if self.target_bpp is not None and not 0 < self.target_bpp < math.inf:
            raise UserError(f"target_bpp={self.target_bpp}: expected a number above 0")
        check_workers(self.workers)


@dataclass(frozen=True)
class Summary:
    """What was done.

    Attributes:
        pixels: of all bands.
        size: of the file, in bytes.
        seconds: that it took.
        quality: that it was coded at; None where an error was bounded.
        difference: between original and decoded pixels; None if they were not compared.
    """

    pixels: int
    size: int
    seconds: float
    quality: float | None
    difference: Difference | None = None

    @property
    def bits_per_pixel(self) -> float:
        return 8 * self.size / self.pixels

    @property
    def megapixels_per_second(self) -> float:
        return self.pixels / 1e6 / self.seconds


def compress_source(
    source: Source,
    quantity: Quantity,
    target: str | os.PathLike[str],
    wanted: Wanted,
    overwrite: bool = False,
    progress: Progress = untold,
    verifying: Progress | None = untold,
) -> Summary:
    """Codes a raster that is open.

    Args:
        source: the raster.
        quantity: what its pixels are.
        target: the file, which appears when all is done.
        wanted: how to code.
        overwrite: whether `target` may take the place of another file.
        progress: is told of pixels that are coded.
        verifying: is told of pixels that were decoded and compared; None: none are.

    Raises:
        UserError: it cannot be coded as wanted, or written, or is not decoded as it should be.
    """
    began = time.monotonic()
    workers = wanted.workers or cores()
    raster = source.description
    with Writer(target, overwrite) as writer:
        tiled, coder, about = _choose(source, quantity, wanted, workers)
        header = Header(about, raster)
        compress(tiled, writer, header, coder, workers, progress)
        coded = writer.unplaced()
        pixels = raster.height * raster.width * len(raster.measured)
        seconds = time.monotonic() - began
        done = Summary(pixels, os.path.getsize(coded), seconds, about.quality)
        if verifying is not None:
            with Image(coded, finder(wanted.model), workers, most_pixels=pixels) as image:
                try:
                    found = check(source, image, verifying)
                except UserError as error:
                    raise UserError(f"{target}: {error}; nothing was written") from None
            done = replace(done, difference=found)
    return done


def compress_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    wanted: Wanted,
    overwrite: bool = False,
    progress: Progress = untold,
    verifying: Progress | None = untold,
) -> Summary:
    """A raster of any format that GDAL reads, to a .sarc file; otherwise as `compress_source`.

    Raises:
        UserError: it cannot be read, does not say what it holds, cannot be coded as wanted, or the
            file cannot be written.
    """
    quantity = _quantity(source, wanted.quantity)
    _refuse_same(source, target)
    with open_input(source) as opened:
        return compress_source(opened, quantity, target, wanted, overwrite, progress, verifying)


def decompress_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    model: Path | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    most_pixels: int = MOST_PIXELS,
    on_damage: Callable[[int, UserError], object] | None = None,
    progress: Progress = untold,
) -> Summary:
    """A .sarc file to a tiled GeoTIFF that says what the raster said.

    Args:
        source: the .sarc file.
        target: the GeoTIFF.
        model: the network, if it does not come with the package.
        overwrite: whether `target` may take the place of another file.
        workers: threads; None: one a core.
        most_pixels: that the image may have.
        on_damage: is told of tiles that cannot be decoded, which become nodata, as do the pixels
            around that they tell a part of; None: an error.
        progress: is told of pixels that were written.

    Raises:
        UserError: the file cannot be decoded, or the GeoTIFF not be written.
    """
    began = time.monotonic()
    check_workers(workers)
    _refuse_same(source, target)
    with Image(source, finder(model), workers, most_pixels, on_damage) as image:
        raster = image.header.raster
        pixels = raster.height * raster.width * len(raster.measured)
        with open_output(
            target, raster, extra_tags=promises(image.header), overwrite=overwrite
        ) as output:
            for window in image.windows():
                output.write(image.read(*window), window.row, window.column)
                mask, alpha = image.read_validity(*window)
                if mask is not None:
                    output.write_mask(mask, window.row, window.column)
                if alpha is not None:
                    output.write_alpha(alpha, window.row, window.column)
                progress(len(raster.measured) * window.height * window.width, pixels)
        quality = image.header.about.quality
    return Summary(pixels, os.path.getsize(source), time.monotonic() - began, quality)


def promises(header: Header) -> dict[str, str]:
    """The tags that tell what was done to a raster's pixels."""
    about = header.about
    tags = {"SAR_CODEC_PROGRAM": about.program, "SAR_CODEC_MODEL": about.model}
    if about.max_error_db is not None:
        tags["SAR_CODEC_MAX_ERROR_DB"] = repr(about.max_error_db)
    if about.quality is not None:
        tags["SAR_CODEC_QUALITY"] = repr(about.quality)
    return tags


def check_workers(workers: int | None) -> None:
    """Raises a UserError for less than one thread."""
    if workers is not None and not 1 <= workers <= _MOST_WORKERS:
        raise UserError(f"threads={workers}: expected 1 to {_MOST_WORKERS}")


def _refuse_same(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    with suppress(OSError):  # mostly as there is no such target yet
        if os.path.samefile(source, target):
            raise UserError(f"{target}: is what is read; give another name for what is written")


def _quantity(path: str | os.PathLike[str], given: Quantity | None) -> Quantity:
    stated = stated_quantity(path)
    if given and stated and given != stated:
        raise UserError(f"{path}: says it holds {stated}, --quantity says {given}; leave it out")
    if (quantity := given or stated) is None:
        raise UserError(
            f"{path}: does not say whether it holds power, amplitude or dB; say so with --quantity "
            "power|amplitude|db, or in the file: gdal_edit.py -units dB FILE"
        )
    return quantity


def _refuse_impossible(stored: list[Stored]) -> None:
    for each in stored:
        if not (math.isfinite(each.scale) and each.scale and math.isfinite(each.offset)):
            raise UserError(
                f"a band of scale {each.scale} and offset {each.offset}, expected finite ones and "
                "no scale of 0; set them by gdal_edit.py -scale 1 -offset 0"
            )
        if each.nodata is not None and each.dtype.kind != "f" and each.nodata_pixel is None:
            raise UserError(
                f"nodata {each.nodata}, which no pixel of {each.dtype} is; take it out by "
                "gdal_edit.py -unsetnodata"
            )


def _choose(
    source: Source, quantity: Quantity, wanted: Wanted, workers: int
) -> tuple[Source, TileCoder, About]:
    raster = source.description
    bands = [raster.bands[number - 1] for number in raster.measured]
    dtype = np.dtype(raster.dtype)
    stored = [Stored(dtype, quantity, raster.nodata, each.scale, each.offset) for each in bands]
    _refuse_impossible(stored)
    network = network_of(wanted.model or (BOUNDED if wanted.max_error_db is not None else QUALITY))
    if isinstance(network, Bounded):
        if wanted.max_error_db is None:
            raise UserError(f"{wanted.model}: codes to a maximum error; give --max-error-db")
        if any((each.scale, each.offset) != (1, 0) for each in stored):
            raise UserError(
                "--max-error-db: the raster's bands have a scale or an offset, which this cannot "
                "bound; use --quality, or store the values themselves"
            )
        cells = Cells.of(stored[0], wanted.max_error_db)
        no_shift, tile = (0.0,) * len(bands), _tile_of(raster)
        about = About(
            quantity, "bounded", None, wanted.max_error_db, network.id, tile, no_shift, _made_by()
        )
        return source, BoundedCoder(network.model, cells), about
    if wanted.max_error_db is not None:
        raise UserError(f"{wanted.model}: cannot bound an error; give --quality or --target-bpp")
    quality = wanted.quality or DEFAULT_QUALITY
    pays = quality >= _GRID_FROM if wanted.target_bpp is None else wanted.target_bpp >= _GRID_BPP
    on_grid = on_its_grid(source, stored) if pays else None
    source, grid = (source, None) if on_grid is None else (on_grid, on_grid.grid)
    tile = _tile_of(source.description)
    shifts = shifts_db(source, stored)
    coder = QualityCoder(network, quality, wanted.keeps_power)
    about = About(
        quantity, "quality", quality, None, network.id, tile, tuple(shifts), _made_by(), grid
    )
    if wanted.target_bpp is not None:
        # Most qualities are told in as many digits as this one.
        likely = Header(replace(about, quality=3.453125), raster)

        def overhead(bits_per_pixel: float) -> float:
            return _overhead(likely, bits_per_pixel)

        tiled = source.description
        coded = tiled.height * tiled.width / (raster.height * raster.width)
        seen = samples(source, stored)
        quality = quality_for(wanted.target_bpp, seen, shifts, coder, overhead, coded, workers)
    return source, replace(coder, quality=quality), replace(about, quality=quality)


@cache
def _made_by() -> str:
    """What files say that they were made by."""
    return f"sar_codec {version('sar_codec')}"


def _tile_of(raster: Description) -> tuple[int, int]:
    tiling = Tiling.of(raster.height, raster.width, _TILE)
    return tiling.tile_height, tiling.tile_width


def _overhead(header: Header, bits_per_pixel: float) -> float:
    """Bits a pixel of what is neither pixels nor masks, nor values that have no decibels.

    Args:
        header: of the file.
        bits_per_pixel: that it is to take.
    """
    raster, tiles, bands = header.raster, header.tiling.count, len(header.raster.measured)
    pixels = bands * raster.height * raster.width
    size = size_without_tiles(header.to_json(), tiles * header.parts, bits_per_pixel * pixels / 8)
    return 8 * (size + tiles * bands * HEAD_SIZE) / pixels
