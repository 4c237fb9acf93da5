"""A file's index: where its tiles and sections are."""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.layout import (
    COUNTS,
    HEAD,
    MAX_SECTIONS,
    MAX_TILES,
    SECTION,
    TILE,
    Head,
    Place,
    damaged,
    newer,
)


class Index(NamedTuple):
    """Where parts of a file are.

    Attributes:
        tiles: an array of `TILE`, `(T,)`.
        sections: by name.
    """

    tiles: NDArray[Any]
    sections: dict[str, Place]

    def pack(self) -> bytes:
        """The index's bytes."""
        entries = [(name, *place) for name, place in self.sections.items()]
        counts = COUNTS.pack(len(self.tiles), len(entries))
        return counts + self.tiles.tobytes() + np.array(entries, SECTION).tobytes()


def unpack_index(content: bytes, head: Head, known_sections: Collection[str]) -> Index:
    """The inverse of `Index.pack`, for a file that this program can read.

    What it says is possible: head, tiles, sections, header and index make up the file, without a
    gap and without an overlap, the tiles in the order of their numbers.

    Args:
        content: the index.
        head: of the file.
        known_sections: names of the critical sections that the caller knows.

    Raises:
        UserError: the file is damaged or newer than this program.
    """
    size = len(content) - COUNTS.size
    tile_count, section_count = COUNTS.unpack_from(content) if size >= 0 else (0, 0)
    if size != tile_count * TILE.itemsize + section_count * SECTION.itemsize:
        raise damaged(
            f"an index of {len(content):,} bytes for {tile_count:,} tiles and {section_count:,} "
            "sections"
        )
    if tile_count > MAX_TILES or section_count > MAX_SECTIONS:
        raise damaged(f"an index of {tile_count:,} tiles and {section_count:,} sections")
    tiles = np.frombuffer(content, TILE, tile_count, COUNTS.size)
    entries = np.frombuffer(
        content, SECTION, section_count, COUNTS.size + tile_count * TILE.itemsize
    )
    _check_order(head, tiles, entries)
    sections: dict[str, Place] = {}
    for raw, *place in entries.tolist():
        sections[checked_name(bytes(raw), sections, known_sections)] = Place(*place)
    return Index(tiles, sections)


def checked_name(raw: bytes, others: Collection[str], known_sections: Collection[str]) -> str:
    """The name of a section that can be read, and is none of the others.

    Raises:
        UserError: the file is damaged or newer than this program.
    """
    name = raw.decode("latin-1")
    if not is_section_name(name) or name in others:
        raise damaged(f"{name!r} for the name of a section")
    if name[0].isupper() and name not in known_sections:
        raise newer(f"needs its section {name}, which this program does not know")
    return name


def is_section_name(name: str) -> bool:
    """Whether it is four letters of ASCII."""
    return len(name) == 4 and name.isascii() and name.isalpha()


def _check_order(head: Head, tiles: NDArray[Any], sections: NDArray[Any]) -> None:
    other = np.array([head.header[:2], head.index[:2]], np.uint64)  # (2, 2)
    begins = np.concatenate([tiles["offset"], sections["offset"], other[:, 0]])
    lengths = np.concatenate([tiles["length"], sections["length"], other[:, 1]])
    if begins.max() > head.file_length:  # so that sums stay far below 2^64
        raise damaged("says that some of its parts begin after its end")
    ends = begins + lengths
    # An empty part has the place of the one that begins where it does, and comes before that.
    order = np.lexsort((ends, begins))
    borders = np.concatenate([[np.uint64(HEAD.size)], ends[order]])
    if (begins[order] != borders[:-1]).any() or borders[-1] != head.file_length:
        raise damaged("says that its parts overlap, or leave gaps between them")
    if (begins[1 : len(tiles)] < ends[: len(tiles)][:-1]).any():
        raise damaged("says that its tiles are not in the order of their numbers")
