"""The search along the short trellis as one kernel for GPUs, where torch comes with Triton.

By tensors' functions it is some thousand launches for each batch, more than all else in training.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sar_codec.entropy.trellis import BEFORE, BIT, ESCAPE_BITS, QUIET

_LANES = 128  # that a program of the GPU searches side by side
_TWO = range(2)
# The states and branches before, three and two bits each: numbered twice the state plus which.
_STATES_BEFORE = sum(
    BEFORE[state][which][0] << 3 * (2 * state + which)
    for state in range(len(BEFORE))
    for which in _TWO
)
_BRANCHES_BEFORE = sum(
    BEFORE[state][which][1] << 2 * (2 * state + which)
    for state in range(len(BEFORE))
    for which in _TWO
)


def searched(
    values: Tensor, scales: Tensor, bits: Tensor, middle: Tensor, reach: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Symbols, the numbers of their tables, and the points they stand for, in half steps.

    Args:
        values: `(L, n)`, float32, in steps: n sequences, each of L values.
        scales: of each value, int64.
        bits: of the symbols of all scales, `(2, N)`, float32: a row for each quantiser.
        middle: where in a row symbol 0 of each scale is, int64.
        reach: how far its table goes to both sides, likewise.

    Returns:
        All int64, `(L, n)`.
    """
    length, count = values.shape
    values, scales = values.contiguous(), scales.contiguous()
    symbols, tables, points = (torch.empty_like(scales) for _ in range(3))
    seconds = torch.empty(length, count, dtype=torch.uint8, device=values.device)
    if not count:
        return symbols, tables, points
    with torch.cuda.device_of(values):  # not on that which is the current one
        _search[(triton.cdiv(count, _LANES),)](
            symbols, tables, points, seconds, values, scales, bits.contiguous(), middle, reach,
            count, bits.shape[1], len(middle), length, BIT, ESCAPE_BITS, QUIET,
            _STATES_BEFORE, _BRANCHES_BEFORE, _LANES,
        )  # fmt: skip
    return symbols, tables, points


@triton.jit
def _nearest(size):
    """The nearest symbol of each branch to a value of this size; of odd ones, 1 less.

    These are even: beyond 2^24, float32 has no odd numbers. Of two that are as near, it is the
    larger, where other searches take the even one.
    """
    even = 2 * tl.floor(size / 2 + 0.5)
    below_odd = 2 * tl.floor(size / 2)
    even_half = 2 * tl.floor((size + 0.5) / 2 + 0.5)
    below_odd_half = 2 * tl.floor(tl.maximum(size - 0.5, 0.0) / 2 + 0.5)
    return even, below_odd, even_half, below_odd_half


@triton.jit
def _cost(
    size, symbol, point, sign, bits, middle, reach, valid,
    BIT: tl.constexpr, ESCAPE_BITS: tl.constexpr,
):  # fmt: skip
    signed = symbol * sign
    held = tl.minimum(tl.maximum(signed, -reach), reach)
    spent = tl.load(bits + middle + held.to(tl.int64), mask=valid, other=0.0)
    spent += tl.where(held != signed, ESCAPE_BITS, 0.0)
    return (size - point) * (size - point) + BIT * spent


