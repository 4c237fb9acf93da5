"""Cells of integers that lie around what is told, as wide as a maximum error allows."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sar_codec.coding.rulers import PLACES, UNIT, decibels_of, log_ratio
from sar_codec.entropy.compiled import compiled

Integers = NDArray[np.int64]

_FINE = 4096  # parts of a unit


class _Tables(NamedTuple):
    """Of each number, what compiled loops look up.

    Attributes:
        lowest: that is near enough.
        highest: likewise.
        begins: of cells before one that begins there, `(strides, n)`: of the next, the second, the
            fourth ...
        ends: of cells after one that ends there, likewise.
    """

    lowest: Integers
    highest: Integers
    begins: Integers
    ends: Integers


class IntegerRuler:
    """Cells of integers, laid from the one nearest to the mean, which is the value of cell 0.

    Cell 0 is of all integers near enough to that. From there on, cells follow each other greedily
    to both sides: a cell's value is the last integer near enough to its first member, and its end
    the last near enough to the value. 0 is a cell of its own.

    Which integers are near enough is told by integer arithmetic, on all machines alike.

    Args:
        integers: that there are, ascending; their places are what numbers are.
        decade: decibels of a factor of ten.
        ratio: what an integer may be times another one, times 2^64, rounded down.
    """

    def __init__(self, integers: Integers, decade: float, ratio: int) -> None:
        farthest = np.array([each * ratio >> 64 for each in integers.tolist()])
        highest = np.searchsorted(integers, farthest, "right") - 1
        numbers = np.arange(len(integers))
        lowest = np.searchsorted(highest, numbers)
        self._highest = torch.from_numpy(highest)
        # Where a cell ends, the next one does, and where it begins, the one before.
        ends = _in_strides(highest[highest[np.minimum(numbers + 1, numbers[-1])]])
        begins = _in_strides(lowest[lowest[np.maximum(numbers - 1, 0)]])
        self._tables = _Tables(lowest, highest, begins, ends)
        middles = decibels_of(integers, decade)
        self._middles, self._least = torch.from_numpy(middles), int(middles[0])
        told = np.arange(middles[0], middles[-1] + 1)
        is_cut = farthest > integers[-1]
        laid = _laid(told, integers, decade, lowest, highest, is_cut)
        self._origins, self._places, self._log_widths = map(torch.from_numpy, laid)

    def decibels(self, numbers: Tensor) -> Tensor:
        return self._middles[numbers.clamp(0, len(self._middles) - 1)].float()

    def laid(self, decibels: Tensor) -> tuple[Tensor, Tensor]:
        index = self._index(decibels)
        return self._origins[index], self._places[index]

    def log_widths(self, decibels: Tensor) -> Tensor:
        return self._log_widths[self._index(decibels)]

    def cells_of(self, numbers: Tensor, origins: Tensor) -> Tensor:
        return torch.from_numpy(_cells_of(numbers.numpy(), origins.numpy(), self._tables))

    def numbers_of(self, cells: Tensor, origins: Tensor) -> Tensor:
        return torch.from_numpy(_numbers_of(cells.numpy(), origins.numpy(), self._tables))

    def are_near(self, numbers: Tensor, others: Tensor) -> Tensor:
        return torch.maximum(numbers, others) <= self._highest[torch.minimum(numbers, others)]

    def _index(self, decibels: Tensor) -> Tensor:
        return (decibels - self._least).clamp(0, len(self._origins) - 1).long()


def _in_strides(step: Integers) -> Integers:
    """Where 1, 2, 4, 8 ... steps lead to from each integer, until none leads on."""
    strides = [step]
    while not np.array_equal(twice := strides[-1][strides[-1]], strides[-1]):
        strides.append(twice)
    return np.stack(strides)


@compiled
def _cells_of(numbers: Integers, origins: Integers, tables: _Tables) -> Integers:
    lowest, highest, begins, ends = tables
    cells = np.zeros(len(numbers), np.int64)
    for index, (number, origin) in enumerate(zip(numbers, origins)):  # noqa: B905  # numba does not know `strict`
        if number > highest[origin]:
            cells[index] = 1
            end = highest[origin]
            for power in range(len(ends) - 1, -1, -1):
                if ends[power, end] < number:
                    end = ends[power, end]
                    cells[index] += 1 << power
        elif number < lowest[origin]:
            cells[index] = -1
            begin = lowest[origin]
            for power in range(len(begins) - 1, -1, -1):
                if begins[power, begin] > number:
                    begin = begins[power, begin]
                    cells[index] -= 1 << power
    return cells


@compiled
def _numbers_of(cells: Integers, origins: Integers, tables: _Tables) -> Integers:
    lowest, highest, begins, ends = tables
    numbers = origins.copy()
    for index, (cell, origin) in enumerate(zip(cells, origins)):  # noqa: B905  # numba does not know `strict`
        if cell > 0:
            steps = min(cell - 1, (1 << len(ends)) - 1)
            end = highest[origin]
            for power in range(len(ends)):
                if steps >> power & 1:
                    end = ends[power, end]
            numbers[index] = highest[min(end + 1, len(highest) - 1)]
        elif cell < 0:
            steps = min(-1 - cell, (1 << len(begins)) - 1)
            begin = lowest[origin]
            for power in range(len(begins)):
                if steps >> power & 1:
                    begin = begins[power, begin]
            numbers[index] = lowest[max(begin - 1, 0)]
    return numbers


def _laid(
    told: Integers,
    integers: Integers,
    decade: float,
    lowest: Integers,
    highest: Integers,
    is_cut: NDArray[np.bool_],
) -> tuple[Integers, Integers, NDArray[np.float32]]:
    """Cell 0 where decibels are told, in units of 1/32: its value, the place in it, its log width.

    A cell is as wide as if there were integers beyond the last one, and below 1: else the mean of
    those that are saturated would lie at its edge, and half of what is likely be no cell.
    """
    # None of these is so near to a half that a logarithm's last bits matter: a test sees to it.
    before, values, after = (
        np.round(decade * UNIT * _FINE * np.log10(np.maximum(each, 0.25))).astype(np.int64)
        for each in (integers - 0.5, np.maximum(integers, 0.5), integers + 0.5)
    )
    told = _FINE * told
    above = np.searchsorted(values, told).clip(1, len(integers) - 1)
    origins = above - (2 * told <= values[above] + values[above - 1])
    begins, ends = before[lowest[origins]], after[highest[origins]]
    mirrored = 2 * values[origins]
    ends = np.where(is_cut[origins], np.maximum(ends, mirrored - begins), ends)
    is_low = integers[lowest[origins]] <= 1
    begins = np.where(is_low, np.minimum(begins, mirrored - ends), begins)
    widths = ends - begins
    places = (PLACES * (2 * told - begins - ends) + widths) // (2 * widths)
    which, back = np.unique(widths, return_inverse=True)
    log_widths = np.array([log_ratio(int(each), UNIT * _FINE) for each in which], np.float32)
    return origins, places, log_widths[back]
