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
Work = tuple[Sums, Sums, NDArray[np.uint32]]

_LENGTH = LONG.length
_FOLLOWING, _QUANTISERS = LONG.following, LONG.quantisers
_SUMS_OF_NEXT = np.array([sum_of_bits(state, MASK_OF_NEXT) for state in range(STATES)])
# Costs are sums of 16 bits. A squared step is so many; what costs more than four of them is taken
# to cost that. From the best of all states eight steps lead to any other, so sums stay within 2^14
# for as long, and the least is subtracted after that. States that cannot be yet begin with as much.
_UNIT, _MOST = np.float32(256), np.float32(1023)
_UNREACHED = 2**14
_BRANCHES = 2 * QUANTISERS
# From here on, float32 has no odd numbers: what was meant to be one leads to another state.
_EVEN = np.float32(2**24)
_BIT, _ESCAPE_BITS, _QUIET = np.float32(BIT), np.float32(ESCAPE_BITS), np.float32(QUIET)
_HALF, _ONE, _ZERO, _TWO = (np.float32(each) for each in (0.5, 1, 0, 2))
_LARGEST = np.float32(LARGEST_VALUE)
_FINE, _HALF_STEP = np.float32(1 / FRACTION), FRACTION // 2


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
    both, costs, seconds = work
    totals, following = both[:STATES], both[STATES:]
    totals[:] = _UNREACHED
    totals[0] = 0
    for step in range(_LENGTH):
        for lane in range(WIDTH):
            value, scale = values[step, lane], scales[step, lane]
            _weigh(value, bits, middles[scale], reaches[scale], costs[:, lane])
        advance(totals, following, costs, seconds[step])  # type: ignore[call-arg]  # Numba gives the first
        totals, following = following, totals
        if step % STATE_BITS == STATE_BITS - 1:
            lower(totals)
    for lane in range(WIDTH):
        state = totals[:, lane].argmin()
        largest = _ZERO
        for step in range(_LENGTH - 1, -1, -1):
            is_second = (seconds[step, state] >> np.uint32(lane)) & np.uint32(1)
            newest = state >> (STATE_BITS - 1)
            state = 2 * state % STATES + np.int64(is_second)
            quantiser = _QUANTISERS[state]
            value = values[step, lane]
            size = _nearest(abs(value), quantiser, _SUMS_OF_NEXT[state] ^ newest)
            largest = max(largest, size)
            symbols[step, lane] = np.int32(-size if value < 0 else size)
            quantisers[step, lane] = quantiser
        if largest >= _EVEN:
            reached = 0
            for step in range(_LENGTH):
                quantisers[step, lane] = _QUANTISERS[reached]
                reached = _FOLLOWING[reached, symbols[step, lane] & 1]


@compiled
def _weigh(value: np.float32, bits: Floats, middle: int, reach: int, costs: Sums) -> None:
    """Writes what the nearest symbol of each branch costs."""
    size, sign = abs(value), -1 if value < 0 else 1
    for branch in range(_BRANCHES):
        symbol = _nearest(size, branch // 2, branch % 2)
        held = np.int64(min(symbol, np.float32(reach)))
        spent = bits[branch // 2, middle + sign * held]
        if symbol > reach:
            spent += _ESCAPE_BITS
        point = symbol if branch < 2 else max(symbol - _HALF, _ZERO)
        off = size - point
        costs[branch] = np.int16(min((off * off + _BIT * spent) * _UNIT + _HALF, _MOST))


@compiled
def _nearest(size: np.float32, quantiser: int, parity: int) -> np.float32:
    """The size of the nearest even or odd symbol of a quantiser."""
    if quantiser == 0:
        if parity == 0:
            return _TWO * np.rint(size * _HALF)
        return _TWO * np.floor(size * _HALF) + _ONE
    if parity == 0:
        return _TWO * np.rint((size + _HALF) * _HALF)
    return _TWO * np.rint(max(size - _HALF, _ZERO) * _HALF) + _ONE


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
    for step in range(length):
        for lane in range(count):
            place = lane % each * length + step
            scale = 0
            if place < size:
                scale = _scale(indices[lane // each, place], tables_each)
            which[lane] = scale + tables_each * quantisers[states[lane]]
        if not take_step(state, words, which, tables, symbols):
            return False
        for lane in range(count):
            symbol = symbols[lane]
            place = lane % each * length + step
            if place < size:
                point = _half_points(symbol, quantisers[states[lane]])
                decoded[lane // each, place] = point * _HALF_STEP + means[lane // each, place]
            states[lane] = following[states[lane], symbol & 1]
    return True
