"""The search along the long trellis by two kernels for GPUs, where torch comes with Triton."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sar_codec.entropy.trellis import (
    BIT,
    ESCAPE_BITS,
    FAR,
    LONG,
    MASK_OF_NEXT,
    MASK_OF_QUANTISER,
    QUIET,
    STATE_BITS,
)

_PAIRS = len(LONG.quantisers) // 2  # of states that lead to the same two others
_LANES = 32  # that a program of the GPU follows back side by side


def searched(
    values: Tensor, scales: Tensor, bits: Tensor, middle: Tensor, reach: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Symbols, the numbers of their tables, and the points they stand for, in half steps.

    In between it takes 129 bytes of the GPU's memory for each value.

    Args:
        values: `(L, n)`, float32, in steps: n sequences, each of as many values as the trellis is
            long.
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
    if not count:
        return symbols, tables, points
    with torch.cuda.device_of(values):  # not on that which is the current one
        seconds, zeros = (
            torch.empty(length, count, each, dtype=torch.uint8, device=values.device)
            for each in (_PAIRS, 1)
        )
        ends = torch.empty(count, dtype=torch.int32, device=values.device)
        _search[(count,)](
            ends, seconds, zeros, values, scales, bits.contiguous(), middle, reach,
            count, bits.shape[1], length, BIT, ESCAPE_BITS, QUIET, FAR,
            MASK_OF_NEXT, MASK_OF_QUANTISER, _PAIRS, num_warps=1,
        )  # fmt: skip
        _follow_back[(triton.cdiv(count, _LANES),)](
            symbols, tables, points, ends, seconds, zeros, values, scales,
            count, len(middle), length,
            MASK_OF_NEXT, MASK_OF_QUANTISER, STATE_BITS, _PAIRS, _LANES, num_warps=1,
        )  # fmt: skip
    return symbols, tables, points


@triton.jit
def _sum_of_bits(state, MASK: tl.constexpr):
    """Of the eight bits of states, those in a mask, modulo two."""
    held = state & MASK
    held = held ^ (held >> 4)
    held = held ^ (held >> 2)
    return (held ^ (held >> 1)) & 1


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
    size, symbol, point, sign, bits, middle, reach,
    BIT: tl.constexpr, ESCAPE_BITS: tl.constexpr,
):  # fmt: skip
    signed = symbol * sign
    held = tl.minimum(tl.maximum(signed, -reach), reach)
    spent = tl.load(bits + middle + held.to(tl.int64))
    spent += tl.where(held != signed, ESCAPE_BITS, 0.0)
    return (size - point) * (size - point) + BIT * spent


@triton.jit
def _larger(one, other):
    return tl.maximum(one, other)


@triton.jit
def _cheaper(total, state, other_total, other_state):
    """Of two sums of costs; of equal ones, the first state's."""
    is_before = other_state < state
    is_other = (other_total < total) | ((other_total == total) & is_before)
    return tl.where(is_other, other_total, total), tl.where(is_other, other_state, state)


