import math
from itertools import product

import pytest
import torch
from torch import Tensor

from sar_codec.entropy.gaussian import index_of, scale_of
from sar_codec.entropy.trellis import (
    BIT,
    Prices,
    after,
    half_points,
    quantised,
    quantiser_of,
    quantisers_of,
    start,
)

REACH = 40


def gaussian_prices(shape: tuple[int, ...], scale: float) -> Prices:
    """As if symbols were points of a Gaussian density, of both quantisers."""
    symbols = torch.arange(-REACH, REACH + 1.0)
    bits = [
        -torch.softmax(-0.5 * ((symbols - symbols.sign() * q / 2) / scale) ** 2, 0).log2()
        for q in (0, 1)
    ]
    full = torch.full(shape, float(REACH))
    return Prices(torch.stack(bits), full, full)


def searched(values: Tensor, prices: Prices) -> Tensor:
    return quantised(
        values,
        lambda lanes: Prices(prices.bits, prices.middle[:, lanes], prices.reach[:, lanes]),
    )


def cost(values: Tensor, symbols: Tensor, prices: Prices) -> Tensor:
    """Squared errors and bits of symbols `(L, n)`, as `quantised` weighs them: `(n,)`."""
    quantisers = quantisers_of(symbols)
    errors = (values - half_points(symbols, quantisers) / 2) ** 2
    return (errors + BIT * prices.bits[quantisers, REACH + symbols]).sum(0)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_no_other_symbols_cost_less(scale: float) -> None:
    torch.manual_seed(0)
    values = scale * torch.randn(4, 50)
    prices = gaussian_prices((4, 50), scale)
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
    prices = gaussian_prices((64, 4000), scale)
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


def test_states_tell_which_quantiser_comes_next() -> None:
    torch.manual_seed(0)
    symbols = torch.randint(-3, 4, (64, 30))
    state, quantisers = start(30, torch.device("cpu")), []
    for at_step in symbols:
        quantisers.append(quantiser_of(state))
        state = after(state, at_step)
    assert torch.equal(torch.stack(quantisers), quantisers_of(symbols))
    assert not quantisers[0].any()
    assert 0.3 < torch.stack(quantisers).float().mean() < 0.7


def test_points_of_the_second_quantiser_lie_between_those_of_the_first() -> None:
    symbols = torch.arange(-3, 4)
    assert half_points(symbols, torch.zeros(7).long()).tolist() == [-6, -4, -2, 0, 2, 4, 6]
    assert half_points(symbols, torch.ones(7).long()).tolist() == [-5, -3, -1, 0, 1, 3, 5]


def test_zeros_stay_zeros_and_far_values_stay_near() -> None:
    prices = gaussian_prices((64, 3), scale_of(torch.tensor(0.0)).item())
    values = torch.zeros(64, 3)
    values[5, 1], values[7, 2] = 1e6, -1e6
    symbols = searched(values, prices)
    assert not symbols[:, 0].any()
    points = half_points(symbols, quantisers_of(symbols)) / 2
    assert (points - values).abs().max() <= 1
    assert index_of(torch.tensor(1 / 8)).item() == 0


def test_no_values_at_all_give_no_symbols() -> None:
    assert searched(torch.zeros(64, 0), gaussian_prices((64, 0), 1)).shape == (64, 0)
