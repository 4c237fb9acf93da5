"""Small files; what both versions have in common is in test_container and test_container_damage."""

import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from sarc_examples import EMPTY, EXAMPLE, Content, place, read, resealed, write

from sar_codec.coding import small
from sar_codec.coding.container import Tile, Writer, size_without_tiles
from sar_codec.coding.header import DICTIONARIES, DICTIONARY
from sar_codec.coding.layout import crc32c
from sar_codec.errors import UserError

GOLDEN = Path(__file__).parent / "golden" / "version_2.sarc"
NEWER = "the file is newer than this program; update sar_codec"
DAMAGED = "the file is damaged; get another copy of it"


def bytes_by_hand(dictionary: bytes, number: int) -> bytes:
    """The example's file, put together from the table in `small`."""
    header = '{"a":{"b":[true]},"height":3,"name":"Zürich \\n","nodata":null,"spacing_m":10.5}'
    deflater = zlib.compressobj(9, wbits=-15, zdict=dictionary)
    deflated = deflater.compress(header.encode()) + deflater.flush()
    payloads = [b"first tile", b"", b"\x00\xff\r\n", b"ancillary", b"\x01\x02"]
    crcs = [crc32c(each) for each in payloads]
    head = bytes([1, 0, 3, 2])
    for length, crc, check in zip((10, 0, 4), crcs[:3], (7, 0, 0xFFFFFFFF), strict=True):
        head += bytes([length]) + struct.pack("<II", crc, check)
    head += b"note" + bytes([9]) + struct.pack("<I", crcs[3])
    head += b"MASK" + bytes([2]) + struct.pack("<I", crcs[4])
    head += bytes([number]) + deflated
    head = b"\x89SAR\r\n\x1a\n" + struct.pack("<HH", 2, 12 + len(head) + 4) + head
    return head + struct.pack("<I", crc32c(head)) + b"".join(payloads)


def test_every_byte_is_where_the_layout_says(tmp_path: Path) -> None:
    number = len(DICTIONARIES) - 1
    assert write(EXAMPLE, tmp_path / "x.sarc", 2) == bytes_by_hand(DICTIONARY, number)


def test_the_golden_file_is_read_as_ever() -> None:
    dictionaries = list(DICTIONARIES.values())
    assert GOLDEN.read_bytes() == bytes_by_hand(dictionaries[2], 2)
    assert read(GOLDEN) == EXAMPLE


def test_files_of_any_dictionary_are_read(tmp_path: Path) -> None:
    for number, dictionary in enumerate(DICTIONARIES.values()):
        assert read(place(bytes_by_hand(dictionary, number), tmp_path / "x.sarc")) == EXAMPLE


@pytest.mark.parametrize("content", [EMPTY, EXAMPLE])
def test_a_file_cut_anywhere_says_what_is_missing(content: Content, tmp_path: Path) -> None:
    data = write(content, tmp_path / "whole.sarc", 2)
    size = int.from_bytes(data[10:12], "little")
    for length in range(len(data)):
        missing, whole = len(data) - length, f"of {len(data)} bytes are missing at its end"
        if length < size:
            # What the head's length is, is not known before its twelfth byte.
            missing, whole = (size if length >= 12 else 64) - length, "of its first"
        with pytest.raises(UserError, match=f"x.sarc: cut short: {missing} {whole}"):
            read(place(data[:length], tmp_path / "x.sarc"))
    with pytest.raises(UserError, match=f"3 bytes after its end: {DAMAGED}"):
        read(place(data + b"abc", tmp_path / "x.sarc"))


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (12, 3, f"needs features that have the flags 0x2: {NEWER}"),
        (14, 127, "something else where a number should be|a head that ends too early"),
        (15, 3, "for the name of a section"),
        (16, 11, "cut short: 1 of"),
        (16, 9, "1 bytes after its end"),
        (43, ord("N"), f"needs its section Note, which this program does not know: {NEWER}"),
        (43, ord("1"), "'1ote' for the name of a section"),
        (61, 200, f"its header needs dictionary 200: {NEWER}"),
        (62, 255, "a header that cannot be inflated"),
    ],
)
def test_a_head_that_cannot_be_is_refused(at: int, value: int, said: str, tmp_path: Path) -> None:
    data = bytearray(write(EXAMPLE, tmp_path / "whole.sarc", 2))
    assert data[43:47] == b"note" and data[52:56] == b"MASK"
    data[at] = value
    with pytest.raises(UserError, match=said):
        read(place(resealed(bytes(data)), tmp_path / "x.sarc"))


def test_ancillary_features_are_ignored(tmp_path: Path) -> None:
    data = bytearray(write(EXAMPLE, tmp_path / "whole.sarc", 2))
    data[13] = 5
    assert read(place(resealed(bytes(data)), tmp_path / "x.sarc")) == EXAMPLE


def test_a_head_that_claims_to_be_huge_is_refused_fast(tmp_path: Path) -> None:
    for numbers in ([0, 0, 2**32 - 1, 0], [0, 0, 0, 2**32 - 1], [0, 0, 1, 0, 2**32 - 1]):
        packed = b"".join(map(small.pack_number, numbers)) + bytes(60)
        head = b"\x89SAR\r\n\x1a\n" + struct.pack("<HH", 2, 12 + len(packed) + 4) + packed
        begin = time.process_time()
        with pytest.raises(UserError, match=r"x.sarc: "):
            read(place(resealed(head + bytes(4)), tmp_path / "x.sarc"))
        assert time.process_time() - begin < 0.05


@pytest.mark.parametrize(
    ("sizes", "tags", "version"),
    [
        ([100], 0, 2),
        (60 * [1000], 0, 2),
        (66 * [1000], 0, 1),
        ([70_000], 0, 1),
        ([100], 70_000, 1),  # a header that would not fit the head
        (8000 * [0], 0, 1),  # an index that would not
    ],
)
def test_files_are_small_ones_as_long_as_they_can(
    sizes: list[int], tags: int, version: int, tmp_path: Path
) -> None:
    path = tmp_path / "x.sarc"
    header = {"tags": np.random.default_rng(0).bytes(tags).hex()}
    content = Content(header, [Tile(bytes([7] * size), size) for size in sizes], {"note": b"a"})
    with Writer(path) as writer:
        for tile in content.tiles:
            writer.add_tile(*tile)
        writer.add_section("note", b"a")
        writer.finish(header)
    data = path.read_bytes()
    assert data[8] == version
    assert read(path) == content
    about = len(data) - sum(sizes) - len("notea") - (5 if version == 2 else 16)
    assert abs(size_without_tiles(header, len(sizes), sum(sizes)) - about) <= 1
