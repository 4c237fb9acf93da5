"""Damaged and malicious files are refused in one line, or read as they were written."""

import itertools
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sarc_examples import EMPTY, EXAMPLE, MANY, Content, changed, place, read, resealed, write

from sar_codec.coding.layout import HEAD, unpack_head
from sar_codec.errors import UserError

Mutation = Callable[[bytearray, np.random.Generator], None]
CONTENTS = (EMPTY, EXAMPLE, MANY)
FILES = [(content, version) for version in (1, 2) for content in CONTENTS]
BOUNDARIES = [0, 1, 2, 3, 7, 8, 63, 64, 65, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**16, 2**20]
BOUNDARIES += [2**22, 2**24 - 1, 2**24, 2**24 + 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 64]
WIDE_BOUNDARIES = [*BOUNDARIES, 2**32, 2**40, 2**53, 2**63 - 1, 2**63, 2**64 - 64, 2**64 - 1]
MOST_MEMORY = 2**20  # bytes, of the tests' files of at most 4 KiB


def some_range(data: bytearray, rng: np.random.Generator) -> tuple[int, int]:
    begin, end = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    return begin, min(end, begin + 50)


def flip_bits(data: bytearray, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))


def cut(data: bytearray, rng: np.random.Generator) -> None:
    del data[rng.integers(len(data)) :]


def leave_out(data: bytearray, rng: np.random.Generator) -> None:
    begin, end = some_range(data, rng)
    del data[begin:end]


def insert(data: bytearray, rng: np.random.Generator) -> None:
    at = rng.integers(len(data) + 1)
    data[at:at] = rng.bytes(int(rng.integers(1, 20)))


def swap(data: bytearray, rng: np.random.Generator) -> None:
    first, second, third, fourth = sorted(rng.integers(0, len(data) + 1, 4).tolist())
    data[first:fourth] = data[third:fourth] + data[second:third] + data[first:second]


def zero(data: bytearray, rng: np.random.Generator) -> None:
    begin, end = some_range(data, rng)
    data[begin:end] = bytes(end - begin)


def set_integer(data: bytearray, rng: np.random.Generator) -> None:
    size, values = ((4, BOUNDARIES), (8, WIDE_BOUNDARIES))[rng.integers(2)]
    if rng.integers(2):  # relative to the file's length, or to what is there
        at = int(rng.integers(max(1, len(data) - size)))
        base = (len(data), int.from_bytes(data[at : at + size], "little"))[rng.integers(2)]
        value = (base + int(rng.integers(-3, 4))) % 2 ** (8 * size)
    else:
        value = values[rng.integers(len(values))]
    # Half of the time in the head, where most integers are.
    limit = max(1, (len(data), 64)[rng.integers(2)] - size)
    at = int(rng.integers(limit))
    data[at : at + size] = value.to_bytes(size, "little")


MUTATIONS: list[Mutation] = [flip_bits, cut, leave_out, insert, swap, zero, set_integer]


def mutated(data: bytes, mutation: Mutation, rng: np.random.Generator) -> bytes:
    """Mutated once, or also in other ways."""
    content = bytearray(data)
    mutation(content, rng)
    while rng.random() < 0.3 and content:
        MUTATIONS[rng.integers(len(MUTATIONS))](content, rng)
    return bytes(content)


