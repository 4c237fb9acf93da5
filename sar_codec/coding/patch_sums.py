"""Sums of power over patches of 8x8 pixels, compiled: one pass over a tile, in little memory."""

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.gains import MOST_GAIN_DB
from sar_codec.entropy.compiled import compiled

PATCH = 8  # pixels that have about the same gain
Pixels = NDArray[np.float32]
Sums = NDArray[np.float32]

_LARGEST_DB = np.float32(150)  # no measurement has more; products and sums stay finite
_DOUBLINGS = np.float32(np.log2(10) / 10)  # a decibel has
# The series of 2^x, within 2e-7 from -1/2 to 1/2.
_SERIES = [np.float32(np.log(2) ** order / np.prod(range(1, order + 1))) for order in range(7)]
_1, _2, _3, _4, _5, _6 = _SERIES[1:]
_ONE = np.float32(1)
# What is added to a number of float32 and taken from it again rounds it to an integer.
_ROUNDING = np.float32(1.5 * 2**23)
_BIAS, _MANTISSA = np.int32(127), np.int32(23)  # of float32


@compiled
def power_sums(decibels: Pixels) -> Sums:
    """The power of patches, `(rows, columns)`, the last ones of a row or column maybe smaller.

    Args:
        decibels: of pixels, `(h, w)`; those that are not finite do not count.
    """
    height, width = decibels.shape
    sums = np.zeros((-(-height // PATCH), -(-width // PATCH)), np.float32)
    exponents, power = np.empty(width, np.int32), np.empty(width, np.float32)
    column_sums = np.empty(PATCH * sums.shape[1], np.float32)
    for top in range(0, height, PATCH):
        column_sums[:] = 0
        for row in range(top, min(top + PATCH, height)):
            _to_doublings(decibels[row], exponents, power)
            _to_power(exponents.view(np.float32), power)
            for column in range(width):
                column_sums[column] += power[column]
        _of_patches(column_sums, sums[top // PATCH])
    return sums


@compiled
def gained_sums(decibels: Pixels, emphasis: Pixels, rows: Pixels, columns: Pixels) -> Sums:
    """The power of patches, that times emphasis, and that times its square: `(3, rows, columns)`.

    Args:
        decibels: of pixels before their gains, `(h, w)`; those that are not finite do not count.
        emphasis: how many times its gain each one gets, likewise.
        rows: gains of columns of blocks at each row of pixels, `(h, n)`, in dB.
        columns: by which share each of these is a pixel's gain, `(n, w)`.
    """
    height, width = decibels.shape
    sums = np.zeros((3, -(-height // PATCH), -(-width // PATCH)), np.float32)
    exponents, power = np.empty(width, np.int32), np.empty(width, np.float32)
    gained = np.empty(width, np.float32)
    column_sums = np.empty((3, PATCH * sums.shape[2]), np.float32)
    begins, ends = np.zeros(len(columns), np.int64), np.zeros(len(columns), np.int64)
    for block in range(len(columns)):
        inner = np.flatnonzero(columns[block])
        begins[block], ends[block] = inner[0], inner[-1] + 1
    for top in range(0, height, PATCH):
        column_sums[:] = 0
        for row in range(top, min(top + PATCH, height)):
            gained[:] = 0
            for block in range(len(columns)):
                near = slice(begins[block], ends[block])
                _add(gained[near], rows[row, block], columns[block, near])
            for column in range(width):
                gain = gained[column] * emphasis[row, column]
                gain = min(max(gain, -MOST_GAIN_DB), MOST_GAIN_DB)
                gained[column] = decibels[row, column] + gain
            _to_doublings(gained, exponents, power)
            _to_power(exponents.view(np.float32), power)
            for column in range(width):
                times = emphasis[row, column]
                first = power[column] * times
                column_sums[0, column] += power[column]
                column_sums[1, column] += first
                column_sums[2, column] += first * times
        for order in range(3):
            _of_patches(column_sums[order], sums[order, top // PATCH])
    return sums


@compiled
def block_sums(patches: Sums, side: int) -> NDArray[np.float64]:
    """Of blocks of so many patches to a side, the last ones of a row or column maybe smaller."""
    height, width = patches.shape
    sums = np.zeros((-(-height // side), -(-width // side)))
    for row in range(height):
        for block in range(sums.shape[1]):
            for column in range(side * block, min(side * (block + 1), width)):
                sums[row // side, block] += patches[row, column]
    return sums


@compiled
def _to_doublings(decibels: Pixels, exponents: NDArray[np.int32], shares: Pixels) -> None:
    for column in range(len(decibels)):
        counts = decibels[column] - decibels[column] == 0
        doublings = min(max(decibels[column], -_LARGEST_DB), _LARGEST_DB) * _DOUBLINGS
        whole = (doublings + _ROUNDING) - _ROUNDING
        shares[column] = doublings - whole if counts else np.float32(0)
        exponents[column] = (np.int32(whole) + _BIAS) << _MANTISSA if counts else 0


@compiled
def _to_power(factors: Pixels, shares: Pixels) -> None:
    for column in range(len(shares)):
        x = shares[column]
        y = _3 + x * (_4 + x * (_5 + x * _6))
        shares[column] = (_ONE + x * (_1 + x * (_2 + x * y))) * factors[column]


@compiled
def _add(gains: Pixels, gain: np.float32, shares: Pixels) -> None:
    for column in range(len(gains)):
        gains[column] += gain * shares[column]


@compiled
def _of_patches(column_sums: Pixels, sums: Sums) -> None:
    for patch in range(len(sums)):
        for column in range(PATCH):
            sums[patch] += column_sums[PATCH * patch + column]
