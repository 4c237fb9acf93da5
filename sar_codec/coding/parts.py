"""What a tile of one band is in a file: how it was coded, and the bytes of that."""

import struct
import zlib
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.numbers import pack_number, unpack_number
from sar_codec.coding.pixels import inflated
from sar_codec.errors import UserError

_EARLIER_HEAD = struct.Struct("<BIH")
HEAD_SIZE = 3  # bytes at least
_LATER = 128  # is added to the method where lengths are `numbers`
_LENGTH = struct.Struct("<I")


class Method(IntEnum):
    """What the coded bytes of a part are."""

    NOTHING = 0  # there is no pixel to code
    NETWORK_PADDED = 1  # as 3, and latents of blocks that a tile is filled up with, too
    BOUNDED = 2  # numbers of decibels, or integers without loss
    NETWORK_SHORT = 3  # latents along the short trellis; this and 1 are read, not written
    NEAR = 4  # integers within an error
    NETWORK = 5  # latents


OF_NETWORKS = Method.NETWORK_PADDED, Method.NETWORK_SHORT, Method.NETWORK


class Part(NamedTuple):
    """A tile of one band.

    Attributes:
        method: how pixels are coded.
        exceptions: from `pixels.pack_exceptions`.
        gains: from `power.gains_of`; empty where none are needed.
        coded: the pixels.
    """

    method: Method
    exceptions: bytes
    gains: bytes
    coded: bytes

    def pack(self) -> bytes:
        """The payload of a tile of the file."""
        lengths = [pack_number(len(each)) for each in (self.exceptions, self.gains)]
        head = [bytes([_LATER + self.method]), *lengths]
        return b"".join([*head, self.exceptions, self.gains, self.coded])

    @classmethod
    def unpack(cls, payload: bytes) -> "Part":
        """The inverse of `pack`.

        Raises:
            UserError: it is no part.
        """
        method, exceptions, gains, begin = _unpacked_head(payload)
        first, second = begin + exceptions, begin + exceptions + gains
        if method not in set(Method) or len(payload) < second:
            raise UserError("a tile is not what it says: the file is damaged")
        return cls(Method(method), payload[begin:first], payload[first:second], payload[second:])


def _unpacked_head(payload: bytes) -> tuple[int, int, int, int]:
    """Method, the lengths of exceptions and gains, and where they begin."""
    if payload[:1] >= bytes([_LATER]):
        exceptions, begin = unpack_number(payload, 1)
        gains, begin = unpack_number(payload, begin)
        return payload[0] - _LATER, exceptions, gains, begin
    if len(payload) < _EARLIER_HEAD.size:
        raise UserError(f"{len(payload)} bytes of a tile: the file is damaged")
    return *_EARLIER_HEAD.unpack_from(payload), _EARLIER_HEAD.size


def pack_validity(mask: NDArray[np.bool_] | None, alpha: NDArray[Any] | None) -> bytes:
    """A tile of a mask, or of an alpha band, or of both: `(h, w)`."""
    bits = b"" if mask is None else zlib.compress(np.packbits(mask).tobytes(), 9)
    if alpha is None:
        return _LENGTH.pack(len(bits)) + bits
    kept = zlib.compress(alpha.astype(alpha.dtype.newbyteorder("<")).tobytes(), 6)
    return _LENGTH.pack(len(bits)) + bits + kept


def unpack_validity(
    payload: bytes, shape: tuple[int, int], has_mask: bool, alpha: np.dtype[Any] | None
) -> tuple[NDArray[np.bool_] | None, NDArray[Any] | None]:
    """The inverse of `pack_validity`, given which of both there are, and the type of alpha.

    Raises:
        UserError: it is damaged.
    """
    if len(payload) < _LENGTH.size:
        raise UserError(f"{len(payload)} bytes of a mask, expected {_LENGTH.size} or more")
    (length,) = _LENGTH.unpack_from(payload)
    bits, kept = payload[_LENGTH.size :][:length], payload[_LENGTH.size + length :]
    count = shape[0] * shape[1]
    mask = values = None
    if has_mask:
        packed = np.frombuffer(inflated(bits, -(-count // 8)), np.uint8)
        mask = np.unpackbits(packed, count=count).astype(np.bool_).reshape(shape)
    if alpha is not None:
        raw = inflated(kept, count * alpha.itemsize)
        values = np.frombuffer(raw, alpha.newbyteorder("<")).astype(alpha).reshape(shape)
    return mask, values
