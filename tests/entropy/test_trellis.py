import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor
from viterbi import beyond_the_cheapest

from sar_codec.entropy.counted import CountedTables
from sar_codec.entropy.gaussian import REACHES, SCALES, gaussian_tables, index_of, scale_of
from sar_codec.entropy.integer import FRACTION
from sar_codec.entropy.search import (
    Prices,
    Quantised,
    in_lanes,
    of_tensors,
    out_of_lanes,
    quantised_around,
    quantised_in_training,
    quantised_there,
)
from sar_codec.entropy.trellis import (
    BIT,
    LONG,
    QUIET,
    SHORT,
    Trellis,
    followed,
    half_points,
    quantisers_of,
)

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
    """As `of_tensors`, by the compiled search along the long trellis: an image a lane, no means."""
    length = len(values)
    steps = (FRACTION * scales.T).int().contiguous()
    found = quantised_around(values.T.contiguous(), torch.zeros_like(steps), steps, prices)
    points = (found.decoded.T / (FRACTION // 2)).long()
    return Quantised(found.symbols[:length].long(), found.tables[:length].long(), points)


BOTH = pytest.mark.parametrize(("search", "trellis"), [(compiled, LONG), (of_tensors, SHORT)])
Search = Callable[[Tensor, Tensor, Prices], Quantised]


def cost(values: Tensor, symbols: Tensor, prices: Prices) -> Tensor:
    """Squared errors and bits of symbols `(L, n)`, as the search weighs them: `(n,)`."""
    quantisers = quantisers_of(symbols, SHORT)
    errors = (values - half_points(symbols, quantisers) / 2) ** 2
    return (errors + BIT * prices.bits[quantisers, REACH + symbols]).sum(0)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_no_other_symbols_cost_less(scale: float) -> None:
    torch.manual_seed(0)
    values = scale * torch.randn(4, 50)
    prices = gaussian_prices(scale)
    symbols = of_tensors(values, torch.zeros_like(values).long(), prices).symbols
    found = cost(values, symbols, prices)
    others = torch.tensor(list(product(range(-2, 3), repeat=4))).T  # (4, 625)
    for lane in range(50):
        near = (others + values[:, lane, None].round()).long()
        of_others = cost(values[:, lane, None].expand(-1, 625), near, prices)
        # It only ever looks at the nearest point of each parity, which may cost a little.
        assert found[lane] <= of_others.min() + 0.3 * BIT


def settled(search: Search, trellis: Trellis, scale: float) -> tuple[Tensor, Tensor, float]:
    """Gaussian numbers, their points in steps, and the bits of each.

    By prices of how often symbols came, as counted tables have them.
    """
    torch.manual_seed(0)
    values = scale * torch.randn(trellis.length, 256_000 // trellis.length)
    prices = gaussian_prices(scale)
    for _ in range(3):
        symbols = search(values, torch.zeros_like(values).long(), prices).symbols
        quantisers = quantisers_of(symbols, trellis)
        counts = torch.zeros(2, 2 * REACH + 1)
        at = quantisers.flatten(), (symbols + REACH).flatten()
        counts.index_put_(at, torch.ones(symbols.numel()), accumulate=True)
        bits = -(counts / counts.sum(1, keepdim=True)).clamp_min(1e-6).log2()
        prices = prices._replace(bits=bits)
    spent = (counts * bits).sum() / symbols.numel()
    return values, half_points(symbols, quantisers) / 2, spent.item()


@pytest.mark.parametrize(
    ("search", "trellis", "beyond"), [(compiled, LONG, 0.08), (of_tensors, SHORT, 0.16)]
)
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 4.0])
def test_gaussian_numbers_take_fewer_bits_than_when_rounded(
    search: Search, trellis: Trellis, beyond: float, scale: float
) -> None:
    values, points, spent = settled(search, trellis, scale)
    # What any code needs for this error; numbers rounded one by one need 0.25 more at high rates.
    least = math.log2(scale / (values - points).square().mean().sqrt().item())
    assert spent - least < beyond


@pytest.mark.parametrize("scale", [0.2, 0.26, 0.4, 0.5, 1.0, 3.0])
def test_points_follow_numbers_as_far_as_is_said(scale: float) -> None:
    values, points, _ = settled(compiled, LONG, scale)
    share = ((values * points).mean() / values.square().mean()).item()
    assert followed(torch.tensor(scale)).item() == pytest.approx(share, abs=0.04)


def of_many_scales(length: int = 64, count: int = 300) -> tuple[Tensor, Tensor, Prices]:
    """Values `(length, count)`: most as their scales say, some far beyond, some lanes quiet."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.randint(SCALES, (length, count), generator=generator)
    values = scale_of(scales.float()) * torch.randn(length, count, generator=generator)
    values[:, ::7] = 0.5 * torch.rand(values[:, ::7].shape, generator=generator)
    values[3, ::5] *= 20
    values[5::3, 1::9] = 0
    values[9::5, ::11] = 2.0**26  # where float32 has no odd numbers
    tables = gaussian_tables()
    bits = 24 - tables.frequencies.double().log2().float()
    reach = torch.tensor(REACHES)
    return values, scales, Prices(torch.stack([bits, bits]), tables.starts + 1 + reach, reach)


@BOTH
def test_tables_and_points_are_those_of_the_quantisers(search: Search, trellis: Trellis) -> None:
    values, scales, prices = of_many_scales()
    found = search(values, scales, prices)
    quantisers = quantisers_of(found.symbols, trellis)
    assert torch.equal(found.tables, SCALES * quantisers + scales)
    assert torch.equal(found.points, half_points(found.symbols, quantisers))
    near = values.abs() < 1000
    assert (values - found.points / 2)[near].abs().max() <= 1.5


def test_the_compiled_search_finds_the_cheapest_path() -> None:
    values, scales, prices = of_many_scales(LONG.length, 20)
    values = values.clamp(-1000, 1000)
    values[:, 1], scales[:, 1] = 999.3, 0  # where all symbols cost as much as any may
    found = compiled(values, scales, prices)
    more = beyond_the_cheapest(found.symbols, values, scales, prices, most=4)
    is_loud = values.abs().amax(0) >= QUIET
    # Costs are rounded to 1/256 each.
    assert more[is_loud].abs().max() < 0.3


@pytest.mark.parametrize("size", [64, 200])
def test_without_a_kernel_a_gpu_quantises_along_the_short_trellis(size: int) -> None:
    tables = CountedTables()
    generator = torch.Generator().manual_seed(0)
    scales = torch.randint(SCALES, (50, size), generator=generator)
    values = 3 * torch.randn(50, size, generator=generator)
    values[3, 5] = float("nan")
    found = quantised_there(values, scales, tables.prices())
    expected = of_tensors(in_lanes(values.nan_to_num(0), 64), in_lanes(scales, 64), tables.prices())
    assert torch.equal(found.symbols, expected.symbols)
    assert torch.equal(found.tables, expected.tables)
    points = out_of_lanes(expected.points, values) / 2
    assert torch.equal(found.decoded / FRACTION, points.double())
    assert torch.equal(out_of_lanes(in_lanes(scales, 64), scales), scales)


def test_on_a_cpu_training_quantises_along_the_long_trellis() -> None:
    tables = CountedTables()
    torch.manual_seed(0)
    scales, values = torch.randint(SCALES, (3, 700)), 3 * torch.randn(3, 700)
    found = quantised_in_training(values, scales, tables.prices())
    indices = (FRACTION * scales).int()
    same = quantised_around(values, torch.zeros_like(indices), indices, tables.prices())
    assert found.symbols.shape == (LONG.length, 6)
    assert all(torch.equal(one, other) for one, other in zip(found, same, strict=True))


def test_states_tell_which_quantiser_comes_next() -> None:
    torch.manual_seed(0)
    symbols = torch.randint(-3, 4, (64, 30))
    found = quantisers_of(symbols, SHORT)
    leads = {0: (0, 2), 1: (5, 7), 2: (1, 3), 3: (6, 4), 4: (2, 0), 5: (4, 6), 6: (3, 1), 7: (7, 5)}
    for lane in range(30):
        state = 0
        for step in range(64):
            assert found[step, lane] == state % 2
            state = leads[state][int(symbols[step, lane]) % 2]
    assert not found[0].any()
    assert 0.3 < found.float().mean() < 0.7


def test_the_long_trellis_is_the_code_of_its_parity_checks() -> None:
    """Of quantisers z0 and parities z1: sums of h0 z0 and h1 z1 are 0 at any step, modulo two."""
    torch.manual_seed(0)
    symbols = torch.randint(-3, 4, (300, 30))
    quantisers = quantisers_of(symbols, LONG)
    h0, h1 = ([int(bit) for bit in f"{octal:09b}"[::-1]] for octal in (0o515, 0o362))
    for step in range(8, 300):
        sums = torch.zeros(30, dtype=torch.int64)
        for back in range(9):
            sums += h0[back] * quantisers[step - back] + h1[back] * (symbols[step - back] & 1)
        assert not (sums % 2).any()


def test_points_of_the_second_quantiser_lie_between_those_of_the_first() -> None:
    symbols = torch.arange(-3, 4)
    assert half_points(symbols, torch.zeros(7).long()).tolist() == [-6, -4, -2, 0, 2, 4, 6]
    assert half_points(symbols, torch.ones(7).long()).tolist() == [-5, -3, -1, 0, 1, 3, 5]


def test_zeros_stay_zeros_and_far_values_stay_near() -> None:
    prices = gaussian_prices(scale_of(torch.tensor(0.0)).item())
    values = torch.zeros(64, 3)
    values[5, 1], values[7, 2] = 1e6, -1e6
    symbols = compiled(values, torch.zeros_like(values).long(), prices).symbols
    assert not symbols[:, 0].any()
    points = half_points(symbols, quantisers_of(symbols, LONG)) / 2
    assert (points - values).abs().max() <= 1
    assert index_of(torch.tensor(1 / 8)).item() == 0


def test_no_values_at_all_give_no_symbols() -> None:
    none = torch.zeros(64, 0)
    assert compiled(none, none.long(), gaussian_prices(1)).symbols.shape == (64, 0)
