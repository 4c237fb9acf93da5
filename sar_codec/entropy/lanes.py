"""Sequences along the trellis, side by side: their search and their decoding, compiled."""

import numpy as np
from numpy.typing import NDArray

from sar_codec.entropy.compiled import compiled
from sar_codec.entropy.range_coder import State
from sar_codec.entropy.runs import Columns, Numbers, Symbols
from sar_codec.entropy.runs import take as take_step
from sar_codec.entropy.trellis import BEFORE, BIT, ESCAPE_BITS, NEXT, QUANTISERS, QUIET

Floats = NDArray[np.float32]

_NEXT = np.array(NEXT, np.int64)
_STATES = len(NEXT)
_BEFORE = np.array(BEFORE, np.int64)  # (8, 2, 2)
_BIT, _ESCAPE_BITS, _QUIET = np.float32(BIT), np.float32(ESCAPE_BITS), np.float32(QUIET)
_HALF, _ONE, _ZERO, _TWO = (np.float32(each) for each in (0.5, 1, 0, 2))


@compiled
def search(
    values: Floats, scales: Numbers, bits: Floats, middles: Symbols, reaches: Symbols
) -> tuple[Symbols, Numbers, Symbols]:
    """As `search.quantised`, which says what is given and what comes of it."""
    length, count = values.shape
    tables_each = len(middles)
    symbols, points = np.zeros((length, count), np.int64), np.zeros((length, count), np.int64)
    numbers = scales.copy()
    sizes, costs = np.empty((length, 4), np.float32), np.empty(4, np.float32)
    is_second = np.empty((length, _STATES), np.bool_)
    totals, reached = np.empty(_STATES, np.float32), np.empty(_STATES, np.float32)
    for lane in range(count):
        largest = _ZERO
        for step in range(length):
            largest = max(largest, abs(values[step, lane]))
        if largest < _QUIET:
            # Zeros lead from the first state to itself.
            continue
        totals[:] = np.inf
        totals[0] = 0
        for step in range(length):
            size, is_negative = abs(values[step, lane]), values[step, lane] < 0
            sizes[step, 0] = _TWO * np.rint(size * _HALF)
            sizes[step, 1] = _TWO * np.floor(size * _HALF) + _ONE
            sizes[step, 2] = _TWO * np.rint((size + _HALF) * _HALF)
            sizes[step, 3] = _TWO * np.rint(max(size - _HALF, _ZERO) * _HALF) + _ONE
            scale = scales[step, lane]
            middle, reach = middles[scale], reaches[scale]
            for branch in range(4):
                symbol = sizes[step, branch]
                quantiser = branch // 2
                point = symbol if quantiser == 0 else max(symbol - _HALF, _ZERO)
                held = min(np.int64(symbol), reach)
                spent = bits[quantiser, middle - held if is_negative else middle + held]
                if symbol > reach:
                    spent += _ESCAPE_BITS
                off = size - point
                costs[branch] = off * off + _BIT * spent
            for state in range(_STATES):
                one = totals[_BEFORE[state, 0, 0]] + costs[_BEFORE[state, 0, 1]]
                other = totals[_BEFORE[state, 1, 0]] + costs[_BEFORE[state, 1, 1]]
                is_second[step, state] = other < one
                reached[state] = min(one, other)
            totals[:] = reached
        best = np.int64(totals.argmin())
        for step in range(length - 1, -1, -1):
            way = 1 if is_second[step, best] else 0
            symbol = np.int64(sizes[step, _BEFORE[best, way, 1]])
            best = _BEFORE[best, way, 0]
            symbols[step, lane] = -symbol if values[step, lane] < 0 else symbol
        # Beyond 2^24, float32 has no odd numbers: what was meant to be one leads elsewhere.
        state = 0
        for step in range(length):
            coded, quantiser = symbols[step, lane], state & 1
            numbers[step, lane] += quantiser * tables_each
            points[step, lane] = 2 * coded - ((coded > 0) - (coded < 0)) * quantiser
            state = _NEXT[state, coded & 1]
    return symbols, numbers, points


@compiled
def take(
    state: State, words: NDArray[np.uint32], scales: Numbers, tables: Columns, points: Symbols
) -> bool:
    """Writes the points, in half steps, of lanes `(L, n)` that come next; as `runs.take`.

    Args:
        state: of the decoder, which it moves on.
        words: of the stream.
        scales: the number of each symbol's table among those of its quantiser, `(L, n)`.
        tables: the tables of the first quantiser, then those of the second.
        points: to be written, `(L, n)`.
    """
    length, count = scales.shape
    tables_each = len(tables.starts) // QUANTISERS
    states = np.zeros(count, np.int64)
    which, symbols = np.empty(count, np.int16), np.empty(count, np.int64)
    for step in range(length):
        for lane in range(count):
            which[lane] = scales[step, lane] + tables_each * (states[lane] & 1)
        if not take_step(state, words, which, tables, symbols):
            return False
        for lane in range(count):
            symbol = symbols[lane]
            sign = (symbol > 0) - (symbol < 0)
            points[step, lane] = 2 * symbol - sign * (states[lane] & 1)
            states[lane] = _NEXT[states[lane], symbol & 1]
    return True
