"""Rasters on the coarser grid that they were taken from, each pixel being the nearest one there.

What maps and exports make of a scene so, as Earth Engine does by default, holds many pixels twice,
in a pattern that a network for images cannot know. It is coded on the grid that it comes from.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.compressing import Source
from sar_codec.coding.grids import (
    BESIDE,
    LONGEST,
    MOST_PIXELS,
    Grid,
    grid_of,
    told_alone,
)
from sar_codec.coding.pixels import Stored, filled
from sar_codec.coding.repeats import pattern_of
from sar_codec.coding.tiling import Window
from sar_codec.data.description import Description

_PART = 256  # to a side, which shows whether pixels repeat
# Of pixels, that the grid may have at most for it to be worth being told.
_WORTH = 0.95
# Of pixels, that a pattern may take from the place beside the right one.
_MOST_MISTAKEN = 1e-3


class GridSource:
    """A raster on the grid that it comes from.

    Places that no pixel was taken from have what is around them.

    Args:
        description: of the raster.
        grid: of it.
        pixels: on the grid, `(bands, H, W)`.
        valid: likewise.

    Attributes:
        description: likewise, of the size of the grid.
        grid: likewise.
    """

    def __init__(
        self,
        description: Description,
        grid: Grid,
        pixels: NDArray[Any],
        valid: NDArray[np.bool_],
    ) -> None:
        self.description = replace(description, height=grid.height, width=grid.width)
        self.grid = grid
        self._pixels, self._valid = pixels, valid

    def read(
        self, row: int, column: int, height: int, width: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        part = (slice(None), slice(row, row + height), slice(column, column + width))
        return self._pixels[part], self._valid[part]

    def read_mask(self, row: int, column: int, height: int, width: int) -> NDArray[np.bool_]:
        raise AssertionError("rasters with masks are not coded on their grids")

    def read_alpha(self, row: int, column: int, height: int, width: int) -> NDArray[Any]:
        raise AssertionError("rasters with alpha bands are not coded on their grids")


def on_its_grid(source: Source, stored: list[Stored]) -> GridSource | None:
    """A raster on the grid that it comes from, where that is found and saves much.

    One of up to 4 Mpx: all of it is looked at, and one pattern fits no scene of a hundred
    kilometres.

    Args:
        source: the raster.
        stored: how its bands store their values.
    """
    raster = source.description
    is_large = (
        raster.height * raster.width > MOST_PIXELS or max(raster.height, raster.width) > LONGEST
    )
    if is_large or raster.has_mask or raster.alpha is not None:
        return None
    whole = Window(0, 0, raster.height, raster.width)
    if _repeating(source.read(*_middle(whole))[0][0]) < 1 - _WORTH:
        return None
    pixels, valid = source.read(*whole)
    rows, columns = (pattern_of(pixels[0], valid[0], direction) for direction in (0, 1))
    grid = grid_of(rows, columns, raster.height, raster.width)
    if grid is None or grid.height * grid.width > raster.height * raster.width:
        return None
    taken = _Taken(grid, pixels, valid)
    if taken.is_taken.sum() > _WORTH * pixels[0].size:
        return None
    if taken.mistaken.mean() > _MOST_MISTAKEN:
        return None
    taken = _Taken(replace(grid, moved=_moved(taken, pixels)), pixels, valid)
    return _moved_to(taken, raster, stored, pixels, valid)


def _moved_to(
    taken: "_Taken",
    raster: Description,
    stored: list[Stored],
    pixels: NDArray[Any],
    valid: NDArray[np.bool_],
) -> GridSource | None:
    """A raster on a grid, which then tells of pixels that are alone; None if it cannot."""
    own, decibels = (
        np.stack([each.to_decibels(band) for each, band in zip(stored, some, strict=True)])
        for some in (pixels, taken.pixels)
    )
    has_some = np.isfinite(decibels) & taken.valid
    there = has_some[:, *taken.places]
    alone = taken.mistaken
    # What has no decibels is to come back to the last bit, and nothing is to become so.
    if not (np.isfinite(own) & valid & there)[:, alone].all():
        return None
    told = [np.diff(np.flatnonzero(alone), prepend=0), *told_alone(own[:, alone])]
    grid = replace(taken.grid, alone=tuple(map(tuple, np.stack(told, 1).tolist())))
    for band, each in enumerate(stored):
        known = np.where(has_some[band] & taken.is_taken, decibels[band], np.float32(np.nan))
        if np.isfinite(known).any():
            taken.pixels[band][~taken.is_taken] = each.to_pixels(filled(known))[~taken.is_taken]
    taken.valid[:, ~taken.is_taken] = True
    return GridSource(raster, grid, taken.pixels, taken.valid)


class _Taken:
    """A raster's pixels on a grid, each at its place.

    Attributes:
        grid: which.
        places: of the raster's pixels on the grid.
        pixels: of the grid, `(bands, H, W)`.
        valid: likewise.
        is_taken: where there are any, `(H, W)`.
        mistaken: pixels of the raster that are not what is at their places, in any band.
    """

    def __init__(self, grid: Grid, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        self.grid = grid
        self.places = grid.places(Window(0, 0, *pixels.shape[1:]))
        self.is_taken = np.zeros((grid.height, grid.width), np.bool_)
        self.is_taken[self.places] = True
        self.pixels = np.zeros((len(pixels), grid.height, grid.width), pixels.dtype)
        self.valid = np.zeros(self.pixels.shape, np.bool_)
        self.pixels[:, *self.places], self.valid[:, *self.places] = pixels, valid
        is_other = _bits(self.pixels)[:, *self.places] != _bits(pixels)
        self.mistaken = (is_other | (self.valid[:, *self.places] != valid)).any(0)


def _middle(whole: Window) -> Window:
    sides = [min(side, _PART) for side in whole[2:]]
    row, column = ((of - side) // 2 for of, side in zip(whole[2:], sides, strict=True))
    return Window(row, column, sides[0], sides[1])


def _repeating(pixels: NDArray[Any]) -> float:
    """The share of pixels that are the same as the one above or to the left."""
    above, left = pixels[1:] == pixels[:-1], pixels[:, 1:] == pixels[:, :-1]
    return float((above.sum() + left.sum()) / pixels.size)


def _bits(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels.view(f"u{pixels.itemsize}")


def _moved(taken: _Taken, pixels: NDArray[Any]) -> tuple[int, ...]:
    """Of pixels that are not what is at their place, those that may be at one beside it."""
    on_grid, wanted = _bits(taken.pixels), _bits(pixels).reshape(len(pixels), -1)
    (rows, columns), grid = taken.places, taken.grid
    moved, last = [], 0
    for pixel in np.flatnonzero(taken.mistaken).tolist():
        for side, (down, right) in enumerate(BESIDE):
            row, column = int(rows.flat[pixel]) + down, int(columns.flat[pixel]) + right
            if not (0 <= row < grid.height and 0 <= column < grid.width):
                continue
            if not taken.is_taken[row, column]:
                on_grid[:, row, column] = wanted[:, pixel]
                taken.is_taken[row, column] = True
            if (on_grid[:, row, column] == wanted[:, pixel]).all():
                moved.append((pixel - last) * len(BESIDE) + side)
                last = pixel
                break
    return tuple(moved)
