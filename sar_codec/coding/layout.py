r"""Where which byte of a .sarc file is: format version 1, little-endian throughout.

Small files are of version 2, which `small` tells of.

A file is these parts, one after the other, with nothing between, before or after them:

    head      the first 64 bytes
    payloads  of tiles in the order of their numbers, and of sections, in whatever order
    header    canonical JSON (UTF-8, an object, keys sorted, no spaces, no NaN; at most 16 MiB),
              deflated (RFC 1950) with one of the dictionaries in `header`
    index     where each tile and each section is

    head   offset  type
              0    8 bytes  magic: 89 53 41 52 0D 0A 1A 0A, "\x89SAR\r\n\x1a\n"
              8    u16      format version: 1
             10    u16      length of the head: 64
             12    u32      critical feature flags: who does not know one cannot read the file
             16    u32      ancillary feature flags: who does not know one can
             20    u64      length of the file
             28    u64      offset of the header
             36    u32      length of the header
             40    u32      CRC32C of the header
             44    u64      offset of the index
             52    u32      length of the index
             56    u32      CRC32C of the index
             60    u32      CRC32C of the 60 bytes before

    index  offset  type
              0    u32      T, how many tiles: at most 2^22
              4    u32      S, how many sections: at most 2^10
              8    T times  u64 offset, u32 length, u32 CRC32C of the payload, u32 check of what it
                            decodes to
        8 + 20 T   S times  4 letters of ASCII, u64 offset, u32 length, u32 CRC32C of the payload

Offsets count from the file's first byte. What the header holds, tiles and sections are, is not
this layer's matter. Of critical flags there is one, 1: tiles are as since version 2, which programs
of before it do not know. A section whose name begins with a capital
is critical: who does not know it cannot read the file. Others are ancillary, and skipped.

The magic is broken by a transfer in text mode, as PNG's is: by one that clears eighth bits, that
changes the ends of lines either way, or that stops at a control-Z. Every version keeps the first 12
bytes as they are here, and the CRC32C of the head as its last 4: so an older program can tell a
file of a newer one from a damaged one.
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

import google_crc32c
import numpy as np

from sar_codec.errors import UserError

MAGIC = b"\x89SAR\r\n\x1a\n"
VERSION, SMALL_VERSION = 1, 2
# What text modes, and those who take the bytes for text, make of the magic.
SPOILT_MAGICS = (
    bytes([MAGIC[0] & 0x7F]) + MAGIC[1:],
    MAGIC.replace(b"\r\n", b"\n"),
    MAGIC.replace(b"\n", b"\r\n"),
    MAGIC[:-1] + b"\r\n",
    MAGIC.decode("latin-1").encode(),
    MAGIC.decode(errors="replace").encode(),
)
LATER_TILES = 1
CRITICAL_FLAGS = LATER_TILES  # those that this program knows
MAX_HEADER = 2**24  # bytes
MAX_TILES = 2**22
MAX_SECTIONS = 2**10
MAX_U32 = 2**32 - 1  # of lengths and checks

PREFIX = struct.Struct("<8sHH")
HEAD = struct.Struct("<8sHHIIQQIIQIII")
CRC = struct.Struct("<I")
COUNTS = struct.Struct("<II")
TILE = np.dtype([("offset", "<u8"), ("length", "<u4"), ("crc", "<u4"), ("symbols_check", "<u4")])
SECTION = np.dtype([("name", "S4"), ("offset", "<u8"), ("length", "<u4"), ("crc", "<u4")])
MAX_INDEX = COUNTS.size + MAX_TILES * TILE.itemsize + MAX_SECTIONS * SECTION.itemsize


class Place(NamedTuple):
    """Where a part of the file is, in bytes, and the CRC32C of what is there."""

    offset: int
    length: int
    crc: int


@dataclass(frozen=True)
class Head:
    """The head's fields that vary within version 1."""

    critical_flags: int
    ancillary_flags: int
    file_length: int
    header: Place
    index: Place

    def pack(self) -> bytes:
        """The head's bytes."""
        flags = (self.critical_flags, self.ancillary_flags)
        places = (*self.header, *self.index)
        fields = HEAD.pack(MAGIC, VERSION, HEAD.size, *flags, self.file_length, *places, 0)
        content = fields[: -CRC.size]
        return content + CRC.pack(crc32c(content))


