"""Cells of integers that lie around what is told, as wide as a maximum error allows."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sar_codec.coding.rulers import PLACES, UNIT, decibels_of_integers, log_ratio
from sar_codec.entropy.compiled import compiled

Integers = NDArray[np.int64]

_FINE = 4096  # parts of a unit


class IntegerRuler:
    """Cells of integers, laid from the one nearest to the mean, which is the value of cell 0.

    Cell 0 is of all integers near enough to that. From there on, cells follow each other greedily
    to both sides: a cell's value is the last integer near enough to its first member, and its end
    the last near enough to the value. 0 is a cell of its own.

    Which integers are near enough is told by integer arithmetic, on all machines alike.

    Args:
        largest: integer.
        decade: decibels of a factor of ten.
        ratio: what an integer may be times another one, times 2^64, rounded down.
    """

    def __init__(self, largest: int, decade: float, ratio: int) -> None:
        every = np.arange(largest + 1)
        highest = np.array([min(each * ratio >> 64, largest) for each in every.tolist()])
        lowest = np.searchsorted(highest, every)
        self._largest = largest
        self._highest = torch.from_numpy(highest)
        # Where a cell ends, the next one does, and where it begins, the one before.
        ends = _in_strides(highest[highest[np.minimum(every + 1, largest)]])
        begins = _in_strides(lowest[lowest[np.maximum(every - 1, 0)]])
        self._tables = lowest, highest, begins, ends
        self._middles = torch.from_numpy(decibels_of_integers(largest, decade))
        self._least = int(self._middles[0])
        origins, places, log_widths = _laid_for_each(largest, decade, highest, lowest)
        self._origins, self._places = torch.from_numpy(origins), torch.from_numpy(places)
        self._log_widths = log_widths

    def decibels(self, numbers: Tensor) -> Tensor:
        return self._middles[numbers.clamp(0, self._largest)].float()

    def laid(self, decibels: Tensor) -> tuple[Tensor, Tensor]:
        index = self._index(decibels)
        return self._origins[index], self._places[index]

    def log_widths(self, decibels: Tensor) -> Tensor:
        return self._log_widths[self._index(decibels)]

    def cells_of(self, numbers: Tensor, origins: Tensor) -> Tensor:
        return torch.from_numpy(_cells_of(numbers.numpy(), origins.numpy(), *self._tables))

    def numbers_of(self, cells: Tensor, origins: Tensor) -> Tensor:
        return torch.from_numpy(_numbers_of(cells.numpy(), origins.numpy(), *self._tables))

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
def _cells_of(
    numbers: Integers,
    origins: Integers,
    lowest: Integers,
    highest: Integers,
    begins: Integers,
    ends: Integers,
) -> Integers:
    cells = np.zeros(len(numbers), np.int64)
    for index, (number, origin) in enumerate(zip(numbers, origins)):  # noqa: B905
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
def _numbers_of(
    cells: Integers,
    origins: Integers,
    lowest: Integers,
    highest: Integers,
    begins: Integers,
    ends: Integers,
) -> Integers:
    numbers = origins.copy()
    for index, (cell, origin) in enumerate(zip(cells, origins)):  # noqa: B905
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


def _laid_for_each(
    largest: int, decade: float, highest: Integers, lowest: Integers
) -> tuple[Integers, Integers, Tensor]:
    """Cell 0 of each unit of decibels from 0's on: its value, the place in it, its log width."""
    # None of these is so near to a half that a logarithm's last bits matter: a test sees to it.
    values, edges = (
        np.round(decade * UNIT * _FINE * np.log10(each)).astype(np.int64)
        for each in (
            np.maximum(np.arange(largest + 1), 0.5),
            np.maximum(np.arange(largest + 2) - 0.5, 0.25),
        )
    )
    units = decibels_of_integers(largest, decade)
    told = _FINE * np.arange(units[0], units[-1] + 1)
    after = np.searchsorted(values, told).clip(1, largest)
    origins = after - (2 * told <= values[after] + values[after - 1])
    begins, ends = edges[lowest[origins]], edges[highest[origins] + 1]
    widths = ends - begins
    places = (PLACES * (2 * told - begins - ends) + widths) // (2 * widths)
    which, back = np.unique(widths, return_inverse=True)
    log_widths = torch.tensor([log_ratio(int(each), UNIT * _FINE) for each in which])
    return origins, places, log_widths[torch.from_numpy(back)].float()
