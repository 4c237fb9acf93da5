"""Where each pixel of a raster was taken from, of a coarser grid whose nearest pixel it is."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray

from sar_codec.coding.repeats import PHASE_BITS, STEPS, Repeats
from sar_codec.coding.tiling import Window

Constant = Annotated[int, Gt(-(2**31)), Lt(2**31)]
Coefficient = Annotated[int, Gt(-(2**40)), Lt(2**40)]
Phase = tuple[Constant, Coefficient, Coefficient, Coefficient, Coefficient, Coefficient]
LONGEST = 2**15  # side of a raster, so that phases stay within 64 bits
MOST_PIXELS = 2**22  # of a raster's band
Side = Annotated[int, Gt(0), Le(LONGEST)]
Steps = Annotated[int, Ge(0), Le(4 * MOST_PIXELS)]
_STEPS_A_DB = 4
Places = NDArray[np.int64]
BESIDE = (-1, 0), (0, -1), (1, 0), (0, 1)  # down and right
_BITS = (32, 16, 16, 0, 0, 0)  # that coefficients are shifted by
_NONE: Phase = (0, 0, 0, 0, 0, 0)


@dataclass(frozen=True)
class Grid:
    """Where each pixel of a raster was taken from.

    Attributes:
        height: of the grid.
        width: likewise.
        rows: how many rows less than a pixel's own its place has: coefficients for 1 in units of
            2^-16, for x and y of 2^-32, for x^2, xy and y^2 of 2^-48, the sum rounded down.
        columns: likewise.
        across: columns of the raster.
        moved: pixels that come from beside where that says, row by row: four times how many pixels
            each is after the one before, and the number of the side, of `BESIDE`.
        alone: pixels that have no place there, row by row: how many pixels each is after the one
            before, then its decibels in each band, in units of 1/4.
    """

    height: Side
    width: Side
    rows: Phase
    columns: Phase
    across: Side
    moved: tuple[Steps, ...] = ()
    alone: tuple[tuple[Constant, ...], ...] = ()

    def places(self, window: Window) -> tuple[Places, Places]:
        """Row and column on the grid of each pixel of a window, `(h, w)`."""
        y = np.arange(window.row, window.row + window.height)[:, None]
        x = np.arange(window.column, window.column + window.width)
        row, column = y - _less(self.rows, y, x), x - _less(self.columns, y, x)
        steps, sides = np.divmod(np.array(self.moved, np.int64), len(BESIDE))
        inside, at = self._within(window, steps)
        for place, beside in zip((row, column), np.array(BESIDE)[sides[inside]].T, strict=True):
            np.add.at(place, at, beside)
        return row.clip(0, self.height - 1), column.clip(0, self.width - 1)

    def alone_in(
        self, window: Window, bands: int
    ) -> tuple[tuple[Places, Places], NDArray[np.float32]]:
        """Row and column in a window of pixels that are alone, and their decibels, `(bands, n)`."""
        told = np.array(self.alone, np.int64).reshape(-1, 1 + bands)
        inside, at = self._within(window, told[:, 0])
        return at, (told[inside, 1:].T / _STEPS_A_DB).astype(np.float32)

    def _within(
        self, window: Window, steps: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], tuple[Places, Places]]:
        """Which pixels, each so many after the one before, are in a window, and where there."""
        row, column = np.divmod(steps.cumsum(), self.across)
        row, column = row - window.row, column - window.column
        inside = (row >= 0) & (row < window.height) & (column >= 0) & (column < window.width)
        return inside, (row[inside], column[inside])


def told_alone(decibels: NDArray[np.float32]) -> NDArray[np.int64]:
    """Decibels in the units of `Grid.alone`."""
    return np.rint(decibels * _STEPS_A_DB).astype(np.int64)


def grid_of(rows: Repeats | None, columns: Repeats | None, height: int, width: int) -> Grid | None:
    """The grid of a raster whose pixels repeat those above or to the left in such patterns."""
    if rows is None and columns is None:
        return None
    phases = [_NONE if each is None else _steps_back(each) for each in (rows, columns)]
    y, x = np.arange(height)[:, None], np.arange(width)
    sides, moved = [], []
    for phase, own in zip(phases, (y, x), strict=True):
        places = own - _less(phase, y, x)
        least = int(places.min())
        moved.append((phase[0] + (least << (PHASE_BITS - _BITS[0])), *phase[1:]))
        sides.append(int(places.max()) - least + 1)
    return Grid(*sides, *moved, width)  # type: ignore[arg-type, call-arg]  # tuples of six


def _steps_back(pattern: Repeats) -> Phase:
    """A phase that passes a whole number where a pixel repeats the one before."""
    one, *others = pattern.phase
    along = pattern.phase[1 if pattern.direction == 1 else 2]
    step = 1 << PHASE_BITS
    if along > 0:
        phase = one - pattern.first * step // STEPS, *others
    else:
        end = (pattern.first + pattern.length) * step // STEPS
        phase = end - one, *(-each for each in others)
    return tuple(each >> bits for each, bits in zip(phase, _BITS, strict=True))  # type: ignore[return-value]  # six


def _less(phase: Phase, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.int64]:
    one, by_x, by_y, by_xx, by_xy, by_yy = (
        each << bits for each, bits in zip(phase, _BITS, strict=True)
    )
    at = one + by_x * x + by_xx * x * x + (by_y * y + by_yy * y * y) + by_xy * x * y
    return at >> PHASE_BITS
