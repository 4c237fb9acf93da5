"""Sequences along the trellis, side by side: their search and their decoding, compiled."""

import numpy as np
from numpy.typing import NDArray

from sar_codec.entropy.compiled import compiled
from sar_codec.entropy.integer import FRACTION
from sar_codec.entropy.range_coder import State
from sar_codec.entropy.runs import Columns, Numbers, Symbols
from sar_codec.entropy.runs import take as take_step
from sar_codec.entropy.tables import LARGEST_VALUE
from sar_codec.entropy.trellis import (
    BEFORE,
    BIT,
    ESCAPE_BITS,
    NEXT,
    QUANTISERS,
    QUIET,
)

Floats = NDArray[np.float32]
Whole = NDArray[np.int32]
Exact = NDArray[np.float64]
Work = tuple[Floats, Floats, NDArray[np.uint8], Floats]

_NEXT = np.array(NEXT, np.int64)
_STATES, _BRANCHES = len(NEXT), 2 * QUANTISERS
# From here on, float32 has no odd numbers: what was meant to be one leads to another state.
_EVEN = np.float32(2**24)
_WIDTH = 16  # lanes that are searched side by side
_BEFORE = np.array(BEFORE, np.int64)  # (8, 2, 2)
_BIT, _ESCAPE_BITS, _QUIET = np.float32(BIT), np.float32(ESCAPE_BITS), np.float32(QUIET)
_HALF, _ONE, _ZERO, _TWO = (np.float32(each) for each in (0.5, 1, 0, 2))
_LARGEST = np.float32(LARGEST_VALUE)
_FINE, _HALF_STEP = np.float32(1 / FRACTION), FRACTION // 2


@compiled
def encode(
    values: Floats,
    means: Whole,
    indices: Whole,
    length: int,
    bits: Floats,
    middles: Symbols,
    reaches: Symbols,
) -> tuple[Whole, Numbers, Exact]:
    """As `search.quantised_around`, which says what is given and what comes of it."""
    images, size = values.shape
    each = (size + length - 1) // length
    count, tables_each = images * each, len(middles)
    symbols = np.zeros((length, count), np.int32)
    numbers = np.empty((length, count), np.int16)
    decoded = np.empty((images, size), np.float64)
    off, scales = np.zeros((length, _WIDTH), np.float32), np.zeros((length, _WIDTH), np.int32)
    found, quantisers = np.empty((length, _WIDTH), np.int32), np.empty((length, _WIDTH), np.int32)
    work = _room(length)
    lanes, waiting = np.empty(_WIDTH, np.int64), 0
    for lane in range(count):
        image, start = lane // each, lane % each * length
        held = min(length, size - start)
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
        if waiting == _WIDTH or (waiting and lane == count - 1):
            _search(off, scales, bits, middles, reaches, found, quantisers, work)
            for place in range(waiting):
                done = lanes[place]
                image, start = done // each, done % each * length
                for step in range(length):
                    symbol, quantiser = found[step, place], quantisers[step, place]
                    symbols[step, done] = symbol
                    numbers[step, done] += quantiser * tables_each
                    if start + step < size:
                        point = _half_points(symbol, quantiser) * _HALF_STEP
                        decoded[image, start + step] += point
            waiting = 0
    return symbols, numbers, decoded


