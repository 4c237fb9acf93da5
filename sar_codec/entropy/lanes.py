"""Sequences along the trellis, side by side: their search and their decoding, compiled."""

import numpy as np
from numpy.typing import NDArray

from sar_codec.entropy.compiled import compiled
from sar_codec.entropy.integer import FRACTION
from sar_codec.entropy.range_coder import State
from sar_codec.entropy.runs import Columns, Numbers, Symbols
from sar_codec.entropy.runs import take as take_step
from sar_codec.entropy.tables import LARGEST_SYMBOL
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
Work = tuple[Floats, Floats, NDArray[np.bool_], Floats, Floats]

_NEXT = np.array(NEXT, np.int64)
_STATES = len(NEXT)
_BEFORE = np.array(BEFORE, np.int64)  # (8, 2, 2)
_BIT, _ESCAPE_BITS, _QUIET = np.float32(BIT), np.float32(ESCAPE_BITS), np.float32(QUIET)
_HALF, _ONE, _ZERO, _TWO = (np.float32(each) for each in (0.5, 1, 0, 2))
_LARGEST = np.float32(LARGEST_SYMBOL - 2)
_FINE, _HALF_STEP = np.float32(1 / FRACTION), FRACTION // 2


@compiled
def search(
    values: Floats, scales: Numbers, bits: Floats, middles: Symbols, reaches: Symbols
) -> tuple[Symbols, Numbers, Symbols]:
    """As `search.quantised`, which says what is given and what comes of it."""
    length, count = values.shape
    tables_each = len(middles)
    symbols, points = np.empty((length, count), np.int64), np.empty((length, count), np.int64)
    numbers = np.empty((length, count), np.int16)
    found, quantisers = np.empty(length, np.int64), np.empty(length, np.int64)
    work = _room(length)
    for lane in range(count):
        _search(values[:, lane], scales[:, lane], bits, middles, reaches, found, quantisers, work)
        for step in range(length):
            symbols[step, lane] = found[step]
            numbers[step, lane] = scales[step, lane] + quantisers[step] * tables_each
            points[step, lane] = _half_points(found[step], quantisers[step])
    return symbols, numbers, points


@compiled
def encode(
    values: Floats,
    means: Whole,
    indices: Whole,
    length: int,
    bits: Floats,
    middles: Symbols,
    reaches: Symbols,
) -> tuple[Symbols, Numbers, Exact]:
    """Symbols of lanes along the memory of images, their tables' numbers, and what they mean.

    Args:
        values: `(B, n)`, in steps; those that are no numbers become their means.
        means: of these, in units of 1/32, likewise.
        indices: of their scales, in units of 1/32, likewise.
        length: of a lane; an image's last one is filled up with zeros.
        bits: and the following, see `search.Prices`.
        middles: likewise.
        reaches: likewise.

    Returns:
        Symbols and numbers `(length, lanes)`; values as decoded, in units of 1/32, `(B, n)`.
    """
    images, size = values.shape
    each = (size + length - 1) // length
    tables_each = len(middles)
    symbols = np.empty((length, images * each), np.int64)
    numbers = np.empty((length, images * each), np.int16)
    decoded = np.empty((images, size), np.float64)
    found, quantisers = np.empty(length, np.int64), np.empty(length, np.int64)
    off, scales = np.empty(length, np.float32), np.empty(length, np.int64)
    work = _room(length)
    for lane in range(images * each):
        image, start = lane // each, lane % each * length
        held = min(length, size - start)
        off[held:] = 0
        scales[held:] = 0
        for step in range(held):
            mean = np.float32(means[image, start + step]) * _FINE
            value = values[image, start + step] - mean
            off[step] = min(max(value, -_LARGEST), _LARGEST) if value == value else _ZERO
            scales[step] = _scale(indices[image, start + step], tables_each)
        _search(off, scales, bits, middles, reaches, found, quantisers, work)
        for step in range(length):
            symbols[step, lane] = found[step]
            numbers[step, lane] = scales[step] + quantisers[step] * tables_each
        for step in range(held):
            point = _half_points(found[step], quantisers[step])
            decoded[image, start + step] = point * _HALF_STEP + means[image, start + step]
    return symbols, numbers, decoded


@compiled
def _room(length: int) -> Work:
    return (
        np.empty((length, 4), np.float32),
        np.empty(4, np.float32),
        np.empty((length, _STATES), np.bool_),
        np.empty(_STATES, np.float32),
        np.empty(_STATES, np.float32),
    )


@compiled
def _search(
    values: Floats,
    scales: Symbols | Numbers,
    bits: Floats,
    middles: Symbols,
    reaches: Symbols,
    symbols: Symbols,
    quantisers: Symbols,
    work: Work,
) -> None:
    """Writes the symbols of one lane, and the quantiser that each is of."""
    sizes, costs, is_second, totals, reached = work
    length = len(values)
    largest = _ZERO
    for step in range(length):
        largest = max(largest, abs(values[step]))
    if largest < _QUIET:
        # Zeros lead from the first state to itself.
        symbols[:] = 0
        quantisers[:] = 0
        return
    totals[:] = np.inf
    totals[0] = 0
    for step in range(length):
        size, is_negative = abs(values[step]), values[step] < 0
        sizes[step, 0] = _TWO * np.rint(size * _HALF)
        sizes[step, 1] = _TWO * np.floor(size * _HALF) + _ONE
        sizes[step, 2] = _TWO * np.rint((size + _HALF) * _HALF)
        sizes[step, 3] = _TWO * np.rint(max(size - _HALF, _ZERO) * _HALF) + _ONE
        scale = scales[step]
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
        found = np.int64(sizes[step, _BEFORE[best, way, 1]])
        best = _BEFORE[best, way, 0]
        symbols[step] = -found if values[step] < 0 else found
    # Beyond 2^24, float32 has no odd numbers: what was meant to be one leads elsewhere.
    state = 0
    for step in range(length):
        quantisers[step] = state & 1
        state = _NEXT[state, symbols[step] & 1]


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
