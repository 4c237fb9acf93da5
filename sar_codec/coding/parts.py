"""What a tile of one band is in a file: how it was coded, and the bytes of that."""

import struct
import zlib
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.pixels import inflated
from sar_codec.errors import UserError

_HEAD = struct.Struct("<BIH")
HEAD_SIZE = _HEAD.size
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
        gains: from `power.pack_gains`; empty where none are needed.
        coded: the pixels.
    """

    method: Method
    exceptions: bytes
    gains: bytes
    coded: bytes

    def pack(self) -> bytes:
        """The payload of a tile of the file."""
        head = _HEAD.pack(self.method, len(self.exceptions), len(self.gains))
        return b"".join([head, self.exceptions, self.gains, self.coded])

    @classmethod
    def unpack(cls, payload: bytes) -> "Part":
        """The inverse of `pack`.

        Raises:
            UserError: it is no part.
        """
        if len(payload) < _HEAD.size:
            raise UserError(f"{len(payload)} bytes of a tile, expected {_HEAD.size} or more")
        method, exceptions, gains = _HEAD.unpack_from(payload)
        first, second = _HEAD.size + exceptions, _HEAD.size + exceptions + gains
        if method not in set(Method) or len(payload) < second:
            raise UserError("a tile is not what it says: the file is damaged")
        return cls(
            Method(method), payload[_HEAD.size : first], payload[first:second], payload[second:]
        )


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