def read_or_refused(data: bytes, path: Path) -> Content | None:
    """What is read, None if it is refused; neither may take long or much memory."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    begin = time.process_time()
    try:
        return read(place(data, path))
    except UserError as error:
        assert str(error).startswith(f"{path}: ")
        assert len(str(error).splitlines()) == 1
        assert len(str(error)) < 500
        return None
    finally:
        assert time.process_time() - begin < 2
        assert tracemalloc.get_traced_memory()[1] - before < MOST_MEMORY


@pytest.fixture
def files(memory_folder: Path) -> list[bytes]:
    """Those of `FILES`; memory is traced after that."""
    written = [write(content, memory_folder / "whole.sarc", version) for content, version in FILES]
    assert max(map(len, written)) < 4096
    return written


@pytest.fixture
def traced(files: list[bytes], memory_folder: Path) -> Iterator[None]:
    read(place(files[0], memory_folder / "first.sarc"))  # what is made once only
    tracemalloc.start()
    yield
    tracemalloc.stop()


COUNTS = [715, pytest.param(14_286, marks=pytest.mark.slow)]  # 5,000, 100,000


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.__name__)
def test_a_mutated_file_is_refused_or_what_was_written(
    mutation: Mutation, count: int, files: list[bytes], traced: None, memory_folder: Path
) -> None:
    rng = np.random.default_rng(count)
    refused = 0
    for number in range(count):
        which = number % len(files)
        data = mutated(files[which], mutation, rng)
        content = read_or_refused(data, memory_folder / "x.sarc")
        refused += content is None
        if content is not None:
            assert content == FILES[which][0]
            assert data == files[which]  # there are no two files of one content
    assert refused > count / 2


def length_besides_payloads(data: bytes) -> int:
    """Of a file that can be read, of either version."""
    version, size = struct.unpack_from("<HH", data, 8)
    if version == 2:
        return int(size)
    head = unpack_head(data[: HEAD.size], len(data))
    return HEAD.size + head.header.length + head.index.length


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.__name__)
def test_a_mutated_file_with_right_checksums_is_refused_or_well_formed(
    mutation: Mutation, count: int, files: list[bytes], traced: None, memory_folder: Path
) -> None:
    rng = np.random.default_rng(count)
    for number in range(count):
        data = resealed(mutated(files[number % len(files)], mutation, rng))
        content = read_or_refused(data, memory_folder / "x.sarc")
        if content is not None:
            # The same header may be deflated in several ways.
            parts = [*content.sections.values(), *(tile.payload for tile in content.tiles)]
            assert sum(map(len, parts)) + length_besides_payloads(data) == len(data)
            assert all(0 <= tile.symbols_check < 2**32 for tile in content.tiles)


@pytest.mark.parametrize("version", [1, 2])
def test_every_flipped_bit_is_noticed(version: int, memory_folder: Path) -> None:
    data = write(EXAMPLE, memory_folder / "whole.sarc", version)
    for bit in range(8 * len(data)):
        spoilt = bytearray(data)
        spoilt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UserError):
            read(place(bytes(spoilt), memory_folder / "x.sarc"))


@pytest.mark.parametrize("content", CONTENTS, ids=["empty", "example", "many"])
def test_a_small_file_that_claims_to_be_huge_is_refused_fast(
    content: Content, traced: None, memory_folder: Path
) -> None:
    data = write(content, memory_folder / "whole.sarc")
    index = int.from_bytes(data[44:52], "little")
    # Of the head: lengths of the file, the header and the index; of the index: tiles, sections,
    # and where it says that its first entry is and how long.
    fields = [(20, "Q"), (28, "Q"), (36, "I"), (44, "Q"), (52, "I")]
    fields += [(index, "I"), (index + 4, "I")]
    if content.tiles:
        fields += [(index + 8, "Q"), (index + 16, "I")]
    huge = [2**22, 2**23, 2**24 - 1, 2**26, 2**28, 2**31 - 1, 2**31, 2**32 - 1]
    wide = [*huge, 2**32, 2**36, 2**40, 2**48, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
    claims = [(at, code, value) for at, code in fields for value in (wide if code == "Q" else huge)]
    assert len(claims) >= 200 / len(CONTENTS)
    for at, code, value in claims:
        begin = time.process_time()
        spoilt = changed(data, at, code, value)
        assert read_or_refused(spoilt, memory_folder / "x.sarc") is None, (at, code, value)
        assert time.process_time() - begin < 0.05


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(CONTENTS, 2)))
def test_parts_of_two_files_do_not_make_one(
    first: Content, second: Content, memory_folder: Path
) -> None:
    for version in (1, 2):
        one, other = (write(each, memory_folder / "w", version) for each in (first, second))
        sizes = [int.from_bytes(each[10:12], "little") for each in (one, other)]
        with pytest.raises(UserError):
            read(place(one[: sizes[0]] + other[sizes[1] :], memory_folder / "x.sarc"))
