"""Sequences along the trellis, side by side: their search and their decoding, compiled."""

import numpy as np
from numpy.typing import NDArray

from sar_codec.entropy.butterflies import STATES, UNIT, WIDTH, advance, lower, step_back, weigh
from sar_codec.entropy.compiled import compiled
from sar_codec.entropy.integer import FRACTION
from sar_codec.entropy.range_coder import State
from sar_codec.entropy.runs import Columns, Numbers, Symbols
from sar_codec.entropy.runs import take as take_step
from sar_codec.entropy.tables import LARGEST_VALUE
from sar_codec.entropy.trellis import (
    BIT,
    ESCAPE_BITS,
    LONG,
    QUANTISERS,
    QUIET,
    STATE_BITS,
)

Floats = NDArray[np.float32]
Whole = NDArray[np.int32]
Exact = NDArray[np.float64]
Sums = NDArray[np.int16]  # of costs
Work = tuple[Sums, Sums, NDArray[np.uint32], Whole, NDArray[np.uint8]]

_LENGTH = LONG.length
# Sums of costs are of 16 bits. From the best of all states eight steps lead to any other, so sums
# differ by 2^13 at most, and eight steps later, when the least is subtracted again, none is beyond
# 2^14. States that cannot be yet begin with that, and are reached after the first eight.
_UNIT = np.float32(UNIT)
_UNREACHED = 2**14
_BRANCHES = 2 * QUANTISERS
_BIT, _ESCAPE_BITS, _QUIET = np.float32(BIT), np.float32(ESCAPE_BITS), np.float32(QUIET)
_ZERO = np.float32(0)
_LARGEST = np.float32(LARGEST_VALUE)
_FINE, _HALF_STEP = np.float32(1 / FRACTION), FRACTION // 2
_FRACTION_BITS = FRACTION.bit_length() - 1
_BESIDE = 16  # steps of each lane at a time; lengths are multiples of it


@compiled
def encode(
    values: Floats, means: Whole, indices: Whole, bits: Floats, middles: Symbols, reaches: Symbols
) -> tuple[Whole, Numbers, Exact]:
    """As `search.quantised_around`, which says what is given and what comes of it."""
    images, size = values.shape
    each = (size + _LENGTH - 1) // _LENGTH
    count, tables_each = images * each, len(middles)
    symbols = np.zeros((_LENGTH, count), np.int32)
    numbers = np.empty((_LENGTH, count), np.int16)
    for first in range(0, _LENGTH, _BESIDE):
        _scales(indices, first, _LENGTH, tables_each, numbers[first : first + _BESIDE])
    decoded = np.empty((images, size), np.float64)
    prices, zeros_at = _priced(bits, middles, reaches)
    off = np.zeros((_LENGTH, WIDTH), np.float32)
    at, reach = np.zeros((_LENGTH, WIDTH), np.int32), np.zeros((_LENGTH, WIDTH), np.int32)
    found, quantisers = np.empty((_LENGTH, WIDTH), np.int32), np.empty((_LENGTH, WIDTH), np.int32)
    work = _room()
    lanes, waiting = np.empty(WIDTH, np.int64), 0
    for lane in range(count):
        image, start = lane // each, lane % each * _LENGTH
        held = min(_LENGTH, size - start)
        is_loud = False
        for step in range(held):
            decoded[image, start + step] = means[image, start + step]
            far = abs(values[image, start + step] - np.float32(means[image, start + step]) * _FINE)
            is_loud |= far >= _QUIET
        # Of a quiet one, zeros lead from the first state to itself.
        if is_loud:
            for step in range(held):
                off[step, waiting] = _off(values[image, start + step], means[image, start + step])
                scale = _scale(indices[image, start + step], tables_each)
                at[step, waiting], reach[step, waiting] = zeros_at[scale], reaches[scale]
            for step in range(held, _LENGTH):
                off[step, waiting] = 0
                at[step, waiting], reach[step, waiting] = zeros_at[0], reaches[0]
            lanes[waiting] = lane
            waiting += 1
        if waiting == WIDTH or (waiting and lane == count - 1):
            _search(off, at, reach, prices, found, quantisers, work)
            for step in range(_LENGTH):
                for place in range(waiting):
                    symbols[step, lanes[place]] = found[step, place]
                    numbers[step, lanes[place]] += quantisers[step, place] * tables_each
            for place in range(waiting):
                image, start = lanes[place] // each, lanes[place] % each * _LENGTH
                for step in range(min(_LENGTH, size - start)):
                    point = _half_points(found[step, place], quantisers[step, place])
                    decoded[image, start + step] += point * _HALF_STEP
            waiting = 0
    return symbols, numbers, decoded


@compiled
def _off(value: np.float32, mean: int) -> np.float32:
    """How far a value is off its mean; 0 if it is no number."""
    off = value - np.float32(mean) * _FINE
    return min(max(off, -_LARGEST), _LARGEST) if off == off else _ZERO


@compiled
def _room() -> Work:
    return (
        np.empty((2 * STATES, WIDTH), np.int16),
        np.empty((_BRANCHES, WIDTH), np.int16),
        np.empty((_LENGTH, STATES), np.uint32),
        np.empty((1, WIDTH), np.int32),
        np.empty((_LENGTH, WIDTH), np.uint8),
    )


