"""Sequences along the trellis, side by side: their search and their decoding, compiled."""

import numpy as np
from numpy.typing import NDArray

from sar_codec.entropy.butterflies import STATES, WIDTH, advance, lower
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
    MASK_OF_NEXT,
    QUANTISERS,
    QUIET,
    STATE_BITS,
    sum_of_bits,
)

Floats = NDArray[np.float32]
Whole = NDArray[np.int32]
Exact = NDArray[np.float64]
Sums = NDArray[np.int16]  # of costs
Work = tuple[Sums, Sums, NDArray[np.uint32], Symbols, NDArray[np.uint8]]

_LENGTH = LONG.length
_QUANTISERS = LONG.quantisers
_SUMS_OF_NEXT = np.array([sum_of_bits(state, MASK_OF_NEXT) for state in range(STATES)])
# Costs are sums of 16 bits. A squared step is so many; what costs more than four of them is taken
# to cost that. From the best of all states eight steps lead to any other, so sums stay within 2^14
# for as long, and the least is subtracted after that. States that cannot be yet begin with as much.
_UNIT, _MOST = np.float32(256), np.float32(1023)
_UNREACHED = 2**14
_FAR = np.float32(2)  # that 0 is no choice any more; no symbol costs that much more than others
_BRANCHES = 2 * QUANTISERS
_BIT, _ESCAPE_BITS, _QUIET = np.float32(BIT), np.float32(ESCAPE_BITS), np.float32(QUIET)
_HALF, _ZERO = np.float32(0.5), np.float32(0)
_LARGEST = np.float32(LARGEST_VALUE)
_FINE, _HALF_STEP = np.float32(1 / FRACTION), FRACTION // 2
_BESIDE = 16  # steps; lengths are multiples of it


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
    decoded = np.empty((images, size), np.float64)
    off, scales = np.zeros((_LENGTH, WIDTH), np.float32), np.zeros((_LENGTH, WIDTH), np.int32)
    found, quantisers = np.empty((_LENGTH, WIDTH), np.int32), np.empty((_LENGTH, WIDTH), np.int32)
    work = _room()
    lanes, waiting = np.empty(WIDTH, np.int64), 0
    for lane in range(count):
        image, start = lane // each, lane % each * _LENGTH
        held = min(_LENGTH, size - start)
        largest = _ZERO
        for step in range(held):
            mean = means[image, start + step]
            value = values[image, start + step] - np.float32(mean) * _FINE
            value = min(max(value, -_LARGEST), _LARGEST) if value == value else _ZERO
            largest = max(largest, abs(value))
            scale = _scale(indices[image, start + step], tables_each)
            off[step, waiting] = value
            scales[step, waiting] = numbers[step, lane] = scale
            decoded[image, start + step] = mean
        off[held:, waiting] = 0
        scales[held:, waiting] = 0
        numbers[held:, lane] = 0
        # Of a quiet one, zeros lead from the first state to itself.
        if largest >= _QUIET:
            lanes[waiting] = lane
            waiting += 1
        if waiting == WIDTH or (waiting and lane == count - 1):
            _search(off, scales, bits, middles, reaches, found, quantisers, work)
            for place in range(waiting):
                done = lanes[place]
                image, start = done // each, done % each * _LENGTH
                for step in range(_LENGTH):
                    symbol, quantiser = found[step, place], quantisers[step, place]
                    symbols[step, done] = symbol
                    numbers[step, done] += quantiser * tables_each
                    if start + step < size:
                        point = _half_points(symbol, quantiser) * _HALF_STEP
                        decoded[image, start + step] += point
            waiting = 0
    return symbols, numbers, decoded


@compiled
def _room() -> Work:
    return (
        np.empty((2 * STATES, WIDTH), np.int16),
        np.empty((_BRANCHES, WIDTH), np.int16),
        np.empty((_LENGTH, STATES), np.uint32),
        np.empty(WIDTH, np.int64),
        np.empty((_LENGTH, WIDTH), np.uint8),
    )


