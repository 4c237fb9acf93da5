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
Side = Annotated[int, Gt(0), Le(2**15)]
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
    """

    height: Side
    width: Side
    rows: Phase
    columns: Phase
    across: Side
    moved: tuple[Annotated[int, Ge(0), Le(2**40)], ...] = ()

    def places(self, window: Window) -> tuple[Places, Places]:
        """Row and column on the grid of each pixel of a window, `(h, w)`."""
        y = np.arange(window.row, window.row + window.height)[:, None]
        x = np.arange(window.column, window.column + window.width)
        row, column = y - _less(self.rows, y, x), x - _less(self.columns, y, x)
        steps, sides = np.divmod(np.array(self.moved, np.int64), len(BESIDE))
        at_row, at_column = np.divmod(steps.cumsum(), self.across)
        at_row, at_column = at_row - window.row, at_column - window.column
        inside = (at_row >= 0) & (at_row < window.height)
        inside &= (at_column >= 0) & (at_column < window.width)
        at = at_row[inside], at_column[inside]
        for place, beside in zip((row, column), np.array(BESIDE)[sides[inside]].T, strict=True):
            np.add.at(place, at, beside)
        return row.clip(0, self.height - 1), column.clip(0, self.width - 1)


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
