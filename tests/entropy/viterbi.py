"""Viterbi's algorithm along the long trellis once more, in float64 and without anything clever."""

import math
from itertools import product

import torch
from torch import Tensor

from sar_codec.entropy.search import Prices
from sar_codec.entropy.trellis import BIT, ESCAPE_BITS, LONG, half_points, quantisers_of


def costs_of(
    symbols: Tensor, quantisers: Tensor, values: Tensor, scales: Tensor, prices: Prices
) -> Tensor:
    """Squared errors and bits of symbols of these quantisers, each by itself: float64."""
    middle, reach = prices.middle[scales], prices.reach[scales]
    held = torch.minimum(torch.maximum(symbols, -reach), reach)
    bits = prices.bits[quantisers, middle + held] + ESCAPE_BITS * (held != symbols)
    errors = (values - half_points(symbols, quantisers) / 2) ** 2
    return (errors + BIT * bits).double()


def beyond_the_cheapest(
    symbols: Tensor, values: Tensor, scales: Tensor, prices: Prices, most: float = math.inf
) -> Tensor:
    """How much more lanes of symbols cost than the cheapest path; all but these are `(L, n)`.

    Args:
        symbols: of values.
        values: float32.
        scales: of these.
        prices: of symbols.
        most: what a step is taken to cost that costs more.
    """
    spent = costs_of(symbols, quantisers_of(symbols, LONG), values, scales, prices)
    totals = torch.full((len(LONG.quantisers), values.shape[1]), torch.inf, dtype=torch.float64)
    totals[0] = 0
    for value, scale in zip(values, scales, strict=True):
        after = torch.full_like(totals, torch.inf)
        for number, parity in product((0, 1), (0, 1)):
            quantiser = torch.tensor(number)
            near = 2 * (value / 2).round().long() + parity + torch.tensor([[-2], [0], [2]])
            errors = (value - half_points(near, quantiser) / 2).abs()
            chosen = near.gather(0, errors.argmin(0)[None])[0]
            cost = costs_of(chosen, quantiser, value, scale, prices)
            if parity == 0:
                zero = costs_of(torch.zeros_like(chosen), quantiser, value, scale, prices)
                cost = torch.where((zero < cost) & (value.abs() < 2), zero, cost)
            states = torch.from_numpy(LONG.quantisers == number).nonzero()[:, 0]
            reached = torch.from_numpy(LONG.following)[states, parity]  # each of them once
            after[reached] = torch.minimum(after[reached], totals[states] + cost.clamp(max=most))
        totals = after
    return spent.clamp(max=most).sum(0) - totals.amin(0)
