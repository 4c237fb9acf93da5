import copy

import pytest
import torch

from sar_codec.entropy.counted import CountedTables
from sar_codec.entropy.gaussian import SCALES, gaussian_tables, scale_of


@pytest.fixture(scope="module")
def fresh() -> CountedTables:
    return CountedTables()


@pytest.mark.parametrize("index", [0, 7, 18, 40, SCALES - 1])
def test_they_begin_as_those_of_gaussian_numbers(fresh: CountedTables, index: int) -> None:
    torch.testing.assert_close(
        fresh.tables.table(index)[1:].double(),
        gaussian_tables().table(index)[1:].double(),
        rtol=1e-3,
        atol=300,
    )
    scale = scale_of(torch.tensor(index)).item()
    # The zero of the second quantiser has half of what the first one's has.
    zeros = [fresh.tables.table(table)[1 + fresh.reach[index]] for table in (index, SCALES + index)]
    if scale > 2:
        assert zeros[1] / zeros[0] == pytest.approx(0.5, abs=0.02)


def test_what_was_counted_costs_less_and_soon_what_it_should(fresh: CountedTables) -> None:
    counted = copy.deepcopy(fresh)
    torch.manual_seed(0)
    # Three in four are 2, where Gaussian ones hardly ever are.
    symbols = torch.where(torch.rand(100_000) < 0.75, 2, 0)
    which = torch.full_like(symbols, 5)
    before = counted.tables.bits(symbols, which).mean()
    counted.count(symbols, which)
    bits = counted.tables.bits(symbols, which).mean().item()
    assert bits < before
    assert bits == pytest.approx(0.8113, abs=0.01)  # the entropy of 1/4 and 3/4
    # Others are as they were.
    assert torch.equal(counted.tables.table(6), fresh.tables.table(6))


def test_bits_before_and_after_rounding_to_integers_are_the_same(fresh: CountedTables) -> None:
    symbols = torch.arange(-2000, 2001)
    for index in (0, 30, SCALES + 50):
        which = torch.full_like(symbols, index)
        rounded = fresh.tables.bits(symbols, which)
        common = rounded < 15
        torch.testing.assert_close(
            fresh.bits(symbols, which)[common], rounded[common], rtol=1e-3, atol=1e-4
        )


def test_prices_are_the_bits_of_tables(fresh: CountedTables) -> None:
    scales = torch.tensor([[3, 40, SCALES - 1]])
    prices = fresh.prices()
    for quantiser in (0, 1):
        for symbol in (-1, 0, 1):
            found = prices.bits[quantiser][prices.middle[scales] + symbol]
            expected = fresh.bits(torch.full_like(scales, symbol), SCALES * quantiser + scales)
            torch.testing.assert_close(found, expected)


def test_a_copy_from_a_state_dict_has_the_same_tables_without_a_call(fresh: CountedTables) -> None:
    counted = copy.deepcopy(fresh)
    symbols = torch.randint(-3, 4, (1000,))
    counted.count(symbols, torch.full_like(symbols, 20))
    state = counted.state_dict()
    other = CountedTables()
    other.load_state_dict(state)
    assert torch.equal(other.tables.frequencies, counted.tables.frequencies)
    assert torch.equal(other.counts, counted.counts)


def test_old_counts_fade(fresh: CountedTables) -> None:
    counted = copy.deepcopy(fresh)
    ones, which = torch.ones(1000).long(), torch.zeros(1000).long()
    counted.count(ones, which)
    for _ in range(500):
        counted.count(torch.zeros(1000).long(), which)
    shares = counted.tables.table(0)
    assert shares[1 + counted.reach[0] + 1] / 2**24 < 0.002
