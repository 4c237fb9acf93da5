import pytest
import torch

from sar_codec.entropy.tables import (
    ESCAPE,
    PRECISION,
    IntegerTables,
    escape_class,
    frequencies,
)


@pytest.mark.parametrize(
    "probabilities",
    [
        torch.tensor([1.0]),
        torch.tensor([0.0, 1.0]),
        torch.tensor([1.0, 0.0, 0.0, 1e-30]),
        torch.rand(1000, generator=torch.Generator().manual_seed(0)) ** 8,
        torch.ones(2**16),
        torch.rand(3, 100, generator=torch.Generator().manual_seed(0)) ** 8,
    ],
)
def test_frequencies_are_positive_sum_up_and_are_in_proportion(probabilities: torch.Tensor) -> None:
    found = frequencies(probabilities)
    assert (found.sum(-1) == 2**PRECISION).all()
    assert found.min() >= 1
    share = probabilities.double() / probabilities.double().sum(-1, keepdim=True)
    assert (found - share * 2**PRECISION).abs().max() <= found.shape[-1]


@pytest.fixture
def tables() -> IntegerTables:
    """One for -2 to 2 and one for 5 to 7."""
    tables = IntegerTables([6, 4])
    tables.fill(0, -2, torch.tensor([0.1, 0.2, 0.4, 0.2, 0.05], dtype=torch.float64))
    tables.fill(1, 5, torch.tensor([0.25, 0.5, 0.125], dtype=torch.float64))
    return tables


def test_tables_of_one_length_may_be_made_together() -> None:
    together, alone = (IntegerTables([6, 4, 4, 4]) for _ in range(2))
    made = torch.rand(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 4
    together.fill(1, torch.tensor([-1, 0, 7]), made)
    for number, lowest in enumerate((-1, 0, 7)):
        alone.fill(1 + number, lowest, made[number])
    assert torch.equal(together.frequencies, alone.frequencies)
    assert together.lowest.tolist() == alone.lowest.tolist() == [0, -1, 0, 7]
    for wrong in (2, 4):  # entries
        with pytest.raises(RuntimeError):
            together.fill(1, 0, made[:, :1].expand(-1, wrong))


def test_each_symbol_of_an_interval_has_its_entry_and_others_are_escapes(
    tables: IntegerTables,
) -> None:
    symbols = torch.tensor([-3, -2, 0, 2, 3, 4, 5, 7, 8])
    which = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1])
    entries = tables.entries(symbols, which)
    assert entries.tolist() == [ESCAPE, 1, 3, 5, ESCAPE, ESCAPE, 1, 3, ESCAPE]
    inside = entries != ESCAPE
    assert torch.equal(tables.symbols(entries, which)[inside], symbols[inside])


def test_what_lies_beyond_is_told_by_a_positive_number_without_gaps(tables: IntegerTables) -> None:
    above, below = torch.arange(8, 1000), torch.arange(4, -1000, -1)
    symbols = torch.cat([above, below])
    which = torch.ones_like(symbols)
    excess = tables.excess(symbols, which)
    assert sorted(excess.tolist())[:1980] == list(range(1, 1981))
    assert torch.equal(tables.beyond(excess, which), symbols)


def test_bits_are_those_of_the_frequencies_and_of_what_follows_an_escape(
    tables: IntegerTables,
) -> None:
    symbols = torch.tensor([6, 5, 8, 12])
    bits = tables.bits(symbols, torch.ones(4, dtype=torch.int64))
    # The escape has an eighth; beyond it, 8 is the 2nd, 12 the 10th: 1 and 3 bits after 5.
    torch.testing.assert_close(
        bits, torch.tensor([1, 2, 3 + 5 + 1, 3 + 5 + 3.0]), atol=1e-5, rtol=0
    )


def test_the_class_of_a_number_is_how_many_bits_follow_its_first() -> None:
    numbers = [1, 2, 3, 4, 7, 8, 2**30 - 1, 2**30]
    expected = [number.bit_length() - 1 for number in numbers]
    assert escape_class(torch.tensor(numbers)).tolist() == expected


def test_tables_are_part_of_a_checkpoint(tables: IntegerTables) -> None:
    other = IntegerTables([6, 4])
    other.load_state_dict(tables.state_dict())
    assert tables.state_dict().keys() == {"frequencies", "lowest"}
    assert torch.equal(other.table(1), tables.table(1))
