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
STEPS_A_DB = 2**20  # of floating point pixels' numbers
_STEPS_A_UNIT = STEPS_A_DB // UNIT


class Ruler(Protocol):
    """Numbers, and cells of them, on a scale of decibels.

    Pixels are taken for the middle of the cell that they are in.

    Attributes:
        step: how many numbers wide cells are.
        is_laid_around_mean: whether cells lie anywhere, and what is told is in the middle of one.
    """

    step: int
    is_laid_around_mean: bool

    def decibels(self, numbers: Tensor) -> Tensor:
        """Where numbers, int64, lie: float32, integers in units of 1/32 dB."""

    def laid(self, decibels: Tensor) -> tuple[Tensor, Tensor]:
        """How cells are laid for pixels of which such decibels are told.

        Args:
            decibels: float32, integers in units of 1/32 dB.

        Returns:
            The number in the middle of cell 0, and where the decibels lie in units of 1/16 cell
            from there: int64.
        """

    def log_widths(self, decibels: Tensor) -> Tensor:
        """Binary logarithm of the cells' width in dB there: float32, integers in units of 1/32."""


class EvenRuler:
    """Decibels in units of 2^-20, in cells of one width, in the middle of one of which is the mean.

    Where cells are wide, most pixels are in that one, and take fewer bits than in cells that lie
    somewhere: a seventh fewer where they are twice as wide as speckle.

    Args:
        step: width of cells.
    """

    is_laid_around_mean = True

    def __init__(self, step: int) -> None:
        self.step = step
        self._log_width = _log_ratio(step, STEPS_A_DB)

    def decibels(self, numbers: Tensor) -> Tensor:
        # Products of float64 are the same everywhere.
        units = numbers.double() * (1 / _STEPS_A_UNIT)
        return units.round().clamp(-_FARTHEST, _FARTHEST).float()

    def laid(self, decibels: Tensor) -> tuple[Tensor, Tensor]:
        origin = decibels.long() * _STEPS_A_UNIT
        return origin, torch.zeros_like(origin)

    def log_widths(self, decibels: Tensor) -> Tensor:
        return torch.full_like(decibels, self._log_width, dtype=torch.float32)


class UnevenRuler:
    """Cells of integers, which are numbered.

    Args:
        values: of the cells, ascending from 0, which is taken for 1/2.
        decade: decibels of a factor of ten.
    """

    step = 1
    is_laid_around_mean = False

    def __init__(self, values: NDArray[np.int64], decade: float) -> None:
        # None of these is so near to a half that a logarithm's last bits matter: a test sees to it.
        middles = np.round(decade * UNIT * np.log10(np.maximum(values, 0.5))).astype(np.int64)
        self._lowest = int(middles[0])
        decibels = np.arange(middles[0], middles[-1] + 1)
        after = np.searchsorted(middles, decibels, "left")
        before = np.searchsorted(middles, decibels, "right") - 1
        # Of several cells there, the middle one; between two, in proportion.
        gap = np.maximum(middles[after] - middles[before], 1)
        part = _FINE * (decibels - middles[before]) // gap
        fine = np.where(after > before, _FINE * before + part, _FINE // 2 * (after + before))
        self._middles = torch.from_numpy(middles)
        self._places = torch.from_numpy(fine // (_FINE // PLACES))
        # Of half a decibel to either side.
        ends = np.clip(decibels + np.array([[-UNIT // 2], [UNIT // 2]]), *middles[[0, -1]])
        spans, passed = np.diff(ends, axis=0)[0], np.diff(fine[ends - middles[0]], axis=0)[0]
        widths = [
            _log_ratio(_FINE * int(span), UNIT * int(cells))
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

    def _index(self, decibels: Tensor) -> Tensor:
        return (decibels - self._lowest).clamp(0, len(self._places) - 1).long()


def _log_ratio(a: int, b: int) -> int:
    """Binary logarithm of a / b in units of 1/32, rounded down; exactly."""
    numerator, denominator = max(a, 1) ** UNIT, max(b, 1) ** UNIT
    power = numerator.bit_length() - denominator.bit_length()
    shifted = numerator << max(-power, 0), denominator << max(power, 0)
    return power if shifted[0] >= shifted[1] else power - 1
