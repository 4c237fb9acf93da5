import errno
import os
import struct
import threading
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sarc_examples import EMPTY, EXAMPLE, KNOWN, MANY, Content, place, read, write

from sar_codec.coding import layout
from sar_codec.coding.container import Reader, Tile, Writer
from sar_codec.coding.header import DICTIONARIES, DICTIONARY
from sar_codec.errors import UserError

GOLDEN = Path(__file__).parent / "golden" / "version_1.sarc"


def slow_crc32c(data: bytes) -> int:
    """Bit by bit, from the polynomial."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def bytes_by_hand(dictionary: bytes, critical_flags: int) -> bytes:
    """The example's file, put together from the table in `layout`."""
    header = '{"a":{"b":[true]},"height":3,"name":"Zürich \\n","nodata":null,"spacing_m":10.5}'
    deflater = zlib.compressobj(9, zdict=dictionary)
    deflated = deflater.compress(header.encode()) + deflater.flush()
    parts = [b"ancillary", b"first tile", b"", b"\x00\xff\r\n", b"\x01\x02", deflated]
    lengths = [9, 10, 0, 4, 2, len(deflated)]
    note, first, second, third, mask, text = offsets = [64, 73, 83, 83, 87, 89]
    assert [len(part) for part in parts] == lengths
    assert offsets == [64 + sum(lengths[:number]) for number in range(6)]
    crcs = [slow_crc32c(part) for part in parts]
    index = struct.pack("<II", 3, 2)
    index += struct.pack("<QIII", first, 10, crcs[1], 7)
    index += struct.pack("<QIII", second, 0, crcs[2], 0)
    index += struct.pack("<QIII", third, 4, crcs[3], 0xFFFFFFFF)
    index += b"note" + struct.pack("<QII", note, 9, crcs[0])
    index += b"MASK" + struct.pack("<QII", mask, 2, crcs[4])
    end = text + len(deflated)
    head = b"\x89SAR\r\n\x1a\n" + struct.pack("<HHII", 1, 64, critical_flags, 0)
    head += struct.pack("<Q", end + 8 + 5 * 20)
    head += struct.pack("<QII", text, len(deflated), crcs[5])
    head += struct.pack("<QII", end, 8 + 5 * 20, slow_crc32c(index))
    head += struct.pack("<I", slow_crc32c(head))
    return b"".join([head, *parts, index])


def test_every_byte_is_where_the_layout_says(tmp_path: Path) -> None:
    assert write(EXAMPLE, tmp_path / "x.sarc") == bytes_by_hand(DICTIONARY, 1)


def test_the_golden_file_is_read_as_ever() -> None:
    first_dictionary = next(iter(DICTIONARIES.values()))
    assert GOLDEN.read_bytes() == bytes_by_hand(first_dictionary, 0)
    assert read(GOLDEN) == EXAMPLE


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("content", [EMPTY, EXAMPLE, MANY])
def test_what_is_written_is_read(content: Content, version: int, tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.sarc"
    assert write(content, path, version)[8] == version
    assert os.listdir(path.parent) == ["x.sarc"]
    with Reader(str(path), KNOWN) as reader:
        assert reader.header == content.header
        assert reader.tile_count == len(content.tiles)
        assert [reader.tile(number) for number in range(reader.tile_count)] == content.tiles
        assert set(reader.section_names) == set(content.sections)
        for name, data in content.sections.items():
            assert reader.section(name) == data
        assert reader.section("none") is None
        assert list(reader.verify()) == []


def test_there_is_no_other_tile(tmp_path: Path) -> None:
    write(EXAMPLE, tmp_path / "x.sarc")
    with Reader(tmp_path / "x.sarc", KNOWN) as reader:
        for number in (-1, 3):
            with pytest.raises(IndexError, match=f"x.sarc: tile {number} of 3"):
                reader.tile(number)


@pytest.mark.parametrize("version", [1, 2])
def test_damage_is_named_and_the_rest_is_read(version: int, tmp_path: Path) -> None:
    data = bytearray(write(EXAMPLE, tmp_path / "x.sarc", version))
    for part in (b"first tile", b"ancillary", b"\xff\r\n"):
        data[data.index(part) + 1] ^= 32
    path = place(bytes(data), tmp_path / "y.sarc")
    with Reader(path, KNOWN) as reader:
        assert reader.header == EXAMPLE.header
        assert reader.tile(1) == EXAMPLE.tiles[1]
        assert reader.section("MASK") == EXAMPLE.sections["MASK"]
        said = r"y.sarc: the CRC32C of its tile 2 is another: the file is damaged; get another copy"
        with pytest.raises(UserError, match=said):
            reader.tile(2)
        with pytest.raises(UserError, match=r"y.sarc: the CRC32C of its section note is another"):
            reader.section("note")
        damages = list(reader.verify())
    assert [each.part for each in damages] == ["tile 0", "tile 2", "section note"]
    assert all(each.message.startswith(f"{path}: ") for each in damages)


def test_opening_reads_no_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Writer(tmp_path / "x.sarc") as writer:
        writer.add_section("skip", bytes(1000))
        for _ in range(10):
            writer.add_tile(bytes(10_000), 0)
        writer.finish({})
    asked = []
    pread = os.pread

    def spy(descriptor: int, length: int, offset: int) -> bytes:
        asked.append((offset, offset + length))
        return pread(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", spy)
    with Reader(tmp_path / "x.sarc") as reader:
        assert all(end <= 64 or begin >= 64 + 101_000 for begin, end in asked)
        asked.clear()
        reader.tile(3)
    assert asked == [(64 + 31_000, 64 + 41_000)]


def test_short_reads_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(EXAMPLE, tmp_path / "x.sarc")
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda file, length, at: pread(file, min(length, 3), at))
    assert read(tmp_path / "x.sarc") == EXAMPLE


def test_threads_read_side_by_side(tmp_path: Path) -> None:
    write(MANY, tmp_path / "x.sarc")
    begin = threading.Barrier(4)

    def read_all(reader: Reader, seed: int) -> bool:
        begin.wait()
        numbers = np.random.default_rng(seed).integers(len(MANY.tiles), size=500).tolist()
        return all(reader.tile(number) == MANY.tiles[number] for number in numbers)

    with Reader(tmp_path / "x.sarc", KNOWN) as reader, ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read_all, [reader] * 4, range(4)))