def crc32c(content: bytes) -> int:
    """Castagnoli's CRC of 32 bits, as iSCSI and ext4 have it; RFC 3720, B.4."""
    return google_crc32c.value(content)


def damaged(fault: str) -> UserError:
    """What to tell of a file that is not as it was written."""
    return UserError(f"{fault}: the file is damaged; get another copy of it")


def newer(what: str) -> UserError:
    """What to tell of a file that this program is too old for."""
    return UserError(f"{what}: the file is newer than this program; update sar_codec")


def head_size(start: bytes) -> int:
    """The length of the head of a file, of whatever version, that begins with `start`.

    Raises:
        UserError: no .sarc file begins so.
    """
    if start[: len(MAGIC)] != MAGIC[: len(start)]:
        if start.startswith(SPOILT_MAGICS):
            raise UserError(
                "a .sarc file spoilt by a transfer as text: ends of lines or eighth bits are "
                "changed; transfer it again, as binary"
            )
        raise UserError(
            f"not a .sarc file: it begins with {start[: len(MAGIC)]!r}, expected {MAGIC!r}; give "
            "one that sar_codec wrote"
        )
    if len(start) < PREFIX.size:
        raise _cut_in_head(len(start), HEAD.size)
    _, version, size = PREFIX.unpack_from(start)
    if size < PREFIX.size + CRC.size or (version == VERSION and size != HEAD.size):
        raise damaged(f"a head of {size} bytes in version {version}")
    return size


def check_head(content: bytes, size: int) -> int:
    """The format version of a head that is whole, and that this program can read.

    Args:
        content: the head, or what there is of it.
        size: `head_size`.

    Raises:
        UserError: it is cut short, damaged or newer than this program.
    """
    if len(content) < size:
        raise _cut_in_head(len(content), size)
    if crc32c(content[: -CRC.size]) != CRC.unpack(content[-CRC.size :])[0]:
        raise damaged("the CRC32C of its head is another")
    _, version, _ = PREFIX.unpack_from(content)
    if version > SMALL_VERSION:
        raise newer(f"format version {version}, this program reads {VERSION} and {SMALL_VERSION}")
    if version < VERSION:
        raise damaged(f"format version {version}")
    return int(version)


def unpack_head(content: bytes, file_length: int) -> Head:
    """The inverse of `Head.pack`, for a file that this program can read.

    What it says of lengths is true: header and index lie within the file, within their limits.

    Args:
        content: the head, of version 1, with a right checksum.
        file_length: bytes that the file has.

    Raises:
        UserError: the file is cut short, damaged or newer than this program.
    """
    _, _, _, critical, ancillary, length, *places, _ = HEAD.unpack(content)
    head = Head(critical, ancillary, length, Place(*places[:3]), Place(*places[3:]))
    check_features(critical)
    check_length(length, file_length)
    for name, place, limit in (
        ("header", head.header, MAX_HEADER),
        ("index", head.index, MAX_INDEX),
    ):
        if place.length > limit:
            raise damaged(f"says that its {name} has {place.length:,} bytes, at most {limit:,}")
        if place.offset + place.length > file_length:
            raise damaged(f"says that its {name} ends at {place.offset + place.length:,}")
    return head


def check_features(critical_flags: int) -> None:
    """Raises a UserError if a file has critical features that this program does not know."""
    if unknown := critical_flags & ~CRITICAL_FLAGS:
        raise newer(f"needs features that have the flags {unknown:#x}")


def check_length(said: int, there_are: int) -> None:
    """Raises a UserError if a file has not as many bytes as it says."""
    missing = said - there_are
    if missing > 0:
        raise UserError(
            f"cut short: {missing:,} of {said:,} bytes are missing at its end; transfer it again"
        )
    if missing < 0:
        raise damaged(f"{-missing:,} bytes after its end")


def _cut_in_head(length: int, size: int) -> UserError:
    return UserError(
        f"cut short: {size - length:,} of its first {size:,} bytes are missing, and all that came "
        "after them; transfer it again"
    )
