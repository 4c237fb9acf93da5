import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from sar_codec.entropy.counted import CountedTables
from sar_codec.entropy.gaussian import REACHES, SCALES, gaussian_tables, index_of, scale_of
from sar_codec.entropy.integer import FRACTION
from sar_codec.entropy.search import (
    Prices,
    Quantised,
    around_by_tensors,
    in_lanes,
    of_tensors,
    out_of_lanes,
    quantised_around,
)
from sar_codec.entropy.trellis import BIT, half_points, quantisers_of

REACH = 40


def gaussian_prices(scale: float) -> Prices:
    """As if symbols were points of a Gaussian density, of both quantisers."""
    symbols = torch.arange(-REACH, REACH + 1.0)
    bits = [
        -torch.softmax(-0.5 * ((symbols - symbols.sign() * q / 2) / scale) ** 2, 0).log2()
        for q in (0, 1)
    ]
    return Prices(torch.stack(bits), torch.tensor([REACH]), torch.tensor([REACH]))


def compiled(values: Tensor, scales: Tensor, prices: Prices) -> Quantised:
    """As `of_tensors`, by the compiled search: an image a lane, means of 0."""
    steps = (FRACTION * scales.T).int().contiguous()
    none = torch.zeros_like(steps)
    found = quantised_around(values.T.contiguous(), none, steps, len(values), prices)
    points = (found.decoded.T / (FRACTION // 2)).long()
    return Quantised(found.symbols.long(), found.tables.long(), points)


def searched(values: Tensor, prices: Prices) -> Tensor:
    return compiled(values, torch.zeros_like(values).long(), prices).symbols


def cost(values: Tensor, symbols: Tensor, prices: Prices) -> Tensor:
    """Squared errors and bits of symbols `(L, n)`, as the search weighs them: `(n,)`."""
    quantisers = quantisers_of(symbols)
    errors = (values - half_points(symbols, quantisers) / 2) ** 2
    return (errors + BIT * prices.bits[quantisers, REACH + symbols]).sum(0)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_no_other_symbols_cost_less(scale: float) -> None:
    torch.manual_seed(0)
    values = scale * torch.randn(4, 50)
    prices = gaussian_prices(scale)
    found = cost(values, searched(values, prices), prices)
    others = torch.tensor(list(product(range(-2, 3), repeat=4))).T  # (4, 625)
    for lane in range(50):
        near = (others + values[:, lane, None].round()).long()
        of_others = cost(values[:, lane, None].expand(-1, 625), near, prices)
        # It only ever looks at the nearest point of each parity, which may cost a little.
        assert found[lane] <= of_others.min() + 0.3 * BIT


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 4.0])
def test_gaussian_numbers_take_a_tenth_of_a_bit_less_than_when_rounded(scale: float) -> None:
    torch.manual_seed(0)
    values = scale * torch.randn(64, 4000)
    prices = gaussian_prices(scale)
    for _ in range(3):  # prices by how often symbols came, as counted tables have them
        symbols = searched(values, prices)
        quantisers = quantisers_of(symbols)
        counts = torch.zeros(2, 2 * REACH + 1)
        at = quantisers.flatten(), (symbols + REACH).flatten()
        counts.index_put_(at, torch.ones(symbols.numel()), accumulate=True)
        bits = -(counts / counts.sum(1, keepdim=True)).clamp_min(1e-6).log2()
        prices = prices._replace(bits=bits)
    spent = (counts * bits).sum() / symbols.numel()
    error = ((values - half_points(symbols, quantisers) / 2) ** 2).mean()
    # What any code needs for this error; numbers rounded one by one need 0.25 more at high rates.
    least = math.log2(scale / error.sqrt().item())
    assert spent.item() - least < 0.16