@triton.jit
def _search(
    ends, seconds, zeros, values, scales, bits, middles, reaches, count, row, length: tl.constexpr,
    BIT: tl.constexpr, ESCAPE_BITS: tl.constexpr, QUIET: tl.constexpr, FAR: tl.constexpr,
    MASK_OF_NEXT: tl.constexpr, MASK_OF_QUANTISER: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """Writes in which state the cheapest path of a lane ends, -1 if it is quiet, and which ways.

    A state is reached from two others, twice its lower seven bits and one more; and these lead to
    one more state, half of all further on: a butterfly. Of both, bits of `seconds` say whether the
    second way is the better one; those of `zeros`, of which quantisers 0 is instead of the nearest.
    """
    lane = tl.program_id(0).to(tl.int64)
    all_steps = tl.arange(0, length)
    # By Triton's own function of this kind it is not interpreted if it was imported before.
    largest = tl.reduce(tl.abs(tl.load(values + all_steps * count + lane)), 0, _larger)
    if largest < QUIET:
        tl.store(ends + lane, -1)
    else:
        pair = tl.arange(0, PAIRS)
        is_other = _sum_of_bits(2 * pair, MASK_OF_QUANTISER) == 1
        is_odd = _sum_of_bits(2 * pair, MASK_OF_NEXT) == 1
        begin = tl.where(tl.arange(0, 2 * PAIRS) == 0, 0.0, float("inf"))
        totals = tl.reshape(begin, (PAIRS, 2))
        other = bits + row
        for step in range(length):
            at = step * count + lane
            value = tl.load(values + at)
            scale = tl.load(scales + at)
            middle = tl.load(middles + scale)
            reach = tl.load(reaches + scale).to(tl.float32)
            size = tl.abs(value)
            sign = tl.where(value < 0, -1.0, 1.0)
            even, below_odd, even_half, below_odd_half = _nearest(size)
            odd, odd_half = below_odd + 1, below_odd_half + 1
            half_point = tl.maximum(even_half - 0.5, 0.0)
            cost0 = _cost(size, even, even, sign, bits, middle, reach, BIT, ESCAPE_BITS)
            cost1 = _cost(size, odd, odd, sign, bits, middle, reach, BIT, ESCAPE_BITS)
            cost2 = _cost(size, even_half, half_point, sign, other, middle, reach, BIT, ESCAPE_BITS)
            cost3 = _cost(
                size, odd_half, odd_half - 0.5, sign, other, middle, reach, BIT, ESCAPE_BITS
            )
            far = tl.where(size < FAR, 0.0, float("inf"))
            zero0 = far + size * size + BIT * tl.load(bits + middle)
            zero2 = far + size * size + BIT * tl.load(other + middle)
            is_zero = tl.where(zero0 < cost0, 1, 0) | tl.where(zero2 < cost2, 2, 0)
            tl.store(zeros + at, is_zero.to(tl.uint8))
            cost0, cost2 = tl.minimum(cost0, zero0), tl.minimum(cost2, zero2)
            of_even, of_odd = tl.where(is_other, cost2, cost0), tl.where(is_other, cost3, cost1)
            one, two = tl.where(is_odd, of_odd, of_even), tl.where(is_odd, of_even, of_odd)
            from_even, from_odd = tl.split(totals)
            near_first, near_second = from_even + one, from_odd + two
            far_first, far_second = from_even + two, from_odd + one
            chosen = tl.where(near_second < near_first, 1, 0)
            chosen |= tl.where(far_second < far_first, 2, 0)
            tl.store(seconds + at * PAIRS + pair, chosen.to(tl.uint8))
            near = tl.minimum(near_first, near_second)
            totals = tl.join(near, tl.minimum(far_first, far_second))
            totals = tl.reshape(tl.trans(totals), (PAIRS, 2))
        states = tl.arange(0, 2 * PAIRS)
        _, end = tl.reduce((tl.reshape(totals, (2 * PAIRS,)), states), 0, _cheaper)
        tl.store(ends + lane, end)


@triton.jit
def _follow_back(
    symbols, tables, points, ends, seconds, zeros, values, scales,
    count, scale_count, length,
    MASK_OF_NEXT: tl.constexpr, MASK_OF_QUANTISER: tl.constexpr, STATE_BITS: tl.constexpr,
    PAIRS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    lane = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    valid = lane < count
    reached = tl.load(ends + lane, mask=valid, other=-1)
    is_quiet = reached < 0
    reached = tl.maximum(reached, 0)
    for back in range(length):
        at = (length - 1 - back) * count + lane
        value = tl.load(values + at, mask=valid, other=0.0)
        scale = tl.load(scales + at, mask=valid, other=0)
        zero = tl.load(zeros + at, mask=valid, other=0).to(tl.int32)
        pair, is_far = reached & (PAIRS - 1), reached >> (STATE_BITS - 1)
        chosen = tl.load(seconds + at * PAIRS + pair, mask=valid, other=0).to(tl.int32)
        reached = 2 * pair + ((chosen >> is_far) & 1)
        parity = _sum_of_bits(reached, MASK_OF_NEXT) ^ is_far
        quantiser = _sum_of_bits(reached, MASK_OF_QUANTISER)
        even, below_odd, even_half, below_odd_half = _nearest(tl.abs(value))
        of_first = tl.where(parity == 0, even, below_odd)
        of_second = tl.where(parity == 0, even_half, below_odd_half)
        size = tl.where(quantiser == 0, of_first, of_second).to(tl.int64) + parity
        is_zero = ((zero >> quantiser) & 1) > parity
        size = tl.where(is_quiet | is_zero, 0, size)
        quantiser = tl.where(is_quiet, 0, quantiser)
        sign = tl.where(value < 0, -1, 1)
        tl.store(symbols + at, sign * size, mask=valid)
        tl.store(tables + at, scale_count * quantiser + scale, mask=valid)
        tl.store(points + at, sign * tl.maximum(2 * size - quantiser, 0), mask=valid)
