import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from sarc_examples import EMPTY, EXAMPLE, Content, changed, place, read, resealed, write

from sar_codec.coding.layout import MAGIC, crc32c
from sar_codec.errors import UserError

NEWER = "the file is newer than this program; update sar_codec"
DAMAGED = "the file is damaged; get another copy of it"


@pytest.fixture
def data(memory_folder: Path) -> bytes:
    return write(EXAMPLE, memory_folder / "example.sarc")


def refusal(data: bytes, memory_folder: Path) -> str:
    path = place(data, memory_folder / "x.sarc")
    with pytest.raises(UserError) as error:
        read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    return message


def test_the_checksum_is_that_of_rfc_3720() -> None:
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes([255]) * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


@pytest.mark.parametrize("start", [b"\x89PNG\r\n\x1a\n", b"II*\0", b"x", MAGIC[:7] + b"\r", b"\0"])
def test_another_kind_of_file_is_told_so(start: bytes, memory_folder: Path) -> None:
    assert "not a .sarc file: it begins with b" in refusal(start + bytes(100), memory_folder)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.replace(b"\r\n", b"\n"),
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
        lambda data: bytes(each & 0x7F for each in data),
        lambda data: data.decode("latin-1").encode(),
        lambda data: data.decode(errors="replace").encode(),
    ],
)
def test_a_transfer_as_text_is_told(
    spoil: Callable[[bytes], bytes], data: bytes, memory_folder: Path
) -> None:
    assert "spoilt by a transfer as text" in refusal(spoil(data), memory_folder)


def test_a_transfer_that_stops_at_a_control_z_is_cut_short(
    data: bytes, memory_folder: Path
) -> None:
    assert "cut short" in refusal(data[: data.index(b"\x1a")], memory_folder)


@pytest.mark.parametrize("content", [EMPTY, EXAMPLE])
def test_a_file_cut_anywhere_says_what_is_missing(content: Content, memory_folder: Path) -> None:
    data = write(content, memory_folder / "whole.sarc")
    for length in range(len(data)):
        said = f"cut short: {64 - length} of its first 64 bytes are missing"
        if length >= 64:
            missing = len(data) - length
            said = f"cut short: {missing} of {len(data)} bytes are missing at its end; transfer"
        assert said in refusal(data[:length], memory_folder)


@pytest.mark.parametrize("extra", [b"\0", bytes(1000)])
def test_bytes_after_the_end_are_told(extra: bytes, data: bytes, memory_folder: Path) -> None:
    message = refusal(data + extra, memory_folder)
    assert f"{len(extra):,} bytes after its end: {DAMAGED}" in message


@pytest.mark.parametrize("version", [3, 4, 65535])
@pytest.mark.parametrize("size", [64, 16, 200])
def test_a_newer_version_is_told_from_damage(
    version: int, size: int, data: bytes, memory_folder: Path
) -> None:
    head = data[:8] + struct.pack("<HH", version, size) + b"?" * (size - 16)
    rest = data[64:]
    message = refusal(head + struct.pack("<I", crc32c(head)) + rest, memory_folder)
    assert f"format version {version}, this program reads 1 and 2: {NEWER}" in message
    assert DAMAGED in refusal(head + bytes(4) + rest, memory_folder)


def test_a_newer_head_that_is_cut_is_told(data: bytes, memory_folder: Path) -> None:
    head = data[:8] + struct.pack("<HH", 2, 500) + bytes(100)
    assert "cut short: 388 of its first 500 bytes" in refusal(head, memory_folder)


@pytest.mark.parametrize("flags", [2, 2**31, 2**32 - 2])
def test_unknown_critical_features_are_refused_and_others_ignored(
    flags: int, data: bytes, memory_folder: Path
) -> None:
    message = refusal(changed(data, 12, "I", flags + 1), memory_folder)
    assert f"needs features that have the flags {flags:#x}: {NEWER}" in message
    assert read(place(changed(data, 16, "I", flags), memory_folder / "y")) == EXAMPLE


@pytest.mark.parametrize(
    ("offset", "code", "value", "said"),
    [
        (8, "H", 0, "format version 0"),
        (10, "H", 65, "a head of 65 bytes in version 1"),
        (10, "H", 15, "a head of 15 bytes in version 1"),
        (28, "Q", 2**63, "says that its header ends at"),
        (28, "Q", 2**64 - 1, "says that its header ends at"),
        (36, "I", 2**24 + 1, "says that its header has 16,777,217 bytes, at most 16,777,216"),
        (36, "I", 500, "says that its header ends at"),
        (44, "Q", 2**64 - 100, "says that its index ends at"),
        (52, "I", 2**32 - 1, "says that its index has 4,294,967,295 bytes, at most"),
        (52, "I", 10**6, "says that its index ends at"),
    ],
)
def test_a_head_that_cannot_be_is_refused(
    offset: int, code: str, value: int, said: str, data: bytes, memory_folder: Path
) -> None:
    message = refusal(changed(data, offset, code, value), memory_folder)
    assert said in message
    assert message.endswith(DAMAGED)


@pytest.mark.parametrize("length", [1, 200])
def test_a_file_that_says_it_is_shorter_is_refused(
    length: int, data: bytes, memory_folder: Path
) -> None:
    message = refusal(changed(data, 20, "Q", len(data) - length), memory_folder)
    assert f"{length} bytes after its end" in message


def test_each_part_has_its_checksum(data: bytes, memory_folder: Path) -> None:
    header_offset, index_offset = (struct.unpack_from("<Q", data, at)[0] for at in (28, 44))
    for offset, part in ((20, "head"), (header_offset, "header"), (index_offset, "index")):
        spoilt = bytearray(data)
        spoilt[offset] ^= 1
        assert f"the CRC32C of its {part} is another" in refusal(bytes(spoilt), memory_folder)
    assert resealed(data) == data