@compiled
def _room(length: int) -> Work:
    return (
        np.empty((length, _BRANCHES, _WIDTH), np.float32),
        np.empty((_BRANCHES, _WIDTH), np.float32),
        np.empty((length, _WIDTH), np.uint8),
        np.empty((_STATES, _WIDTH), np.float32),
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
    """Writes the symbols of lanes side by side, `(L, width)`, and the quantiser each is of."""
    sizes, costs, ways, totals = work
    length = len(values)
    totals[:] = np.inf
    totals[0] = 0
    for step in range(length):
        for lane in range(_WIDTH):
            value, scale = values[step, lane], scales[step, lane]
            _weigh(
                value, bits, middles[scale], reaches[scale], sizes[step, :, lane], costs[:, lane]
            )
        for lane in range(_WIDTH):
            ways[step, lane] = _forward(totals[:, lane], costs[:, lane])
    for lane in range(_WIDTH):
        best = 0
        for state in range(_STATES):
            if totals[state, lane] < totals[best, lane]:
                best = state
        largest = _ZERO
        for step in range(length - 1, -1, -1):
            way = (ways[step, lane] >> best) & 1
            size = sizes[step, _BEFORE[best, way, 1], lane]
            largest = max(largest, size)
            best = _BEFORE[best, way, 0]
            symbols[step, lane] = np.int32(-size if values[step, lane] < 0 else size)
            quantisers[step, lane] = best & 1
        if largest >= _EVEN:
            state = 0
            for step in range(length):
                quantisers[step, lane] = state & 1
                state = _NEXT[state, symbols[step, lane] & 1]


@compiled
def _weigh(
    value: np.float32, bits: Floats, middle: int, reach: int, sizes: Floats, costs: Floats
) -> None:
    """Writes the size of the nearest symbol of each branch, and what it costs."""
    size, sign = abs(value), -1 if value < 0 else 1
    sizes[0] = _TWO * np.rint(size * _HALF)
    sizes[1] = _TWO * np.floor(size * _HALF) + _ONE
    sizes[2] = _TWO * np.rint((size + _HALF) * _HALF)
    sizes[3] = _TWO * np.rint(max(size - _HALF, _ZERO) * _HALF) + _ONE
    for branch in range(_BRANCHES):
        symbol = sizes[branch]
        held = np.int64(min(symbol, np.float32(reach)))
        spent = bits[branch // 2, middle + sign * held]
        if symbol > reach:
            spent += _ESCAPE_BITS
        point = symbol if branch < 2 else max(symbol - _HALF, _ZERO)
        off = size - point
        costs[branch] = off * off + _BIT * spent


@compiled
def _forward(totals: Floats, costs: Floats) -> np.uint8:
    """Moves the least sums of costs of all states one step on; bits tell which way each came."""
    sum_0, way_0 = _reached(0, totals, costs)
    sum_1, way_1 = _reached(1, totals, costs)
    sum_2, way_2 = _reached(2, totals, costs)
    sum_3, way_3 = _reached(3, totals, costs)
    sum_4, way_4 = _reached(4, totals, costs)
    sum_5, way_5 = _reached(5, totals, costs)
    sum_6, way_6 = _reached(6, totals, costs)
    sum_7, way_7 = _reached(7, totals, costs)
    totals[0], totals[1], totals[2], totals[3] = sum_0, sum_1, sum_2, sum_3
    totals[4], totals[5], totals[6], totals[7] = sum_4, sum_5, sum_6, sum_7
    return way_0 | way_1 | way_2 | way_3 | way_4 | way_5 | way_6 | way_7


@compiled
def _reached(state: int, totals: Floats, costs: Floats) -> tuple[np.float32, np.uint8]:
    """The least sum by which a state is reached, and its bit if that is by the second way."""
    one = totals[_BEFORE[state, 0, 0]] + costs[_BEFORE[state, 0, 1]]
    other = totals[_BEFORE[state, 1, 0]] + costs[_BEFORE[state, 1, 1]]
    is_second = other < one
    return other if is_second else one, np.uint8(is_second) << np.uint8(state)


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
        length: likewise.
        tables: of the first quantiser, then those of the second.
        decoded: to be written, `(B, n)`.
    """
    images, size = means.shape
    each = (size + length - 1) // length
    count = images * each
    tables_each = len(tables.starts) // QUANTISERS
    states = np.zeros(count, np.int64)
    which, symbols = np.empty(count, np.int16), np.empty(count, np.int64)
    for step in range(length):
        for lane in range(count):
            place = lane % each * length + step
            scale = 0
            if place < size:
                scale = _scale(indices[lane // each, place], tables_each)
            which[lane] = scale + tables_each * (states[lane] & 1)
        if not take_step(state, words, which, tables, symbols):
            return False
        for lane in range(count):
            symbol = symbols[lane]
            place = lane % each * length + step
            if place < size:
                point = _half_points(symbol, states[lane] & 1)
                decoded[lane // each, place] = point * _HALF_STEP + means[lane // each, place]
            states[lane] = _NEXT[states[lane], symbol & 1]
    return True
