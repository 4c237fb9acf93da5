"""Where cells lie in decibels and how wide they are, in integers: the same on every machine."""

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


class Ruler(Protocol):
    """Cells on a scale of decibels."""

    def decibels(self, cells: Tensor) -> Tensor:
        """The middle of cells, int64: float32, integers in units of 1/32 dB."""

    def places(self, decibels: Tensor) -> Tensor:
        """Where decibels, integers in such units, lie among cells: int64, in 1/16 cell."""

    def log_widths(self, decibels: Tensor) -> Tensor:
        """Binary logarithm of the cells' width in dB there: float32, integers in units of 1/32."""


class EvenRuler:
    """Cells of one width.

    Args:
        width: of cells, an integer.
        steps: of them make a decibel.
    """

    def __init__(self, width: int, steps: int) -> None:
        self._a_cell = width / (steps // UNIT)
        self._log_width = _log_ratio(width, steps)

    def decibels(self, cells: Tensor) -> Tensor:
        # Products and quotients of float64 are the same everywhere.
        return (cells.double() * self._a_cell).round().clamp(-_FARTHEST, _FARTHEST).float()

    def places(self, decibels: Tensor) -> Tensor:
        return (decibels.double() * (PLACES / self._a_cell)).round().long()

    def log_widths(self, decibels: Tensor) -> Tensor:
        return torch.full_like(decibels, self._log_width, dtype=torch.float32)


class UnevenRuler:
    """Cells of integers.

    Args:
        values: of the cells, ascending from 0, which is taken for 1/2.
        decade: decibels of a factor of ten.
    """

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

    def decibels(self, cells: Tensor) -> Tensor:
        return self._middles[cells.clamp(0, len(self._middles) - 1)].float()

    def places(self, decibels: Tensor) -> Tensor:
        return self._places[self._index(decibels)]

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