def of_many_scales() -> tuple[Tensor, Tensor, Prices]:
    """Values `(64, 300)`: most as their scales say, some far beyond, and some lanes quiet."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.randint(SCALES, (64, 300), generator=generator)
    values = scale_of(scales.float()) * torch.randn(64, 300, generator=generator)
    values[:, ::7] = 0.5 * torch.rand(64, 43, generator=generator)
    values[3, ::5] *= 20
    values[5::3, 1::9] = 0
    values[9::5, ::11] = 2.0**26  # where float32 has no odd numbers
    tables = gaussian_tables()
    bits = 24 - tables.frequencies.double().log2().float()
    reach = torch.tensor(REACHES)
    return values, scales, Prices(torch.stack([bits, bits]), tables.starts + 1 + reach, reach)


def test_the_compiled_search_finds_what_that_of_tensors_does() -> None:
    values, scales, prices = of_many_scales()
    found, expected = compiled(values, scales, prices), of_tensors(values, scales, prices)
    # Sums of costs may be rounded otherwise, and of two paths the other one be taken.
    same = (found.symbols == expected.symbols).all(0)
    assert same.float().mean() > 0.98
    assert all(torch.equal(a[:, same], b[:, same]) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("search", [compiled, of_tensors])
def test_tables_and_points_are_those_of_the_quantisers(search: Callable[..., Quantised]) -> None:
    values, scales, prices = of_many_scales()
    found = search(values, scales, prices)
    quantisers = quantisers_of(found.symbols)
    assert torch.equal(found.tables, SCALES * quantisers + scales)
    assert torch.equal(found.points, half_points(found.symbols, quantisers))
    near = values.abs() < 1000
    assert (values - found.points / 2)[near].abs().max() <= 1.5


@pytest.mark.parametrize("size", [64, 200])
def test_around_means_the_compiled_search_finds_what_that_of_tensors_does(size: int) -> None:
    """Which is what runs on a GPU."""
    tables = CountedTables()
    generator = torch.Generator().manual_seed(0)
    means = torch.randint(-900, 900, (50, size), generator=generator).int()
    indices = torch.randint(-50, SCALES * FRACTION + 50, (50, size), generator=generator).int()
    values = means / FRACTION + 3 * torch.randn(50, size, generator=generator)
    values[3, 5] = float("nan")
    given = values, means, indices, 64, tables.prices()
    found, expected = quantised_around(*given), around_by_tensors(*given)
    # Sums of costs may be rounded otherwise, and of two paths the other one be taken.
    same = (found.symbols == expected.symbols).all(0)
    assert same.float().mean() > 0.95
    assert torch.equal(found.tables.long()[:, same], expected.tables[:, same])
    decoded, others = (in_lanes(each.decoded, 64)[:, same] for each in (found, expected))
    assert torch.equal(decoded, others)
    assert torch.equal(out_of_lanes(in_lanes(means, 64), means), means)


def test_states_tell_which_quantiser_comes_next() -> None:
    torch.manual_seed(0)
    symbols = torch.randint(-3, 4, (64, 30))
    found = quantisers_of(symbols)
    leads = {0: (0, 2), 1: (5, 7), 2: (1, 3), 3: (6, 4), 4: (2, 0), 5: (4, 6), 6: (3, 1), 7: (7, 5)}
    for lane in range(30):
        state = 0
        for step in range(64):
            assert found[step, lane] == state % 2
            state = leads[state][int(symbols[step, lane]) % 2]
    assert not found[0].any()
    assert 0.3 < found.float().mean() < 0.7


def test_points_of_the_second_quantiser_lie_between_those_of_the_first() -> None:
    symbols = torch.arange(-3, 4)
    assert half_points(symbols, torch.zeros(7).long()).tolist() == [-6, -4, -2, 0, 2, 4, 6]
    assert half_points(symbols, torch.ones(7).long()).tolist() == [-5, -3, -1, 0, 1, 3, 5]


def test_zeros_stay_zeros_and_far_values_stay_near() -> None:
    prices = gaussian_prices(scale_of(torch.tensor(0.0)).item())
    values = torch.zeros(64, 3)
    values[5, 1], values[7, 2] = 1e6, -1e6
    symbols = searched(values, prices)
    assert not symbols[:, 0].any()
    points = half_points(symbols, quantisers_of(symbols)) / 2
    assert (points - values).abs().max() <= 1
    assert index_of(torch.tensor(1 / 8)).item() == 0


def test_no_values_at_all_give_no_symbols() -> None:
    assert searched(torch.zeros(64, 0), gaussian_prices(1)).shape == (64, 0)
