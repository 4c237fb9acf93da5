"""Arrays to bytes and back, and a reader of windows: `sar_codec.compress`, `decompress`, `open`."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast, get_args

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.decompressing import MOST_PIXELS, Image
from sar_codec.coding.pixels import Stored
from sar_codec.conversion import Wanted, check_workers, compress_source, untold
from sar_codec.data.description import MOST_BANDS, BandDescription, Description, Dtype, checked
from sar_codec.data.scaling import Quantity
from sar_codec.errors import UserError
from sar_codec.networks import finder

_NAME = "image.sarc"
_BAND = BandDescription(None, None, 1.0, 0.0, "undefined", {})


def compress(
    array: NDArray[Any],
    quantity: Quantity,
    *,
    quality: float | None = None,
    max_error_db: float | None = None,
    target_bpp: float | None = None,
    keeps_power: bool = True,
    nodata: float | None = None,
    valid: NDArray[np.bool_] | None = None,
    model: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    verify: bool = True,
) -> bytes:
    """An image as bytes, which are those of a .sarc file.

    Pixels that have no decibels, and those that are nodata, come back to the last bit.

    Args:
        array: `(H, W)` or `(bands, H, W)`, of a real type, 1 to 4 bands.
        quantity: what pixels are: "power", "amplitude" or "db".
        quality: from 1, the smallest, to 8; the default, if the next two are not given, is 5.
        max_error_db: that no valid pixel is to be off by more than; 0 is lossless, for integers.
        target_bpp: bits a pixel of a band that the bytes are to take.
        keeps_power: whether blocks keep their mean power; else the error in dB is least.
        nodata: the value of pixels that hold none.
        valid: where pixels of all bands are valid, `(H, W)`; comes back, and hides the others.
        model: a checkpoint or weights of your own.
        threads: default: one a core.
        verify: whether to decode the bytes and compare pixels with what was promised.

    Raises:
        UserError: it cannot be coded as wanted.
    """
    path = None if model is None else Path(model)
    wanted = Wanted(quality, max_error_db, target_bpp, keeps_power, quantity, path, threads)
    if quantity not in get_args(Quantity):
        raise UserError(f"quantity={quantity!r}: expected one of {', '.join(get_args(Quantity))}")
    source = _ArraySource(array, nodata, valid)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, _NAME)
        verifying = untold if verify else None
        compress_source(source, quantity, target, wanted, verifying=verifying)
        return target.read_bytes()


def decompress(
    data: bytes,
    *,
    model: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    max_pixels: int = MOST_PIXELS,
) -> NDArray[Any]:
    """The image that `compress` made bytes of: `(H, W)`, or `(bands, H, W)` if there are several.

    Args:
        data: from `compress`, or a .sarc file's.
        model: that it was compressed with, if it does not come with the package.
        threads: default: one a core.
        max_pixels: of all bands, that the image may have.

    Raises:
        UserError: the bytes are damaged, no .sarc file, or need another model.
    """
    with open(data, model=model, threads=threads, max_pixels=max_pixels) as image:
        return image.read()


class Opened:
    """An image that is open for reading windows; to be used as a context, or closed.

    Attributes:
        shape: `(bands, H, W)`, or `(H, W)` if there is one band.
        dtype: of pixels.
        quantity: what they are.
        nodata: the value of pixels that hold none, or None.
    """

    def __init__(self, image: Image) -> None:
        self._image = image
        raster = image.header.raster
        bands = len(raster.measured)
        self.shape = (*((bands,) if bands > 1 else ()), raster.height, raster.width)
        self.dtype = np.dtype(raster.dtype)
        self.quantity = image.header.about.quantity
        self.nodata = raster.nodata

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._image.__exit__(None, None, None)

    def read(self, window: tuple[int, int, int, int] | None = None) -> NDArray[Any]:
        """Pixels of a window, or of all, `(h, w)` or `(bands, h, w)`.

        Args:
            window: row, column, height and width; only the tiles that it touches, and those beside
                its edges, are read.

        Raises:
            UserError: a tile is damaged.
            ValueError: the window is not within the image.
        """
        pixels = self._image.read(*(window or self._whole))
        return pixels if len(self.shape) == 3 else pixels[0]

    def read_valid(self, window: tuple[int, int, int, int] | None = None) -> NDArray[np.bool_]:
        """Where the mask that was given says that pixels are valid, `(h, w)`; else all are.

        Raises:
            UserError: a tile is damaged.
            ValueError: the window is not within the image.
        """
        row, column, height, width = window or self._whole
        mask, _ = self._image.read_validity(row, column, height, width)
        return np.ones((height, width), np.bool_) if mask is None else mask

    @property
    def _whole(self) -> tuple[int, int, int, int]:
        return 0, 0, self.shape[-2], self.shape[-1]


def open(
    source: bytes | str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    max_pixels: int = MOST_PIXELS,
) -> Opened:
    """Opens a .sarc file, or the bytes of one; arguments and errors are those of `decompress`."""
    check_workers(threads)
    find = finder(None if model is None else Path(model))
    if not isinstance(source, bytes):
        return Opened(Image(source, find, threads, max_pixels))
    with _in_a_file(source) as path:
        return Opened(Image(path, find, threads, max_pixels))


@contextmanager
def _in_a_file(data: bytes) -> Iterator[Path]:
    """A file of bytes, which only needs its name until it is open."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, _NAME)
        path.write_bytes(data)
        try:
            yield path
        except UserError as error:
            raise UserError(str(error).replace(str(path), "the bytes given")) from None