@triton.jit
def _search(
    symbols, tables, points, seconds, values, scales, bits,
    middles, reaches, count, row, scale_count, length,
    BIT: tl.constexpr, ESCAPE_BITS: tl.constexpr, QUIET: tl.constexpr,
    STATES_BEFORE: tl.constexpr, BRANCHES_BEFORE: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    lane = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    valid = lane < count
    none = tl.full([LANES], float("inf"), tl.float32)
    total0 = tl.full([LANES], 0.0, tl.float32)
    total1, total2, total3 = none, none, none
    total4, total5, total6, total7 = none, none, none, none
    largest = tl.full([LANES], 0.0, tl.float32)
    for step in range(length):
        at = step * count + lane
        value = tl.load(values + at, mask=valid, other=0.0)
        scale = tl.load(scales + at, mask=valid, other=0)
        middle = tl.load(middles + scale, mask=valid, other=0)
        reach = tl.load(reaches + scale, mask=valid, other=0).to(tl.float32)
        size = tl.abs(value)
        largest = tl.maximum(largest, size)
        sign = tl.where(value < 0, -1.0, 1.0)
        even, below_odd, even_half, below_odd_half = _nearest(size)
        odd, odd_half = below_odd + 1, below_odd_half + 1
        half_point = tl.maximum(even_half - 0.5, 0.0)
        cost0 = _cost(size, even, even, sign, bits, middle, reach, valid, BIT, ESCAPE_BITS)
        cost1 = _cost(size, odd, odd, sign, bits, middle, reach, valid, BIT, ESCAPE_BITS)
        other = bits + row
        cost2 = _cost(
            size, even_half, half_point, sign, other, middle, reach, valid, BIT, ESCAPE_BITS
        )
        cost3 = _cost(
            size, odd_half, odd_half - 0.5, sign, other, middle, reach, valid, BIT, ESCAPE_BITS
        )
        first0, second0 = total0 + cost0, total4 + cost1
        first1, second1 = total2 + cost0, total6 + cost1
        first2, second2 = total0 + cost1, total4 + cost0
        first3, second3 = total2 + cost1, total6 + cost0
        first4, second4 = total3 + cost3, total5 + cost2
        first5, second5 = total1 + cost2, total7 + cost3
        first6, second6 = total3 + cost2, total5 + cost3
        first7, second7 = total1 + cost3, total7 + cost2
        chosen = (
            (second0 < first0).to(tl.int32)
            | (second1 < first1).to(tl.int32) << 1
            | (second2 < first2).to(tl.int32) << 2
            | (second3 < first3).to(tl.int32) << 3
            | (second4 < first4).to(tl.int32) << 4
            | (second5 < first5).to(tl.int32) << 5
            | (second6 < first6).to(tl.int32) << 6
            | (second7 < first7).to(tl.int32) << 7
        )
        tl.store(seconds + at, chosen.to(tl.uint8), mask=valid)
        total0, total1 = tl.minimum(first0, second0), tl.minimum(first1, second1)
        total2, total3 = tl.minimum(first2, second2), tl.minimum(first3, second3)
        total4, total5 = tl.minimum(first4, second4), tl.minimum(first5, second5)
        total6, total7 = tl.minimum(first6, second6), tl.minimum(first7, second7)
    state = tl.full([LANES], 0, tl.int64)
    best = total0
    state, best = tl.where(total1 < best, 1, state), tl.minimum(total1, best)
    state, best = tl.where(total2 < best, 2, state), tl.minimum(total2, best)
    state, best = tl.where(total3 < best, 3, state), tl.minimum(total3, best)
    state, best = tl.where(total4 < best, 4, state), tl.minimum(total4, best)
    state, best = tl.where(total5 < best, 5, state), tl.minimum(total5, best)
    state, best = tl.where(total6 < best, 6, state), tl.minimum(total6, best)
    state = tl.where(total7 < best, 7, state)
    is_quiet = largest < QUIET
    for back in range(length):
        at = (length - 1 - back) * count + lane
        value = tl.load(values + at, mask=valid, other=0.0)
        scale = tl.load(scales + at, mask=valid, other=0)
        chosen = tl.load(seconds + at, mask=valid, other=0).to(tl.int64)
        which = 2 * state + ((chosen >> state) & 1)
        branch = (BRANCHES_BEFORE >> (2 * which)) & 3
        state = (STATES_BEFORE >> (3 * which)) & 7
        even, below_odd, even_half, below_odd_half = _nearest(tl.abs(value))
        of_first = tl.where(branch == 0, even, below_odd)
        of_second = tl.where(branch == 2, even_half, below_odd_half)
        size = tl.where(branch < 2, of_first, of_second).to(tl.int64) + (branch & 1)
        size = tl.where(is_quiet, 0, size)
        sign = tl.where(value < 0, -1, 1)
        quantiser = tl.where(is_quiet, 0, state & 1)
        tl.store(symbols + at, sign * size, mask=valid)
        tl.store(tables + at, scale_count * quantiser + scale, mask=valid)
        point = sign * tl.maximum(2 * size - quantiser, 0)
        tl.store(points + at, point, mask=valid)
