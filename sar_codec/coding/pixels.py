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
        return to_decibels(self._values(pixels), self.quantity)

    def to_pixels(self, decibels: NDArray[np.float32]) -> NDArray[Any]:
        """The inverse, as near as the type allows; never nodata, and never what has no decibels."""
        with np.errstate(over="ignore", under="ignore"):
            values = from_decibels(decibels, self.quantity)
        # What float32 holds, in which decibels are found; unlike clip, this gives no NaN.
        largest = float(np.finfo(np.float32).max)
        smallest = -largest if self.quantity == "db" else float(np.finfo(np.float32).tiny)
        values = np.fmin(np.fmax(values, smallest), largest)
        if self._is_scaled or (self.dtype.kind != "f" and self.dtype.itemsize > 2):
            values = values.astype(np.float64)  # float32 holds no limits of larger integers
        if self._is_scaled:
            with np.errstate(over="ignore"):
                values = (values - self.offset) / self.scale
        if self.dtype.kind == "f":
            limits = np.finfo(self.dtype)
            pixels = values.clip(limits.min, limits.max).astype(self.dtype, copy=False)
        else:
            integers = np.iinfo(self.dtype)
            most = values.dtype.type(integers.max)
            if int(most) > integers.max:  # of 64 bits, which no floating point number is near
                most = np.nextafter(most, values.dtype.type(0))
            pixels = np.rint(values).clip(integers.min, most).astype(self.dtype)
        is_bad = ~self._is_measured(pixels)
        if is_bad.any():
            pixels[is_bad] = self._nearest_measured(pixels[is_bad])
        return pixels

    @property
    def nodata_pixel(self) -> Any:
        """The pixel of the type that is nodata, None if there is none."""
        if self.nodata is None:
            return None
        if self.dtype.kind == "f":
            # -3.40282346638529e+38, a text that many files have, is the least float32 once rounded.
            with np.errstate(over="ignore"):
                return np.asarray(self.nodata).astype(self.dtype)[()]
        integers = np.iinfo(self.dtype)
        is_whole = integers.min <= self.nodata <= integers.max and self.nodata == int(self.nodata)
        return self.dtype.type(int(self.nodata)) if is_whole else None

    def is_nodata(self, pixels: NDArray[Any]) -> NDArray[np.bool_]:
        """Where pixels are nodata, or NaN."""
        found = np.isnan(pixels) if self.dtype.kind == "f" else np.zeros(pixels.shape, np.bool_)
        return found if self.nodata_pixel is None else found | (pixels == self.nodata_pixel)

    def beside_nodata(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Floating point pixels, those that happen to be nodata a step beside it."""
        is_nodata = self.is_nodata(pixels)
        if is_nodata.any():
            pixels = pixels.copy()
            pixels[is_nodata] = self._nearest_measured(pixels[is_nodata])
        return pixels

    @property
    def _is_scaled(self) -> bool:
        return (self.scale, self.offset) != (1, 0)

    def _values(self, pixels: NDArray[Any]) -> NDArray[Any]:
        if not self._is_scaled:
            return pixels
        with np.errstate(over="ignore", invalid="ignore"):  # of nodata values such as -1.8e308
            return pixels.astype(np.float64) * self.scale + self.offset

    def _is_measured(self, pixels: NDArray[Any]) -> NDArray[np.bool_]:
        """Where pixels have decibels and are not nodata."""
        with np.errstate(over="ignore"):
            values = self._values(pixels).astype(np.float32, copy=False)
        found = np.isfinite(values)
        if self.quantity != "db":
            found &= values > 0
        if self.nodata_pixel is not None:
            found &= pixels != self.nodata_pixel
        return found

    def _nearest_measured(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Those few steps of the type beside, as rounding goes no farther."""
        found, is_bad = pixels.copy(), np.ones(pixels.shape, np.bool_)
        for steps in (1, -1, 2, -2, 3, -3, 4, -4):
            moved = self._moved(pixels[is_bad], steps)
            found[is_bad] = moved
            is_bad[is_bad] = ~self._is_measured(moved)
        return found

    def _moved(self, pixels: NDArray[Any], steps: int) -> NDArray[Any]:
        if self.dtype.kind == "f":
            with np.errstate(over="ignore", under="ignore"):  # infinite ones are none of those
                for _ in range(abs(steps)):
                    pixels = np.nextafter(pixels, self.dtype.type(np.copysign(np.inf, steps)))
            return pixels
        integers = np.iinfo(self.dtype)
        moved = pixels.astype(np.int64) + steps
        return moved.clip(integers.min, integers.max).astype(self.dtype)


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
    # float64: decibels that no sensor measures, as 3e38, must not overflow in a sum.
    known = np.where(is_known, decibels, 0).astype(np.float64)
    height, width = decibels.shape
    padding = (0, height % 2), (0, width % 2)
    sums, counts = (
        np.pad(each, padding).reshape((height + 1) // 2, 2, -1, 2).sum((1, 3))
        for each in (known, is_known.astype(np.float32))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        coarse = filled(np.divide(sums, counts).astype(np.float32))
    return np.where(is_known, decibels, coarse.repeat(2, 0).repeat(2, 1)[:height, :width])


def _damaged(how: str) -> UserError:
    return UserError(f"what a tile keeps as it is {how}: the file is damaged")