def test_a_file_that_is_cut_or_fails_later_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(EXAMPLE, path := tmp_path / "x.sarc")
    with Reader(path, KNOWN) as reader:
        with monkeypatch.context() as patched:

            def fail(*_: Any) -> bytes:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

            patched.setattr(os, "pread", fail)
            with pytest.raises(UserError, match=r"x.sarc: cannot be read \(Input/output error\)"):
                reader.tile(0)
        os.truncate(path, 80)
        with pytest.raises(UserError, match=r"x.sarc: cut short since it was opened"):
            reader.tile(0)
    with pytest.raises(ValueError, match="closed"):
        reader.tile(0)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, said in (
        ("none", r"none: cannot be read \(No such file"),
        (".", r"cannot be read \(Is a directory\)"),
        ("pipe", "pipe: not a file that can be read at any place"),
    ):
        with pytest.raises(UserError, match=said):
            Reader(tmp_path / name)


@pytest.mark.parametrize("moment", ["opened", "a tile", "finished"])
def test_an_error_leaves_nothing_behind(moment: str, tmp_path: Path) -> None:
    def fail_at(now: str) -> None:
        if now == moment:
            raise OSError(errno.EIO, "of something else")

    with pytest.raises(OSError, match="of something else"), Writer(tmp_path / "x.sarc") as writer:
        fail_at("opened")
        writer.add_tile(b"1", 0)
        fail_at("a tile")
        writer.finish({})
        fail_at("finished")
    assert os.listdir(tmp_path) == []


def test_a_file_that_was_not_finished_does_not_appear(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="finish was not called"), Writer(tmp_path / "x"):
        pass
    assert os.listdir(tmp_path) == []


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "x.sarc"
    path.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"x.sarc: exists already; give another name"):
        Writer(path)
    assert path.read_bytes() == b"mine"
    write(EXAMPLE, path)  # which overwrites
    assert read(path) == EXAMPLE


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/x.sarc: cannot be written .*choose another"):
        Writer(tmp_path / "file" / "x.sarc")


def test_a_full_disk_is_told_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with (
        pytest.raises(UserError, match=r"x.sarc: cannot be written .No space left on device.*free"),
        Writer(tmp_path / "x.sarc") as writer,
    ):
        writer.add_tile(b"1", 0)
        writer.finish({})
        monkeypatch.setattr(os, "fsync", fail)
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_stored_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Writer(tmp_path / "x.sarc") as writer:
        for check in (-1, 2**32):
            with pytest.raises(ValueError, match=f"a check of {check}, expected"):
                writer.add_tile(b"", check)
        writer.add_section("once", b"")
        for name in ("once", "", "abc", "ab c", "äbcd", "abcde", "ab\0d"):
            with pytest.raises(ValueError, match="expected four letters, each name once"):
                writer.add_section(name, b"")
        with pytest.raises(ValueError, match="header"):
            writer.finish({"a": float("nan")})
        writer.add_tile(b"1", 1)
        with monkeypatch.context() as patched:
            patched.setattr(layout, "MAX_SECTIONS", 1)
            with pytest.raises(ValueError, match="more than 1 sections"):
                writer.add_section("more", b"")
            patched.setattr(layout, "MAX_U32", 3)
            with pytest.raises(ValueError, match="4 bytes, the most is 3"):
                writer.add_tile(b"four", 2)
            patched.setattr(layout, "MAX_TILES", 1)
            with pytest.raises(UserError, match=r"x.sarc: more than 1 tiles; choose larger ones"):
                writer.add_tile(b"2", 2)
        writer.finish({})
        for add in (
            lambda: writer.add_tile(b"2", 2),
            lambda: writer.add_section("late", b""),
            lambda: writer.finish({}),
        ):
            with pytest.raises(ValueError, match="nothing can be added after finish"):
                add()
    assert read(tmp_path / "x.sarc") == Content({}, [Tile(b"1", 1)], {"once": b""})


def test_memory_stays_flat_whatever_the_number_of_tiles(tmp_path: Path) -> None:
    payload = bytes(2000)

    def peak(tiles: int) -> int:
        tracemalloc.start()
        try:
            with Writer(tmp_path / "x.sarc", overwrite=True) as writer:
                for number in range(tiles):
                    writer.add_tile(payload, number)
                writer.finish({})
            with Reader(tmp_path / "x.sarc") as reader:
                assert list(reader.verify()) == []
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # what is imported and cached the first time
    few, many = peak(100), peak(10_000)
    assert many - few < 200 * 10_000, (few, many)  # 20 bytes a tile, several times at the end
