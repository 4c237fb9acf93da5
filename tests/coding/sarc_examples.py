"""Contents of .sarc files for the tests, and what someone might make of the files."""

import struct
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import google_crc32c
import numpy as np

from sar_codec.coding import small
from sar_codec.coding.container import Reader, Tile, Writer
from sar_codec.errors import UserError


class Content(NamedTuple):
    header: dict[str, Any]
    tiles: list[Tile]
    sections: dict[str, bytes]


KNOWN = {"MASK"}
EMPTY = Content({}, [], {})
EXAMPLE = Content(
    {"height": 3, "nodata": None, "spacing_m": 10.5, "name": "Zürich \n", "a": {"b": [True]}},
    [Tile(b"first tile", 7), Tile(b"", 0), Tile(b"\x00\xff\r\n", 2**32 - 1)],
    {"note": b"ancillary", "MASK": b"\x01\x02"},
)
_RNG = np.random.default_rng(0)
MANY = Content(
    {f"key {number}": list(range(number)) for number in range(12)},
    [Tile(_RNG.bytes(length), length) for length in range(40)],
    {"aaaa": _RNG.bytes(100), "bbbb": b"", "MASK": bytes(50)},
)


def write(content: Content, path: Path, version: int = 1) -> bytes:
    """Writes a file as a codec would, sections among the tiles; gives its bytes.

    Args:
        content: of which a codec would make a small file.
        path: where.
        version: of the format, 1 or 2.
    """
    most = {1: -1, 2: small.MOST_PAYLOAD}[version]
    with mock.patch.object(small, "MOST_PAYLOAD", most), Writer(path, overwrite=True) as writer:
        sections = list(content.sections.items())
        for name, data in sections[:1]:
            writer.add_section(name, data)
        for tile in content.tiles:
            writer.add_tile(*tile)
        for name, data in sections[1:]:
            writer.add_section(name, data)
        writer.finish(content.header)
    return path.read_bytes()


def read(path: Path | str) -> Content:
    """All of a file; raises UserError if any of it is damaged."""
    with Reader(path, KNOWN) as reader:
        for damage in reader.verify():
            raise UserError(damage.message)
        tiles = [reader.tile(number) for number in range(reader.tile_count)]
        sections = {name: reader.section(name) for name in reader.section_names}
        assert None not in sections.values()
        return Content(reader.header, tiles, sections)


def resealed(data: bytes) -> bytes:
    """A file's bytes with the right checksums of header, index and head, which anyone can make."""
    version, size = struct.unpack_from("<HH", data, 8) if len(data) >= 12 else (0, 0)
    if version == 2:
        crc = google_crc32c.value(data[: max(size - 4, 0)])
        return data[: max(size - 4, 0)] + struct.pack("<I", crc) + data[size:]
    head = bytearray(data[:64])
    if len(head) == 64:
        for field in (28, 44):
            offset, length = struct.unpack_from("<QI", head, field)
            crc = google_crc32c.value(data[offset : offset + length])
            struct.pack_into("<I", head, field + 12, crc)
        struct.pack_into("<I", head, 60, google_crc32c.value(bytes(head[:60])))
    return bytes(head) + data[64:]


def changed(data: bytes, offset: int, code: str, *values: Any) -> bytes:
    """A file's bytes with other values somewhere, and right checksums."""
    content = bytearray(data)
    struct.pack_into(f"<{code}", content, offset, *values)
    return resealed(bytes(content))


def place(data: bytes, path: Path) -> Path:
    """Writes bytes; gives where."""
    path.write_bytes(data)
    return path
