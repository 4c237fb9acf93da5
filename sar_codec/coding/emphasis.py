"""How many times its block's gain each pixel gets, compiled: by its power over that around it."""

import numpy as np
from numpy.typing import NDArray

from sar_codec.entropy.compiled import compiled

AROUND = 16  # pixels
NEPERS = np.float32(np.log(10) / 10)  # a decibel has
Pixels = NDArray[np.float32]

_LARGEST = np.float32(800)  # dB, of means
_HALF, _ONE = np.float32(0.5), np.float32(1)


@compiled
def of_first_order(decibels: Pixels, least: np.float32, most: np.float32) -> Pixels:
    """1 and nepers over what is around, held within limits: `(h, w)`, NaN where decibels are."""
    out = _over_around(decibels)
    for row in range(out.shape[0]):
        _hold(out[row], least, most)
    return out


@compiled
def of_second_order(decibels: Pixels, most: np.float32) -> Pixels:
    """Likewise, from 0 to a limit, and of that half of 1 and its square."""
    out = of_first_order(decibels, np.float32(0), most)
    for row in range(out.shape[0]):
        _square(out[row])
    return out


@compiled
def _over_around(decibels: Pixels) -> Pixels:
    """1 and nepers over means of blocks, which are interpolated linearly between their middles."""
    height, width = decibels.shape
    means = _between_columns(_block_means(decibels), width)
    out = np.empty((height, width), np.float32)
    last = means.shape[0] - 1
    for row in range(height):
        above, share = _block_before(row)
        below = min(above + 1, last)
        _write(decibels[row], means[above], means[below], share, out[row])
    return out


@compiled
def _block_before(place: int) -> tuple[int, np.float32]:
    """The block whose middle is before a pixel, and how far on to the next one that is."""
    between = max((np.float32(place) + _HALF) / np.float32(AROUND) - _HALF, np.float32(0))
    block = int(between)
    return block, between - np.float32(block)


@compiled
def _block_means(decibels: Pixels) -> Pixels:
    """Of blocks, the last ones of a row or column maybe smaller; 0 where one has a NaN."""
    height, width = decibels.shape
    means = np.zeros((-(-height // AROUND), -(-width // AROUND)), np.float32)
    sums = np.empty(width, np.float32)
    for block_row in range(means.shape[0]):
        top = AROUND * block_row
        bottom = min(top + AROUND, height)
        for column in range(width):
            sums[column] = 0
        for row in range(top, bottom):
            _add(sums, decibels[row])
        for block in range(means.shape[1]):
            left = AROUND * block
            right = min(left + AROUND, width)
            total = np.float32(0)
            for column in range(left, right):
                total += sums[column]
            mean = total / np.float32((bottom - top) * (right - left))
            means[block_row, block] = min(max(mean, -_LARGEST), _LARGEST) if mean == mean else 0
    return means


@compiled
def _between_columns(means: Pixels, width: int) -> Pixels:
    out = np.empty((means.shape[0], width), np.float32)
    last = means.shape[1] - 1
    for column in range(width):
        before, share = _block_before(column)
        after = min(before + 1, last)
        for row in range(means.shape[0]):
            first = means[row, before]
            out[row, column] = first + share * (means[row, after] - first)
    return out


# Loops of one row each, of which LLVM makes vector instructions.
@compiled
def _add(sums: Pixels, values: Pixels) -> None:
    for place in range(len(sums)):
        sums[place] += values[place]


@compiled
def _write(values: Pixels, above: Pixels, below: Pixels, share: np.float32, out: Pixels) -> None:
    for place in range(len(out)):
        around = above[place] + share * (below[place] - above[place])
        out[place] = (values[place] - around) * NEPERS + _ONE


@compiled
def _hold(values: Pixels, least: np.float32, most: np.float32) -> None:
    """Holds values within limits; what is no number stays so."""
    for place in range(len(values)):
        value = values[place]
        value = least if value < least else value
        values[place] = most if value > most else value


@compiled
def _square(values: Pixels) -> None:
    for place in range(len(values)):
        values[place] = (values[place] * values[place] + _ONE) * _HALF