class _ArraySource:
    """An array as a raster that is read window by window."""

    def __init__(
        self, array: NDArray[Any], nodata: float | None, valid: NDArray[np.bool_] | None
    ) -> None:
        array = np.asarray(array)
        if array.ndim not in (2, 3) or array.size == 0:
            raise UserError(f"an array {array.shape}: expected (H, W) or (bands, H, W)")
        self._pixels = array if array.ndim == 3 else array[None]
        bands, height, width = self._pixels.shape
        if bands > MOST_BANDS:
            raise UserError(f"{bands} bands: expected 1 to {MOST_BANDS}")
        if array.dtype.name not in get_args(Dtype):
            raise UserError(
                f"an array of {array.dtype}: expected one of {', '.join(get_args(Dtype))}"
            )
        if valid is not None and (valid.shape != (height, width) or valid.dtype != np.bool_):
            raise UserError(
                f"valid {valid.shape} of {valid.dtype}: expected ({height}, {width}) of bool"
            )
        self._valid = valid
        described = Description(
            height=height,
            width=width,
            dtype=cast(Dtype, array.dtype.name),
            bands=(_BAND,) * bands,
            crs=None,
            transform=None,
            ground_points=(),
            ground_points_crs=None,
            tags={},
            nodata=None if nodata is None else float(nodata),
            has_mask=valid is not None,
            overviews=(),
            block=(1, width),
            is_tiled=False,
        )
        self.description = checked(described.to_json(), "the array", "give another one")

    def read(
        self, row: int, column: int, height: int, width: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        # Little-endian or big, the native type is what is coded.
        pixels = self._pixels[:, row : row + height, column : column + width]
        pixels = pixels.astype(self.description.dtype)
        stored = Stored(pixels.dtype, "power", self.description.nodata)
        return pixels, ~stored.is_nodata(pixels) & self.read_mask(row, column, height, width)

    def read_mask(self, row: int, column: int, height: int, width: int) -> NDArray[np.bool_]:
        if self._valid is None:
            return np.ones((height, width), np.bool_)
        return self._valid[row : row + height, column : column + width]

    def read_alpha(self, row: int, column: int, height: int, width: int) -> NDArray[Any]:
        raise AssertionError("arrays have no alpha band")
