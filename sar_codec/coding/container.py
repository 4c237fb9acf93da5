"""The .sarc file: payloads of tiles, sections and a header; `layout` says which byte is where.

Files of few bytes are written as `small` says.

Nothing here knows of images or models. What is read is what was written, or is refused: every byte
of a file is under a checksum, and what a file claims is checked before memory is taken for it.
"""

import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from sar_codec.coding import layout, small
from sar_codec.coding.header import decode_header, encode_header
from sar_codec.coding.index import Index, is_section_name, unpack_index
from sar_codec.coding.layout import Head, Place
from sar_codec.errors import UserError
from sar_codec.files import WholeFile


class Tile(NamedTuple):
    """What is stored of a tile.

    Attributes:
        payload: its coded symbols.
        symbols_check: a check of what they decode to, u32; which one is the caller's matter.
    """

    payload: bytes
    symbols_check: int


class Damage(NamedTuple):
    """A part of a file that cannot be read, such as "tile 7", and a line that says why."""

    part: str
    message: str


class Writer:
    """Writes a file, tile by tile, that appears when the context ends, whole or not at all.

    If the context ends with an error, nothing is left behind. Of the tiles, memory only holds the
    20 bytes of index each, and all of a file that is still a small one. To be used from one thread.

    Args:
        path: of the file.
        overwrite: whether it may take the place of another.

    Raises:
        UserError: there is a file already that may not be overwritten, or it cannot be written;
            also when adding, finishing and leaving the context.
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        self._path = Path(path)
        self._file = WholeFile(self._path, overwrite)
        self._end = 0
        self._held: bytearray | None = bytearray()  # all of it, while it may become a small file
        self._tiles = bytearray()
        self._sections: dict[str, Place] = {}
        self._is_finished = False
        self._append(bytes(layout.HEAD.size))  # until its values are known

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and not self._is_finished:
            self._file.discard()
            raise RuntimeError(f"{self._path}: finish was not called, so there is no file")
        self._file.__exit__(kind, error, traceback)

    def add_tile(self, payload: bytes, symbols_check: int) -> None:
        """Writes the next tile.

        Args:
            payload: its coded symbols.
            symbols_check: of what they decode to, 0 to 2^32 - 1.
        """
        if not 0 <= symbols_check <= layout.MAX_U32:
            raise ValueError(f"a check of {symbols_check}, expected 0 to {layout.MAX_U32}")
        if len(self._tiles) == layout.MAX_TILES * layout.TILE.itemsize:
            raise UserError(
                f"{self._path}: more than {layout.MAX_TILES:,} tiles; choose larger ones"
            )
        place = self._append(payload)
        self._tiles += np.array((*place, symbols_check), layout.TILE).tobytes()

    def add_section(self, name: str, data: bytes) -> None:
        """Writes a section.

        Args:
            name: four letters of ASCII; the first a capital if who does not know the section must
                not read the file. Each name once.
            data: what `Reader.section` gives.
        """
        if not is_section_name(name) or name in self._sections:
            raise ValueError(f"a section named {name!r}, expected four letters, each name once")
        if len(self._sections) == layout.MAX_SECTIONS:
            raise ValueError(f"more than {layout.MAX_SECTIONS} sections")
        self._sections[name] = self._append(data)

    def finish(self, header: Mapping[str, Any]) -> None:
        """Writes the header and all that is left; nothing can be added after that.

        Args:
            header: what `Reader.header` gives; of what JSON can hold, no NaN.

        Raises:
            ValueError: JSON cannot hold the header.
            UserError: the header is too large, or the file cannot be written.
        """
        self._check_unfinished()
        index = Index(np.frombuffer(bytes(self._tiles), layout.TILE), self._sections)
        if self._held is not None and (head := small.pack_small_head(index, header)) is not None:
            self._file.write(head)
            places = [Place(*each[:3]) for each in index.tiles.tolist()]
            for offset, length, _ in [*places, *index.sections.values()]:
                self._file.write(bytes(self._held[offset : offset + length]))
            self._is_finished = True
            return
        self._spill()
        header_place = self._append(encode_header(header))
        index_place = self._append(index.pack())
        flags = layout.LATER_TILES, 0
        self._file.rewrite_start(Head(*flags, self._end, header_place, index_place).pack())
        self._is_finished = True

    def unplaced(self) -> Path:
        """Where the finished file can be read before it appears, to see whether it should."""
        if not self._is_finished:
            raise ValueError(f"{self._path}: cannot be read before finish")
        return self._file.flushed()

    def _check_unfinished(self) -> None:
        if self._is_finished:
            raise ValueError(f"{self._path}: nothing can be added after finish")

    def _spill(self) -> None:
        """Writes what was held, as it is too much for a small file."""
        if self._held is not None:
            self._file.write(bytes(self._held))
            self._held = None

    def _append(self, content: bytes) -> Place:
        self._check_unfinished()
        if len(content) > layout.MAX_U32:
            raise ValueError(f"{len(content):,} bytes, the most is {layout.MAX_U32:,}")
        if self._end + len(content) > small.MOST_PAYLOAD:
            self._spill()
        if self._held is None:
            self._file.write(content)
        else:
            self._held += content
        place = Place(self._end, len(content), layout.crc32c(content))
        self._end += len(content)
        return place


def size_without_tiles(header: Mapping[str, Any], tiles: int, payload: float) -> int:
    """Bytes of a file, without sections, that are not those of tiles.

    Args:
        header: of the file.
        tiles: how many there are.
        payload: bytes of all of them, about.
    """
    if payload <= small.MOST_PAYLOAD:
        index = Index(np.array(tiles * [(0, round(payload / tiles), 0, 0)], layout.TILE), {})
        if (head := small.pack_small_head(index, header)) is not None:
            return len(head)
    size = layout.COUNTS.size + tiles * layout.TILE.itemsize
    return layout.HEAD.size + len(encode_header(header)) + size


class Reader:
    """Reads a file; opening it reads the head, the index and the header only.

    Several threads may read at once. To be used as a context.

    Args:
        path: of the file.
        known_sections: names of the critical sections that the caller knows.

    Attributes:
        header: what `Writer.finish` was given.
        tile_count: how many tiles there are.
        section_names: in the order in which they were written.

    Raises:
        UserError: it cannot be read, or is no .sarc file, or is cut short, damaged, or newer than
            this program.
    """

    header: dict[str, Any]
    tile_count: int
    section_names: tuple[str, ...]

    def __init__(self, path: str | os.PathLike[str], known_sections: Collection[str] = ()) -> None:
        self._path = Path(path)
        with self._naming_the_file():
            self._file = open(path, "rb", buffering=0, opener=_open_at_once)  # noqa: SIM115 - closed on exit
            try:
                self._open(known_sections)
            except BaseException:
                self._file.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def tile(self, number: int) -> Tile:
        """A tile.

        Raises:
            UserError: it is damaged, or cannot be read.
            IndexError: there is no such tile.
        """
        if not 0 <= number < self.tile_count:
            raise IndexError(f"{self._path}: tile {number} of {self.tile_count}")
        *place, symbols_check = self._index.tiles[number].item()
        return Tile(self._part(f"tile {number}", Place(*place)), symbols_check)

    def section(self, name: str) -> bytes | None:
        """A section's data, None if there is no section of that name.

        Raises:
            UserError: it is damaged, or cannot be read.
        """
        place = self._index.sections.get(name)
        return None if place is None else self._part(f"section {name}", place)

    def verify(self) -> Iterator[Damage]:
        """Reads every tile and section; gives those that are damaged.

        With what opening has read, that is every byte: a file with bytes that belong to no part
        is refused at opening.
        """
        for number in range(self.tile_count):
            try:
                self.tile(number)
            except UserError as error:
                yield Damage(f"tile {number}", str(error))
        for name in self.section_names:
            try:
                self.section(name)
            except UserError as error:
                yield Damage(f"section {name}", str(error))

    def _open(self, known_sections: Collection[str]) -> None:
        status = os.fstat(self._file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UserError("not a file that can be read at any place; give a .sarc file on a disk")
        start = self._read(0, min(layout.HEAD.size, status.st_size))
        size = layout.head_size(start)
        start = self._read(0, min(size, status.st_size))
        if layout.check_head(start, size) == layout.SMALL_VERSION:
            self._index, self.header = small.unpack_small_head(
                start, status.st_size, known_sections
            )
        else:
            head = layout.unpack_head(start, status.st_size)
            self._index = unpack_index(self._checked("index", head.index), head, known_sections)
            self.header = decode_header(self._checked("header", head.header))
        self.tile_count = len(self._index.tiles)
        self.section_names = tuple(self._index.sections)

    def _part(self, name: str, place: Place) -> bytes:
        with self._naming_the_file():
            return self._checked(name, place)

    def _checked(self, name: str, place: Place) -> bytes:
        content = self._read(place.offset, place.length)
        if layout.crc32c(content) != place.crc:
            raise layout.damaged(f"the CRC32C of its {name} is another")
        return content

    def _read(self, offset: int, length: int) -> bytes:
        content = b""
        # Linux gives at most 2 GiB at once.
        while len(content) < length:
            more = os.pread(self._file.fileno(), length - len(content), offset + len(content))
            if not more:
                raise UserError("cut short since it was opened; get another copy of it")
            content = content + more if content else more
        return content

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            raise UserError(f"{self._path}: {error}") from None
        except OSError as error:
            raise UserError(
                f"{self._path}: cannot be read ({error.strerror}); give a .sarc file that can be"
            ) from None


def _open_at_once(path: str, flags: int) -> int:
    # Opening a pipe would otherwise wait for someone who writes to it.
    return os.open(path, flags | os.O_NONBLOCK)
