"""Where which byte of a small .sarc file is: format version 2, little-endian.

Of a small image the 64 bytes of version 1's head, its index and its deflated header's names and
checksums would be more than its pixels. So here the head holds header and index, and says nothing
that follows from something else:

    head      all but the payloads
    payloads  of tiles in the order of their numbers, then of sections in the index's order

    head      8 bytes  magic, as in version 1
              u16      format version: 2
              u16      length of the head
              number   critical feature flags, as in version 1
              number   ancillary feature flags
              number   T, how many tiles
              number   S, how many sections
              T times  number: length of the payload; u32 CRC32C of it; u32 check of what it decodes
                       to
              S times  4 letters of ASCII; number: length of the payload; u32 CRC32C of it
              rest     number of the header's dictionary, one byte, and the header, deflated with it
                       (RFC 1951)
              u32      CRC32C of the head before it

Numbers are as in `numbers`.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from sar_codec.coding.header import decode_small_header, encode_small_header
from sar_codec.coding.index import Index, checked_name
from sar_codec.coding.layout import (
    CRC,
    LATER_TILES,
    MAGIC,
    PREFIX,
    SMALL_VERSION,
    TILE,
    Place,
    check_features,
    check_length,
    crc32c,
    damaged,
)
from sar_codec.coding.numbers import pack_number, unpack_number

MOST_PAYLOAD = 2**16  # bytes of payloads, above which files are of version 1
_LONGEST_HEAD = 2**16 - 1
_NAME = 4


def pack_small_head(index: Index, header: Mapping[str, Any]) -> bytes | None:
    """The head of a small file; None if that would be too long.

    Args:
        index: whose offsets do not matter.
        header: of the file.

    Raises:
        ValueError, UserError: as `header.encode_header`.
    """
    numbers = LATER_TILES, 0, len(index.tiles), len(index.sections)
    parts = [pack_number(each) for each in numbers]
    for _, length, crc, check in index.tiles.tolist():
        parts += [pack_number(length), CRC.pack(crc), CRC.pack(check)]
    for name, place in index.sections.items():
        parts += [name.encode(), pack_number(place.length), CRC.pack(place.crc)]
    content = b"".join([*parts, encode_small_header(header)])
    size = PREFIX.size + len(content) + CRC.size
    if size > _LONGEST_HEAD:
        return None
    content = PREFIX.pack(MAGIC, SMALL_VERSION, size) + content
    return content + CRC.pack(crc32c(content))


def unpack_small_head(
    content: bytes, file_length: int, known_sections: Collection[str]
) -> tuple[Index, dict[str, Any]]:
    """The index and the header of a small file that this program can read.

    Args:
        content: the head, with a right checksum.
        file_length: bytes that the file has.
        known_sections: names of the critical sections that the caller knows.

    Raises:
        UserError: the file is cut short, damaged or newer than this program.
    """
    reader = _Rest(content[PREFIX.size : -CRC.size])
    check_features(reader.number())
    reader.number()
    tile_count, section_count = reader.number(), reader.number()
    end = len(content)
    tiles: list[tuple[int, ...]] = []
    for _ in range(tile_count):  # ends with the bytes, if there are fewer
        tiles.append((end, reader.number(), reader.u32(), reader.u32()))
        end += tiles[-1][1]
    sections: dict[str, Place] = {}
    for _ in range(section_count):
        name = checked_name(reader.take(_NAME), sections, known_sections)
        sections[name] = Place(end, reader.number(), reader.u32())
        end += sections[name].length
    check_length(end, file_length)
    return Index(np.array(tiles, TILE), sections), decode_small_header(reader.rest())


class _Rest:
    """What is still to be read of some bytes."""

    def __init__(self, content: bytes) -> None:
        self._content, self._begin = content, 0

    def number(self) -> int:
        value, self._begin = unpack_number(self._content, self._begin)
        return value

    def u32(self) -> int:
        return int(CRC.unpack(self.take(CRC.size))[0])

    def take(self, count: int) -> bytes:
        begin, self._begin = self._begin, self._begin + count
        if len(self._content) < self._begin:
            raise damaged("a head that ends too early")
        return self._content[begin : self._begin]

    def rest(self) -> bytes:
        return self._content[self._begin :]
