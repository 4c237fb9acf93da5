"""The symbols along the trellis that cost least."""

import os
import shutil
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from sar_codec.entropy import lanes
from sar_codec.entropy.integer import FRACTION
from sar_codec.entropy.tables import LARGEST_VALUE
from sar_codec.entropy.trellis import (
    BEFORE,
    BIT,
    ESCAPE_BITS,
    LONG,
    QUIET,
    SHORT,
    half_points,
    quantisers_of,
)


class Prices(NamedTuple):
    """What symbols would cost.

    Attributes:
        bits: of the symbols of all scales, `(2, N)`, float32: a row for each quantiser.
        middle: where in a row symbol 0 of each scale is, `(scales,)`, int64.
        reach: how far its table goes to both sides, likewise.
    """

    bits: Tensor
    middle: Tensor
    reach: Tensor


class Quantised(NamedTuple):
    """What values become, all int64 of their shape.

    Attributes:
        symbols: what is coded.
        tables: the number of each one's table: `scales` x quantiser + scale.
        points: what they stand for, in half steps.
    """

    symbols: Tensor
    tables: Tensor
    points: Tensor


class Around(NamedTuple):
    """What values become that are quantised around their means.

    Attributes:
        symbols: `(length, lanes)`, int32 or int64.
        tables: the number of each one's table, int16 or int64.
        decoded: values as the decoder has them, float64, in units of 1/32, `(B, n)`.
    """

    symbols: Tensor
    tables: Tensor
    decoded: Tensor


@torch.no_grad()
def quantised_around(values: Tensor, means: Tensor, indices: Tensor, prices: Prices) -> Around:
    """Symbols with the least sum of squared errors and bits, of lanes through the long trellis.

    A lane is values that follow one another in memory. The search is the host's, wherever they are.

    Args:
        values: of images, `(B, n)`, float32, in steps; what is no number becomes its mean.
        means: of these, int32, in units of 1/32.
        indices: of their scales, likewise; the last lane of an image is filled up with zeros of
            scale 0.
        prices: of symbols.
    """
    given = (each.cpu().contiguous().numpy() for each in (values, means, indices, *prices))
    return Around(*(torch.from_numpy(each).to(values.device) for each in lanes.encode(*given)))


def quantised_in_training(values: Tensor, scales: Tensor, prices: Prices) -> Around:
    """As `quantised_around`, of means of 0; on a GPU by `quantised_there`.

    Args:
        values: of images, `(B, n)`, float32, in steps.
        scales: of these, int64.
        prices: of symbols.
    """
    if values.device.type != "cpu":
        return quantised_there(values, scales, prices)
    indices = (FRACTION * scales).int()
    return quantised_around(values, torch.zeros_like(indices), indices, prices)


