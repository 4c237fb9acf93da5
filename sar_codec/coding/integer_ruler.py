"""Cells of integers that lie around what is told, as wide as a maximum error allows."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sar_codec.coding.rulers import PLACES, UNIT, decibels_of_integers, log_ratio

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
        self._highest, self._lowest = torch.from_numpy(highest), torch.from_numpy(lowest)
        # Where a cell ends, the next one does; and the next but one, but three ...
        self._ends = _in_strides(highest[highest[np.minimum(every + 1, largest)]])
        self._begins = _in_strides(lowest[lowest[np.maximum(every - 1, 0)]])
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
        cells = torch.zeros_like(numbers)
        above, below = numbers > self._highest[origins], numbers < self._lowest[origins]
        of, wanted = self._highest[origins[above]], numbers[above]
        cells[above] = 1 + _strides(self._ends, of, lambda end: end < wanted)
        of, wanted = self._lowest[origins[below]], numbers[below]
        cells[below] = -1 - _strides(self._begins, of, lambda begin: begin > wanted)
        return cells

    def numbers_of(self, cells: Tensor, origins: Tensor) -> Tensor:
        numbers = origins.clone()
        above, below = cells > 0, cells < 0
        end = _after(self._ends, self._highest[origins[above]], cells[above] - 1)
        numbers[above] = self._highest[(end + 1).clamp_max_(self._largest)]
        begin = _after(self._begins, self._lowest[origins[below]], -1 - cells[below])
        numbers[below] = self._lowest[(begin - 1).clamp_min_(0)]
        return numbers

    def are_near(self, numbers: Tensor, others: Tensor) -> Tensor:
        return torch.maximum(numbers, others) <= self._highest[torch.minimum(numbers, others)]

    def _index(self, decibels: Tensor) -> Tensor:
        return (decibels - self._least).clamp(0, len(self._origins) - 1).long()


def _in_strides(step: NDArray[np.int64]) -> list[Tensor]:
    """Where 1, 2, 4, 8 ... steps lead to, until none leads on."""
    strides = [step]
    while not np.array_equal(twice := strides[-1][strides[-1]], strides[-1]):
        strides.append(twice)
    return [torch.from_numpy(each) for each in strides]


def _strides(strides: list[Tensor], of: Tensor, goes_on: Callable[[Tensor], Tensor]) -> Tensor:
    """How many steps can be gone before it is too far."""
    count = torch.zeros_like(of)
    for power, stride in reversed(list(enumerate(strides))):
        after = stride[of]
        is_on = goes_on(after)
        of = torch.where(is_on, after, of)
        count += is_on.long() << power
    return count


def _after(strides: list[Tensor], of: Tensor, count: Tensor) -> Tensor:
    """Where so many steps lead to."""
    count = count.clamp_max(2 ** len(strides) - 1)
    for power, stride in enumerate(strides):
        of = torch.where((count >> power & 1).bool(), stride[of], of)
    return of


def _laid_for_each(
    largest: int, decade: float, highest: NDArray[np.int64], lowest: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Tensor]:
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
