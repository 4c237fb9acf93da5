"""Where numbers of pixels lie in decibels, in integers: the same on every machine."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Decibels are integers in units of 1/32, as activations are; so are binary logarithms.
UNIT = 32
PLACES = 16
_FINE = 4096  # likewise, while widths are computed
_FARTHEST = 2**17
LARGEST_NUMBER = 2**30  # of what is decoded
STEPS_A_DB = 2**20  # of floating point pixels' numbers
_STEPS_A_UNIT = STEPS_A_DB // UNIT


class Ruler(Protocol):
    """Numbers of pixels on a scale of decibels, and cells of them."""

    def decibels(self, numbers: Tensor) -> Tensor:
        """Where numbers, int64, lie: float32, integers in units of 1/32 dB."""

    def laid(self, decibels: Tensor) -> tuple[Tensor, Tensor]:
        """How cells are laid for pixels of which such decibels are told.

        Args:
            decibels: float32, integers in units of 1/32 dB.

        Returns:
            The number that is cell 0's value, their origin, and where the decibels lie in units of
            1/16 cell from that cell's middle: int64.
        """

    def log_widths(self, decibels: Tensor) -> Tensor:
        """Binary logarithm of the cells' width in dB there: float32, integers in units of 1/32."""

    def cells_of(self, numbers: Tensor, origins: Tensor) -> Tensor:
        """Which cells numbers are in, int64, of those with such origins."""

    def numbers_of(self, cells: Tensor, origins: Tensor) -> Tensor:
        """The values of cells: what is decoded. Of cells beyond all, anything."""

    def are_near(self, numbers: Tensor, others: Tensor) -> Tensor:
        """Whether numbers may stand for the others."""


class EvenRuler:
    """Decibels in units of 2^-20, in cells of one width, in the middle of one of which is the mean.

    Where cells are wide, most pixels are in that one, and take fewer bits than in cells that lie
    somewhere: a seventh fewer where they are twice as wide as speckle.

    Args:
        step: width of cells.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self._log_width = log_ratio(step, STEPS_A_DB)

    def decibels(self, numbers: Tensor) -> Tensor:
        # Products of float64 are the same everywhere.
        units = numbers.double() * (1 / _STEPS_A_UNIT)
        return units.round().clamp(-_FARTHEST, _FARTHEST).float()

    def laid(self, decibels: Tensor) -> tuple[Tensor, Tensor]:
        origins = decibels.long() * _STEPS_A_UNIT
        return origins, torch.zeros_like(origins)

    def log_widths(self, decibels: Tensor) -> Tensor:
        return torch.full_like(decibels, self._log_width, dtype=torch.float32)

    def cells_of(self, numbers: Tensor, origins: Tensor) -> Tensor:
        return torch.div(numbers - origins + self.step // 2, self.step, rounding_mode="floor")

    def numbers_of(self, cells: Tensor, origins: Tensor) -> Tensor:
        return (origins + cells * self.step).clamp_(-LARGEST_NUMBER, LARGEST_NUMBER)

    def are_near(self, numbers: Tensor, others: Tensor) -> Tensor:
        return (numbers - others).abs() <= self.step // 2


class WholeRuler:
    """Integers, each a cell of its own, of which nothing is lost.

    Args:
        largest: integer; 0 is taken for 1/2.
        decade: decibels of a factor of ten.
    """

    def __init__(self, largest: int, decade: float) -> None:
        middles = decibels_of(np.arange(largest + 1), decade)
        self._lowest = int(middles[0])
        decibels = np.arange(middles[0], middles[-1] + 1)
        after = np.searchsorted(middles, decibels, "left")
        before = np.searchsorted(middles, decibels, "right") - 1
        # Of several integers there, the middle one; between two, in proportion.
        gap = np.maximum(middles[after] - middles[before], 1)
        part = _FINE * (decibels - middles[before]) // gap
        fine = np.where(after > before, _FINE * before + part, _FINE // 2 * (after + before))
        self._middles = torch.from_numpy(middles)
        self._places = torch.from_numpy(fine // (_FINE // PLACES))
        # Of half a decibel to either side.
        ends = np.clip(decibels + np.array([[-UNIT // 2], [UNIT // 2]]), *middles[[0, -1]])
        spans, passed = np.diff(ends, axis=0)[0], np.diff(fine[ends - middles[0]], axis=0)[0]
        widths = [
            log_ratio(_FINE * int(span), UNIT * int(cells))
            for span, cells in zip(spans, passed, strict=True)
        ]
        self._log_widths = torch.tensor(widths, dtype=torch.float32)

    def decibels(self, numbers: Tensor) -> Tensor:
        return self._middles[numbers.clamp(0, len(self._middles) - 1)].float()

    def laid(self, decibels: Tensor) -> tuple[Tensor, Tensor]:
        places = self._places[self._index(decibels)]
        return torch.zeros_like(places), places

    def log_widths(self, decibels: Tensor) -> Tensor:
        return self._log_widths[self._index(decibels)]

    def cells_of(self, numbers: Tensor, origins: Tensor) -> Tensor:
        return numbers - origins

    def numbers_of(self, cells: Tensor, origins: Tensor) -> Tensor:
        return (origins + cells).clamp_(-LARGEST_NUMBER, LARGEST_NUMBER)

    def are_near(self, numbers: Tensor, others: Tensor) -> Tensor:
        return numbers == others

    def _index(self, decibels: Tensor) -> Tensor:
        return (decibels - self._lowest).clamp(0, len(self._places) - 1).long()


def decibels_of(integers: NDArray[np.int64], decade: float) -> NDArray[np.int64]:
    """Where integers lie, 0 being taken for 1/2: in units of 1/32 dB."""
    # None of these is so near to a half that a logarithm's last bits matter: a test sees to it.
    return np.round(decade * UNIT * np.log10(np.maximum(integers, 0.5))).astype(np.int64)


def log_ratio(a: int, b: int) -> int:
    """Binary logarithm of a / b in units of 1/32, rounded down; exactly."""
    numerator, denominator = max(a, 1) ** UNIT, max(b, 1) ** UNIT
    power = numerator.bit_length() - denominator.bit_length()
    shifted = numerator << max(-power, 0), denominator << max(power, 0)
    return power if shifted[0] >= shifted[1] else power - 1
