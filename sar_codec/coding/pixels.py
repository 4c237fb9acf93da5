"""Stored pixels to decibels and back, and what of a tile is kept as it is."""

import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sar_codec.data.scaling import Quantity, from_decibels, to_decibels
from sar_codec.errors import UserError

_LENGTHS = struct.Struct("<II")


class Stored(NamedTuple):
    """How a band stores its values.

    Attributes:
        dtype: of the pixels.
        quantity: what they are after scale and offset.
        nodata: the pixel that holds none, None if there is no such one.
        scale: what pixels are multiplied by.
        offset: what is added to them after that.
    """

    dtype: np.dtype[Any]
    quantity: Quantity
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0

    def to_decibels(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """NaN where a pixel has none, as zeros and negative ones of power."""
        values = pixels
        if (self.scale, self.offset) != (1, 0):
            with np.errstate(over="ignore"):  # of nodata values such as -3.4e38
                values = pixels * self.scale + self.offset
        return to_decibels(values, self.quantity)

    def to_pixels(self, decibels: NDArray[np.float32]) -> NDArray[Any]:
        """The inverse, as near as the type allows; never nodata, and never what has no decibels."""
        values = from_decibels(decibels, self.quantity).astype(np.float64)
        values = (values - self.offset) / self.scale
        if self.dtype.kind == "f":
            limits = np.finfo(self.dtype)
            pixels = values.clip(limits.min, limits.max).astype(self.dtype)
            if self.quantity != "db":
                pixels = np.maximum(pixels, limits.tiny)
        else:
            integers = np.iinfo(self.dtype)
            lowest = integers.min
            if self.quantity != "db" and self.offset == 0 and self.scale > 0:
                lowest = 1
            pixels = np.rint(values).clip(lowest, integers.max).astype(self.dtype)
        if self.nodata is not None and not np.isnan(self.nodata):
            is_nodata = pixels == self.nodata
            if is_nodata.any():
                pixels[is_nodata] = self._beside(self.nodata)
        return pixels

    def _beside(self, value: float) -> Any:
        if self.dtype.kind == "f":
            return np.nextafter(self.dtype.type(value), self.dtype.type(np.inf))
        return self.dtype.type(int(value) + (1 if value < np.iinfo(self.dtype).max else -1))


def pack_exceptions(pixels: NDArray[Any], is_coded: NDArray[np.bool_]) -> bytes:
    """What is kept of a tile besides coded pixels: which these are, and what the others are.

    Args:
        pixels: of one band, `(h, w)`.
        is_coded: `(h, w)`.
    """
    if is_coded.all():
        return b""
    mask = zlib.compress(np.packbits(is_coded).tobytes(), 9)
    others = pixels[~is_coded]
    kept = zlib.compress(others.astype(others.dtype.newbyteorder("<")).tobytes(), 6)
    return _LENGTHS.pack(len(mask), len(kept)) + mask + kept


def unpack_exceptions(
    data: bytes, shape: tuple[int, int], dtype: np.dtype[Any]
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """The inverse of `pack_exceptions`: which pixels are coded, and what the others are, in order.

    Raises:
        UserError: it is damaged.
    """
    count = shape[0] * shape[1]
    if not data:
        return np.ones(shape, np.bool_), np.empty(0, dtype)
    if len(data) < _LENGTHS.size:
        raise _damaged("is cut")
    mask_length, kept_length = _LENGTHS.unpack_from(data)
    if len(data) != _LENGTHS.size + mask_length + kept_length:
        raise _damaged("has another length than it says")
    mask = inflated(data[_LENGTHS.size :][:mask_length], -(-count // 8))
    is_coded = np.unpackbits(np.frombuffer(mask, np.uint8), count=count).astype(np.bool_)
    missing = count - int(is_coded.sum())
    kept = inflated(data[_LENGTHS.size + mask_length :], missing * dtype.itemsize)
    others = np.frombuffer(kept, dtype.newbyteorder("<")).astype(dtype)
    return is_coded.reshape(shape), others


def inflated(data: bytes, length: int) -> bytes:
    """Deflated data, which must be of this length.

    Raises:
        UserError: they are not, or no deflated data.
    """
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(data, length + 1)
    except zlib.error as error:
        raise _damaged(f"cannot be inflated ({error})") from None
    if len(found) != length or not inflater.eof or inflater.unused_data:
        raise _damaged(f"does not inflate to {length:,} bytes")
    return found


def filled(decibels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Decibels `(h, w)` with what lies around put where they are NaN, smooth, so that it is cheap.

    All 0 where there is none at all.
    """
    is_known = np.isfinite(decibels)
    if is_known.all():
        return decibels
    if not is_known.any():
        return np.zeros_like(decibels)
    known = np.where(is_known, decibels, 0)
    height, width = decibels.shape
    padding = (0, height % 2), (0, width % 2)
    sums, counts = (
        np.pad(each, padding).reshape((height + 1) // 2, 2, -1, 2).sum((1, 3))
        for each in (known, is_known.astype(np.float32))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        coarse = filled((sums / counts).astype(np.float32))
    return np.where(is_known, decibels, coarse.repeat(2, 0).repeat(2, 1)[:height, :width])


def _damaged(how: str) -> UserError:
    return UserError(f"what a tile keeps of its invalid pixels {how}: the file is damaged")