@compiled
def _priced(bits: Floats, middles: Symbols, reaches: Symbols) -> tuple[Floats, Whole]:
    """What symbols cost, in units of sums; and where 0 of each scale is.

    At both ends of each scale there is one more: what is beyond.
    """
    zeros_at = np.empty(len(middles), np.int32)
    end = 0
    for scale in range(len(middles)):
        zeros_at[scale] = end + reaches[scale] + 1
        end += 2 * reaches[scale] + 3
    prices = np.empty((QUANTISERS, end), np.float32)
    for scale in range(len(middles)):
        reach = reaches[scale]
        for quantiser in range(QUANTISERS):
            for symbol in range(-reach - 1, reach + 2):
                held = min(max(symbol, -reach), reach)
                spent = bits[quantiser, middles[scale] + held] + (held != symbol) * _ESCAPE_BITS
                prices[quantiser, zeros_at[scale] + symbol] = spent * _BIT * _UNIT
    return prices, zeros_at


@compiled
def _search(
    values: Floats,
    at: Whole,
    reaches: Whole,
    prices: Floats,
    symbols: Whole,
    quantisers: Whole,
    work: Work,
) -> None:
    """Writes the symbols of lanes side by side, `(L, WIDTH)`, and the quantiser each is of.

    Args:
        values: less their means.
        at: where the price of 0 is, of each one's scale.
        reaches: how far its prices go to both sides, without what is beyond.
        prices: of both quantisers.
        symbols: to be written.
        quantisers: likewise.
        work: room for what is in between.
    """
    both, costs, seconds, ends, zeros = work
    totals, following = both[:STATES], both[STATES:]
    for state in range(STATES):
        for lane in range(WIDTH):
            totals[state, lane] = _UNREACHED if state else 0
    for step in range(_LENGTH):
        weigh(step, values, at, reaches, prices, zeros, costs)  # type: ignore[call-arg]  # Numba gives the first
        advance(totals, following, costs, seconds[step])
        totals, following = following, totals
        if step % STATE_BITS == STATE_BITS - 1:
            lower(totals)
    for lane in range(WIDTH):
        best = 0
        for state in range(STATES):
            if totals[state, lane] < totals[best, lane]:
                best = state
        ends[0, lane] = best
    for step in range(_LENGTH - 1, -1, -1):
        step_back(step, ends, seconds, values, zeros, symbols, quantisers)  # type: ignore[call-arg]  # likewise


@compiled
def _scales(indices: Whole, first: int, length: int, tables_each: int, scales: Numbers) -> None:
    """Writes the scales of some steps of all lanes, `(steps, lanes)`; 0 where lanes are filled up.

    Steps of a lane lie side by side in memory, lanes far from each other.
    """
    size = indices.shape[1]
    each = (size + length - 1) // length
    for lane in range(scales.shape[1]):
        image, start = lane // each, lane % each * length + first
        for step in range(len(scales)):
            inside = start + step < size
            scales[step, lane] = _scale(indices[image, start + step], tables_each) if inside else 0


@compiled
def _scale(index: int, count: int) -> int:
    """The nearest whole index of one in units of 1/32."""
    return min(max((index + FRACTION // 2) >> _FRACTION_BITS, 0), count - 1)


@compiled
def _half_points(symbol: int, quantiser: int) -> int:
    return 2 * symbol - ((symbol > 0) - (symbol < 0)) * quantiser


@compiled
def decode(
    state: State,
    words: NDArray[np.uint32],
    means: Whole,
    indices: Whole,
    following: Symbols,
    quantisers: Symbols,
    length: int,
    tables: Columns,
    decoded: Exact,
) -> bool:
    """Writes what `encode` gave as decoded values; whether an encoder may have written them.

    Args:
        state: of the decoder, which it moves on.
        words: of the stream.
        means: as given to `encode`.
        indices: likewise.
        following: of the trellis, and so are the two after it.
        quantisers: of its states.
        length: of a lane.
        tables: of the first quantiser, then those of the second.
        decoded: to be written, `(B, n)`.
    """
    images, size = means.shape
    each = (size + length - 1) // length
    count = images * each
    tables_each = len(tables.starts) // QUANTISERS
    states = np.zeros(count, np.int64)
    which, symbols = np.empty(count, np.int16), np.empty(count, np.int64)
    scales, points = np.zeros((_BESIDE, count), np.int16), np.empty((_BESIDE, count), np.int64)
    for first in range(0, length, _BESIDE):
        _scales(indices, first, length, tables_each, scales)
        for step in range(_BESIDE):
            for lane in range(count):
                which[lane] = scales[step, lane] + tables_each * quantisers[states[lane]]
            if not take_step(state, words, which, tables, symbols):
                return False
            for lane in range(count):
                points[step, lane] = _half_points(symbols[lane], quantisers[states[lane]])
                states[lane] = following[states[lane], symbols[lane] & 1]
        for lane in range(count):
            image, start = lane // each, lane % each * length + first
            for step in range(min(_BESIDE, size - start)):
                place = start + step
                decoded[image, place] = points[step, lane] * _HALF_STEP + means[image, place]
    return True