def quantised_there(values: Tensor, scales: Tensor, prices: Prices) -> Around:
    """Lanes through a trellis where values are; else as `quantised_in_training`.

    It is the long one where a GPU has a kernel, see `has_kernel`, which makes no one wait. By
    tensors' functions it is the short one, and even that takes many times as long.
    """
    off = values.nan_to_num(0).clamp(-LARGEST_VALUE, LARGEST_VALUE)
    is_long = values.is_cuda and has_kernel()
    length = (LONG if is_long else SHORT).length
    given = in_lanes(off, length), in_lanes(scales, length)
    if is_long:
        from sar_codec.entropy import trellis_kernel

        coded = Quantised(*trellis_kernel.searched(*given, *prices))
    else:
        coded = of_tensors(*given, prices)
    decoded = out_of_lanes(coded.points, values).double() * (FRACTION // 2)
    return Around(coded.symbols, coded.tables, decoded)


def in_lanes(x: Tensor, length: int) -> Tensor:
    """The sequences that the trellis runs along: `(B, ...)` -> `(length, lanes)`.

    A lane is numbers that follow one another in an image, as they lie in memory; the last one is
    filled up with zeros.
    """
    flat = x.flatten(1)
    padded = functional.pad(flat, (0, -flat.shape[1] % length))
    return padded.reshape(-1, length).T.contiguous()


def out_of_lanes(lanes: Tensor, like: Tensor) -> Tensor:
    """The inverse of `in_lanes`, of the shape of `like`."""
    return lanes.T.reshape(len(like), -1)[:, : like[0].numel()].reshape(like.shape)


def of_tensors(values: Tensor, scales: Tensor, prices: Prices) -> Quantised:
    """Symbols with the least sum of squared errors and bits, of paths through the short trellis.

    Args:
        values: `(L, n)`, float32, in steps: n sequences, each of L values.
        scales: of each value, int64.
        prices: of symbols of these scales.
    """
    active = (values.abs().amax(0) >= QUIET).nonzero()[:, 0]
    symbols = torch.zeros_like(values, dtype=torch.int64)
    symbols[:, active] = _searched(values[:, active], scales[:, active], prices)
    quantisers = quantisers_of(symbols, SHORT)
    tables = len(prices.middle) * quantisers + scales
    return Quantised(symbols, tables, half_points(symbols, quantisers))


@cache
def has_kernel() -> bool:
    """Whether Triton is installed, and what it builds launchers with: a C compiler."""
    compilers = os.environ.get("CC"), *map(shutil.which, ("cc", "gcc", "clang"))
    return find_spec("triton") is not None and any(compilers)


def _searched(values: Tensor, scales: Tensor, prices: Prices) -> Tensor:
    sizes, signs = values.abs(), torch.where(values < 0, -1.0, 1.0)  # of zeros, as of others
    # A symbol s of the first quantiser is the point s, one of the second s - sign(s) / 2.
    symbols = torch.stack(
        [
            2 * (sizes / 2).round(),
            2 * (sizes / 2).floor() + 1,
            2 * ((sizes + 0.5) / 2).round(),
            2 * ((sizes - 0.5).clamp_min(0) / 2).round() + 1,
        ],
        1,
    )  # (L, 4, n): the nearest of each branch
    middle, reach = prices.middle[scales], prices.reach[scales]
    costs = torch.empty_like(symbols)
    for branch in range(4):
        size = symbols[:, branch]
        point = size if branch < 2 else (size - 0.5).clamp_min(0)
        bits = _bits((size * signs).long(), prices.bits[branch // 2], middle, reach)
        costs[:, branch] = (sizes - point).square_().add_(bits, alpha=BIT)
    return (_cheapest(symbols, costs) * signs).long()


def _bits(symbols: Tensor, bits: Tensor, middle: Tensor, reach: Tensor) -> Tensor:
    held = torch.minimum(torch.maximum(symbols, -reach), reach)
    return bits.take(middle + held).add_(held != symbols, alpha=ESCAPE_BITS)


def _cheapest(symbols: Tensor, costs: Tensor) -> Tensor:
    """The symbols along the cheapest path: Viterbi's algorithm. `(L, 4, n)` twice -> `(L, n)`."""
    length, _, count = costs.shape
    before = torch.tensor(BEFORE, device=costs.device)  # (8, 2, 2)
    (first, first_branch), (second, second_branch) = before.permute(1, 2, 0)
    totals = costs.new_full((len(BEFORE), count), torch.inf)
    totals[0] = 0
    one, other, branches = (torch.empty_like(totals) for _ in range(3))
    is_second = torch.empty(length, len(BEFORE), count, dtype=torch.bool, device=costs.device)
    for step in range(length):
        for result, state, branch in ((one, first, first_branch), (other, second, second_branch)):
            torch.index_select(totals, 0, state, out=result)
            result += torch.index_select(costs[step], 0, branch, out=branches)
        torch.lt(other, one, out=is_second[step])
        torch.minimum(one, other, out=totals)
    chosen = torch.empty_like(symbols[:, 0])
    state = totals.argmin(0)
    for step in range(length - 1, -1, -1):
        back = before[state, is_second[step].gather(0, state[None])[0].long()]  # (n, 2)
        chosen[step] = symbols[step].gather(0, back[None, :, 1])[0]
        state = back[:, 0]
    return chosen
