import numpy as np
import pytest
import torch
from torch import Tensor

from sar_codec.entropy.coding import SymbolDecoder, SymbolEncoder
from sar_codec.entropy.counted import CountedTables
from sar_codec.entropy.gaussian import SCALES, gaussian_tables, scale_of
from sar_codec.entropy.integer import FRACTION
from sar_codec.entropy.search import quantised_around
from sar_codec.entropy.tables import LARGEST_SYMBOL, IntegerTables
from sar_codec.errors import UserError

TABLES = gaussian_tables()


def drawn(shape: tuple[int, ...], spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """Symbols of all scales, wider by `spread` than they should be, and their tables."""
    generator = torch.Generator().manual_seed(0)
    which = torch.randint(SCALES, shape, generator=generator)
    normal = torch.from_numpy(np.random.default_rng(0).normal(size=shape))
    return (spread * normal * scale_of(which.double())).round().long(), which


@pytest.mark.parametrize("spread", [1.0, 3.0, 1000.0])
@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5, 7), (1_000_000,)])
def test_symbols_come_back_and_cost_what_their_tables_say(
    shape: tuple[int, ...], spread: float
) -> None:
    if spread > 1 and shape == (1_000_000,):
        shape = (10_000,)
    symbols, which = drawn(shape, spread)
    encoder = SymbolEncoder()
    encoder.put(symbols, TABLES, which)
    data = encoder.data()
    assert torch.equal(SymbolDecoder(data).take(TABLES, which), symbols)
    bits = TABLES.bits(symbols, which).double().sum().item()
    assert bits - 1 <= 8 * len(data) <= 1.0001 * bits + 64


def test_zeros_at_the_end_of_the_last_word_are_left_out() -> None:
    lengths, last_bytes = [], set()
    for count in range(1, 200):
        symbols, which = drawn((count,))
        encoder = SymbolEncoder()
        encoder.put(symbols, TABLES, which)
        data = encoder.data()
        assert torch.equal(SymbolDecoder(data).take(TABLES, which), symbols)
        last_bytes.add(len(data) % 4)
        lengths.append(8 * len(data) - TABLES.bits(symbols, which).double().sum().item())
        if len(data) % 4:
            assert data[-1] != 0
    assert last_bytes == {0, 1, 2, 3}
    assert max(lengths) < 16 and np.mean(lengths) < 6


def test_several_puts_are_taken_in_their_order() -> None:
    channels = IntegerTables([4])
    channels.fill(0, -1, torch.tensor([0.25, 0.5, 0.2], dtype=torch.float64))
    few = torch.tensor([[0, 1], [-1, 70]])
    symbols, which = drawn((500,))
    encoder = SymbolEncoder()
    encoder.put(few, channels, torch.zeros_like(few))
    encoder.put(symbols, TABLES, which)
    decoder = SymbolDecoder(encoder.data())
    assert torch.equal(decoder.take(channels, torch.zeros_like(few)), few)
    assert torch.equal(decoder.take(TABLES, which), symbols)


def test_bits_come_back_and_cost_one_each() -> None:
    bits = torch.arange(33).repeat(50)
    numbers = torch.from_numpy(np.random.default_rng(0).integers(0, 2**63, len(bits)))
    numbers = numbers & ((1 << bits) - 1)
    encoder = SymbolEncoder()
    encoder.put_bits(numbers, bits)
    data = encoder.data()
    assert torch.equal(SymbolDecoder(data).take_bits(bits), numbers)
    assert 8 * len(data) <= int(bits.sum()) + 64


@pytest.mark.parametrize("size", [1, 2**16, 2**17 + 5, LARGEST_SYMBOL])
def test_symbols_of_any_size_come_back(size: int) -> None:
    symbols = torch.tensor([size, -size, 0, size - 1])
    which = torch.tensor([0, 1, 5, 63])
    encoder = SymbolEncoder()
    encoder.put(symbols, TABLES, which)
    assert torch.equal(SymbolDecoder(encoder.data()).take(TABLES, which), symbols)


def test_tables_need_not_hold_zero() -> None:
    tables = IntegerTables([4, 1, 3])  # of one of which all symbols escape
    tables.fill(0, 5, torch.tensor([0.5, 0.2, 0.2], dtype=torch.float64))
    tables.fill(1, 0, torch.zeros(0, dtype=torch.float64))
    tables.fill(2, -9, torch.tensor([0.9, 0.05], dtype=torch.float64))
    symbols = torch.tensor([5, 0, -9, 6, 3, -8, 0, -1, 0, 7, 1, -9, 4, 0, -10])
    which = torch.arange(len(symbols)) % 3
    encoder = SymbolEncoder()
    encoder.put(symbols, tables, which)
    assert torch.equal(SymbolDecoder(encoder.data()).take(tables, which), symbols)


def test_symbols_that_cannot_be_coded_are_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        SymbolEncoder().put(torch.tensor([LARGEST_SYMBOL + 1]), TABLES, torch.tensor([0]))


def test_same_symbols_same_bytes() -> None:
    symbols, which = drawn((1000,), 2.0)
    streams = set()
    for _ in range(100):
        encoder = SymbolEncoder()
        encoder.put(symbols, TABLES, which)
        streams.add(encoder.data())
    assert len(streams) == 1


def test_bytes_that_no_encoder_wrote_are_refused_or_give_some_symbols() -> None:
    rng = np.random.default_rng(0)
    _, which = drawn((2000,))
    for length in (0, 3, 4, 401, 4000):
        for _ in range(25):
            try:
                symbols = SymbolDecoder(rng.bytes(length)).take(TABLES, which)
            except UserError as error:
                assert "damaged" in str(error)
            else:
                assert symbols.shape == which.shape
    with pytest.raises(UserError, match="damaged"):
        SymbolDecoder(b"\xff" * 8).take_bits(torch.tensor([3]))


@pytest.mark.parametrize("shape", [(1, 512 * 50), (3, 512 * 4 + 7), (2, 5)])
def test_values_around_their_means_come_back_from_lanes(shape: tuple[int, int]) -> None:
    """Tables of two quantisers, one after the other; the second's points are half a step nearer."""
    counted = CountedTables()
    generator = torch.Generator().manual_seed(0)
    means = torch.randint(-9000, 9000, shape, generator=generator).int()
    indices = torch.randint(-50, SCALES * FRACTION + 50, shape, generator=generator).int()
    values = means / FRACTION + 2 * torch.randn(shape, generator=generator)
    values[0, 3], values[0, 4] = float("nan"), float("-inf")
    found = quantised_around(values, means, indices, counted.prices())
    encoder = SymbolEncoder()
    encoder.put_lanes(found.symbols, counted.tables, found.tables)
    decoder = SymbolDecoder(encoder.data())
    decoded = decoder.take_lanes(counted.tables, means, indices)
    assert torch.equal(decoded, found.decoded)
    off = (decoded / FRACTION - values)[values.isfinite()].abs()
    assert off.max() <= 1.5
    assert abs(decoded[0, 3] - means[0, 3]) <= FRACTION
    assert decoded[0, 4] < -1e9


@pytest.mark.parametrize("damage", ["zero", "sum"])
def test_tables_that_are_none_are_refused(damage: str) -> None:
    tables = gaussian_tables()
    tables.frequencies[5] += 1 if damage == "sum" else -int(tables.frequencies[5])
    with pytest.raises(UserError, match="tables of symbols are damaged"):
        SymbolEncoder().put(torch.tensor([0]), tables, torch.tensor([0]))