@compiled
def _search(
    values: Floats,
    scales: Whole,
    bits: Floats,
    middles: Symbols,
    reaches: Symbols,
    symbols: Whole,
    quantisers: Whole,
    work: Work,
) -> None:
    """Writes the symbols of lanes side by side, `(L, WIDTH)`, and the quantiser each is of."""
    both, costs, seconds, ends, zeros = work
    totals, following = both[:STATES], both[STATES:]
    totals[:] = _UNREACHED
    totals[0] = 0
    for step in range(_LENGTH):
        for lane in range(WIDTH):
            value, scale = values[step, lane], scales[step, lane]
            middle, reach = middles[scale], reaches[scale]
            zeros[step, lane] = _weigh(value, bits, middle, reach, costs[:, lane])
        advance(totals, following, costs, seconds[step])  # type: ignore[call-arg]  # Numba gives the first
        totals, following = following, totals
        if step % STATE_BITS == STATE_BITS - 1:
            lower(totals)
    for lane in range(WIDTH):
        ends[lane] = totals[:, lane].argmin()
    for step in range(_LENGTH - 1, -1, -1):
        for lane in range(WIDTH):  # all of them a step back, as each has to wait for memory
            reached = ends[lane]
            is_second = (seconds[step, reached] >> np.uint32(lane)) & np.uint32(1)
            state = 2 * reached % STATES + np.int64(is_second)
            ends[lane] = state
            parity = _SUMS_OF_NEXT[state] ^ (reached >> (STATE_BITS - 1))
            quantiser = quantisers[step, lane] = _QUANTISERS[state]
            value, size = values[step, lane], 0
            if parity or not zeros[step, lane] >> quantiser & 1:
                inner = _inner(abs(value), quantiser)
                size = inner + ((inner & 1) ^ parity)
            symbols[step, lane] = -size if value < 0 else size


@compiled
def _weigh(value: np.float32, bits: Floats, middle: int, reach: int, costs: Sums) -> int:
    """Writes what the nearest symbols cost, one of each branch.

    Of those that are even, 0 is another choice, whose cost is written where it is less. Bits tell
    of which quantisers it is.
    """
    size, sign = abs(value), -1 if value < 0 else 1
    zeros = 0
    for quantiser in range(QUANTISERS):
        inner = _inner(size, quantiser)
        off = size - max(np.float32(inner) - _HALF * quantiser, _ZERO)
        beyond = np.float32(inner + 1) - _HALF * quantiser - size
        near = off * off + _price(bits[quantiser], middle, sign, reach, inner)
        far = beyond * beyond + _price(bits[quantiser], middle, sign, reach, inner + 1)
        even, odd = (far, near) if inner & 1 else (near, far)
        zero = size * size + _BIT * bits[quantiser, np.uint64(middle)]
        if zero < even and size < _FAR:
            even = zero
            zeros |= 1 << quantiser
        costs[2 * quantiser] = np.int16(min(even * _UNIT + _HALF, _MOST))
        costs[2 * quantiser + 1] = np.int16(min(odd * _UNIT + _HALF, _MOST))
    return zeros


@compiled
def _inner(size: np.float32, quantiser: int) -> int:
    """Of the two symbols whose points a value lies between, the one nearer to 0."""
    return int(size + _HALF * quantiser)


@compiled
def _price(bits: Floats, middle: int, sign: int, reach: int, symbol: int) -> np.float32:
    price = _BIT * bits[np.uint64(middle + sign * min(symbol, reach))]
    return price + _BIT * _ESCAPE_BITS if symbol > reach else price


@compiled
def _scale(index: int, count: int) -> int:
    """The nearest whole index of one in units of 1/32."""
    return min(max((index + FRACTION // 2) // FRACTION, 0), count - 1)


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
    # As many steps of each lane as lie side by side in memory; from lane to lane it is far.
    scales, points = np.zeros((_BESIDE, count), np.int16), np.empty((_BESIDE, count), np.int64)
    for first in range(0, length, _BESIDE):
        for lane in range(count):
            image, start = lane // each, lane % each * length + first
            for step in range(_BESIDE):
                inside = start + step < size
                index = indices[image, start + step] if inside else 0
                scales[step, lane] = _scale(index, tables_each)
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
