import re
import struct
from dataclasses import replace

import numpy as np
import pytest

from sar_codec.coding import index as indices
from sar_codec.coding.index import Index, is_section_name, unpack_index
from sar_codec.coding.layout import MAX_INDEX, TILE, Head, Place
from sar_codec.errors import UserError

TILES = [(64, 10, 1, 11), (79, 0, 2, 12), (79, 20, 3, 13)]
SECTIONS = {"note": Place(74, 5, 4), "MASK": Place(99, 1, 5), "none": Place(99, 0, 0)}
HEAD = Head(0, 0, 300, Place(100, 50, 0), Place(150, 150, 0))


def packed(tiles: list[tuple[int, ...]] = TILES, sections: dict[str, Place] = SECTIONS) -> bytes:
    return Index(np.array(tiles, TILE), sections).pack()


def unpacked(content: bytes, head: Head = HEAD) -> Index:
    return unpack_index(content, head, {"MASK"})


def test_an_index_comes_back() -> None:
    index = unpacked(packed())
    assert index.tiles.tolist() == TILES
    assert index.sections == SECTIONS
    assert list(index.sections) == list(SECTIONS)


def test_a_file_may_have_neither_tiles_nor_sections() -> None:
    head = Head(0, 0, 74, Place(64, 2, 0), Place(66, 8, 0))
    index = unpack_index(packed([], {}), head, ())
    assert len(index.tiles) == len(index.sections) == 0


def test_the_header_may_lie_anywhere() -> None:
    head = Head(0, 0, 100, Place(70, 20, 0), Place(90, 10, 0))
    assert len(unpacked(packed([(64, 6, 0, 0)], {}), head).tiles) == 1
    head = Head(0, 0, 100, Place(64, 20, 0), Place(84, 10, 0))
    assert len(unpacked(packed([(94, 6, 0, 0)], {}), head).tiles) == 1


def moved(number: int, **fields: int) -> list[tuple[int, ...]]:
    tiles = np.array(TILES, TILE)
    for name, value in fields.items():
        tiles[name][number] = value
    return tiles.tolist()


@pytest.mark.parametrize(
    ("tiles", "said"),
    [
        (moved(0, length=9), "overlap, or leave gaps"),
        (moved(0, length=11), "overlap, or leave gaps"),
        (moved(0, offset=63), "overlap, or leave gaps"),
        (moved(0, offset=0, length=74), "overlap, or leave gaps"),
        (moved(1, offset=80), "overlap, or leave gaps"),
        (moved(1, offset=63), "overlap, or leave gaps"),
        (moved(2, length=2**32 - 1), "overlap, or leave gaps"),
        (moved(2, offset=301), "begin after its end"),
        (moved(2, offset=2**64 - 20), "begin after its end"),
        (moved(1, offset=2**63), "begin after its end"),
        (TILES[:2], "overlap, or leave gaps"),
        ([*TILES, TILES[2]], "overlap, or leave gaps"),
        ([TILES[0], TILES[2], TILES[1]], "not in the order of their numbers"),
        ([TILES[2], TILES[1], TILES[0]], "not in the order of their numbers"),
        (moved(1, offset=64), "not in the order of their numbers"),
    ],
)
def test_parts_that_do_not_make_up_the_file_are_refused(
    tiles: list[tuple[int, ...]], said: str
) -> None:
    with pytest.raises(UserError, match=f"says that .*{said}.*: the file is damaged"):
        unpacked(packed(tiles))


@pytest.mark.parametrize(
    "head",
    [
        replace(HEAD, header=Place(101, 49, 0)),
        replace(HEAD, header=Place(64, 50, 0)),
        replace(HEAD, header=Place(100, 0, 0)),
        replace(HEAD, index=Place(150, 149, 0)),
        replace(HEAD, index=Place(100, 50, 0)),
        replace(HEAD, index=Place(0, 150, 0)),
    ],
)
def test_header_and_index_must_fit_between_the_others(head: Head) -> None:
    with pytest.raises(UserError, match="overlap, or leave gaps"):
        unpacked(packed(), head)


@pytest.mark.parametrize("length", [0, 7, 8, 8 + 119, 8 + 121, 8 + 140])
def test_an_index_of_another_length_than_its_counts_say_is_refused(length: int) -> None:
    content = (packed() + bytes(100))[:length]
    with pytest.raises(UserError, match=f"an index of {length} bytes for"):
        unpacked(content)


@pytest.mark.parametrize("counts", [(2**32 - 1, 3), (3, 2**32 - 1), (2**32 - 1, 2**32 - 1)])
def test_an_index_that_claims_to_be_huge_is_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=r"an index of 128 bytes for .*4,294,967,295"):
        unpacked(struct.pack("<II", *counts) + packed()[8:])


@pytest.mark.parametrize("name", ["MAX_TILES", "MAX_SECTIONS"])
def test_an_index_has_limits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indices, name, 3)
    unpacked(packed())
    monkeypatch.setattr(indices, name, 2)
    with pytest.raises(UserError, match="an index of 3 tiles and 3 sections"):
        unpacked(packed())


def test_the_largest_index_is_not_much() -> None:
    assert MAX_INDEX < 85 * 10**6


@pytest.mark.parametrize("name", [b"no e", b"not\0", b"\0\0\0\0", b"nam1", b"\xe4bcd", b"MASK"])
def test_names_that_no_section_has_and_names_that_come_twice_are_refused(name: bytes) -> None:
    content = packed().replace(b"note", name)
    shown = re.escape(repr(name.rstrip(b"\0").decode("latin-1")))
    with pytest.raises(UserError, match=f"{shown} for the name of a section: the file is damaged"):
        unpacked(content)


def test_unknown_critical_sections_are_refused_and_others_are_not() -> None:
    assert "nEVR" in unpacked(packed().replace(b"note", b"nEVR")).sections
    with pytest.raises(UserError, match=r"needs its section Note, .* newer than this program"):
        unpacked(packed().replace(b"note", b"Note"))
    with pytest.raises(UserError, match=r"needs its section MASK, .* newer than this program"):
        unpack_index(packed(), HEAD, {"note"})


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("MASK", True),
        ("mask", True),
        ("", False),
        ("mas", False),
        ("masks", False),
        ("mäsk", False),
    ],
)
def test_names_of_sections_are_four_letters(name: str, is_one: bool) -> None:
    assert is_section_name(name) == is_one
