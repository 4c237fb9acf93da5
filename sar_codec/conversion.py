"""Rasters to .sarc files and back: what the `sar-codec` command does."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from sar_codec.coding.about import About, Header
from sar_codec.coding.cells import Cells
from sar_codec.coding.choosing import quality_for, samples, shift_db
from sar_codec.coding.coders import BoundedCoder, QualityCoder
from sar_codec.coding.compressing import Source, TileCoder, compress
from sar_codec.coding.container import Writer
from sar_codec.coding.decompressing import MOST_PIXELS, Bounded, Image
from sar_codec.coding.pixels import Stored
from sar_codec.coding.threads import cores
from sar_codec.coding.tiling import Tiling
from sar_codec.data.georaster import open_input, stated_quantity
from sar_codec.data.geotiff import open_output
from sar_codec.data.scaling import Quantity
from sar_codec.errors import UserError
from sar_codec.networks import BOUNDED, QUALITY, finder, network_of

DEFAULT_QUALITY = 5.0
_TILE = 1024  # the largest side of a tile
Progress = Callable[[int], object]


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


@dataclass(frozen=True)
class Summary:
    """What was done.

    Attributes:
        pixels: of all bands.
        size: of the file, in bytes.
        seconds: that it took.
        quality: that it was coded at; None where an error was bounded.
    """

    pixels: int
    size: int
    seconds: float
    quality: float | None

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
    progress: Progress = lambda pixels: None,
) -> Summary:
    """Codes a raster that is open.

    Raises:
        UserError: it cannot be coded as wanted, or written.
    """
    began = time.monotonic()
    workers = wanted.workers or cores()
    raster = source.description
    with Writer(target, overwrite) as writer:
        coder, about = _choose(source, quantity, wanted, workers)
        header = Header(about, raster)
        compress(source, writer, header, coder, workers, progress)
    pixels = raster.height * raster.width * len(raster.measured)
    seconds = time.monotonic() - began
    return Summary(pixels, os.path.getsize(target), seconds, about.quality)


def compress_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    wanted: Wanted,
    overwrite: bool = False,
    progress: Progress = lambda pixels: None,
) -> Summary:
    """A raster of any format that GDAL reads, to a .sarc file.

    Raises:
        UserError: it cannot be read, does not say what it holds, cannot be coded as wanted, or the
            file cannot be written.
    """
    quantity = _quantity(source, wanted.quantity)
    with open_input(source) as opened:
        return compress_source(opened, quantity, target, wanted, overwrite, progress)


def decompress_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    model: Path | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    most_pixels: int = MOST_PIXELS,
    on_damage: Callable[[int, UserError], object] | None = None,
    progress: Progress = lambda pixels: None,
) -> Summary:
    """A .sarc file to a tiled GeoTIFF that says what the raster said.

    Args:
        source: the .sarc file.
        target: the GeoTIFF.
        model: the network, if it does not come with the package.
        overwrite: whether `target` may take the place of another file.
        workers: threads; None: one a core.
        most_pixels: that the image may have.
        on_damage: is told of tiles that cannot be decoded, which become nodata; None: an error.
        progress: is told how many pixels were written.

    Raises:
        UserError: the file cannot be decoded, or the GeoTIFF not be written.
    """
    began = time.monotonic()
    with Image(source, finder(model), workers, most_pixels, on_damage) as image:
        raster = image.header.raster
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
                progress(len(raster.measured) * window.height * window.width)
        pixels = raster.height * raster.width * len(raster.measured)
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


def _choose(
    source: Source, quantity: Quantity, wanted: Wanted, workers: int
) -> tuple[TileCoder, About]:
    raster = source.description
    bands = [raster.bands[number - 1] for number in raster.measured]
    dtype = np.dtype(raster.dtype)
    stored = [Stored(dtype, quantity, raster.nodata, each.scale, each.offset) for each in bands]
    tiling = Tiling.of(raster.height, raster.width, _TILE)
    tile = tiling.tile_height, tiling.tile_width
    program = f"sar_codec {version('sar_codec')}"
    network = network_of(wanted.model or (BOUNDED if wanted.max_error_db is not None else QUALITY))
    if isinstance(network, Bounded):
        if wanted.max_error_db is None:
            raise UserError(f"{wanted.model}: codes to a maximum error; give --max-error-db")
        if any((each.scale, each.offset) != (1, 0) for each in stored):
            raise UserError(
                "--max-error-db: the raster's bands have a scale or an offset, which this cannot "
                "bound; use --quality, or store the values themselves"
            )
        cells = Cells(raster.dtype, quantity, wanted.max_error_db)
        no_shift = (0.0,) * len(bands)
        about = About(
            quantity, "bounded", None, wanted.max_error_db, network.id, tile, no_shift, program
        )
        return BoundedCoder(network.model, cells), about
    if wanted.max_error_db is not None:
        raise UserError(f"{wanted.model}: cannot bound an error; give --quality or --target-bpp")
    seen = samples(source, stored)
    shifts = [shift_db(each) for each in seen]
    quality = wanted.quality or DEFAULT_QUALITY
    if wanted.target_bpp is not None:
        quality = quality_for(wanted.target_bpp, seen, shifts, network, workers)
    about = About(quantity, "quality", quality, None, network.id, tile, tuple(shifts), program)
    return QualityCoder(network, quality, wanted.keeps_power), about
