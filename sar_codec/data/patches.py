"""Where training windows lie: what of an image is valid, and which windows hold nothing else."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sar_codec.data.raster import Footprint

# Validity is kept for squares of this many pixels, as a bit would be too much for large scenes.
BLOCK = 16
STRIP = 32 * BLOCK

_LOWEST_DB, _BIN_DB, _BINS = -100.0, 0.02, 12_500

Item = TypeVar("Item")


class Scene(Protocol):
    """An image that is read window by window: a band of a file, or a synthetic scene."""

    @property
    def name(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def footprint(self) -> Footprint | None: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    def read(self, row: int, column: int, height: int, width: int) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Area:
    """A rectangle of a scene, the part of it that training or validation may see."""

    scene: Scene
    row: int
    column: int
    height: int
    width: int

    @classmethod
    def whole(cls, scene: Scene) -> "Area":
        return cls(scene, 0, 0, scene.height, scene.width)

    def read(self, row: int, column: int, height: int, width: int) -> NDArray[np.float32]:
        """Decibels of a window of the area, `(height, width)`, NaN where invalid."""
        return self.scene.read(self.row + row, self.column + column, height, width)


class Held:
    """A scene whose decibels are in memory, float32, read once."""

    def __init__(self, scene: Scene) -> None:
        self.name, self.place, self.footprint = scene.name, scene.place, scene.footprint
        self.height, self.width = scene.height, scene.width
        self._decibels = scene.read(0, 0, scene.height, scene.width)

    def read(self, row: int, column: int, height: int, width: int) -> NDArray[np.float32]:
        return self._decibels[row : row + height, column : column + width]


@dataclass(frozen=True)
class Survey:
    """What one pass over an area found.

    Attributes:
        area: the area.
        valid: per square of 16 pixels whether all of it is valid, `(ceil(H/16), ceil(W/16))`.
        histogram: valid pixels per bin of 0.02 dB from -100 dB.
    """

    area: Area
    valid: NDArray[np.bool_]
    histogram: NDArray[np.int64]

    @property
    def valid_pixels(self) -> int:
        return int(self.histogram.sum())

    @property
    def is_blank(self) -> bool:
        """Whether all valid pixels have the same value, as in a product without its data."""
        return int(np.count_nonzero(self.histogram)) == 1


def survey(area: Area) -> Survey:
    """Reads an area once, strip by strip."""
    blocks = -(-area.height // BLOCK), -(-area.width // BLOCK)
    valid = np.empty(blocks, bool)
    histogram = np.zeros(_BINS, np.int64)
    for row in range(0, area.height, STRIP):
        height = min(STRIP, area.height - row)
        decibels = area.read(row, 0, height, area.width)
        finite = np.isfinite(decibels)
        # Rows and columns that fill up the last squares hold no invalid pixel.
        fill = (0, -height % BLOCK), (0, -area.width % BLOCK)
        squares = np.pad(finite, fill, constant_values=True)
        squares = squares.reshape(-1, BLOCK, blocks[1], BLOCK)
        valid[row // BLOCK :][: len(squares)] = squares.all((1, 3))
        bins = ((decibels[finite] - _LOWEST_DB) / _BIN_DB).astype(np.int64)
        histogram += np.bincount(bins.clip(0, _BINS - 1), minlength=_BINS)
    return Survey(area, valid, histogram)


def whole_and_valid(area: Area) -> Survey:
    """The survey of an area that is known to be valid, without looking."""
    blocks = -(-area.height // BLOCK), -(-area.width // BLOCK)
    return Survey(area, np.ones(blocks, bool), np.zeros(_BINS, np.int64))


def percentiles(surveys: Iterable[Survey], low: float, high: float) -> tuple[float, float]:
    """Two percentiles of all valid pixels, in dB, to 0.02 dB."""
    cumulative = np.cumsum(np.sum([each.histogram for each in surveys], axis=0))
    at_low, at_high = np.searchsorted(cumulative, cumulative[-1] * np.array([low, high]) / 100)
    return (
        round(_LOWEST_DB + int(at_low) * _BIN_DB, 2),
        round(_LOWEST_DB + (int(at_high) + 1) * _BIN_DB, 2),
    )


class Windows:
    """The windows of `size` x `size` pixels of one area that hold valid pixels only.

    Attributes:
        grid: the upper left corners of those that lie side by side, `(N, 2)` rows and columns.
    """

    def __init__(self, found: Survey, size: int) -> None:
        self.area = found.area
        self.size = size
        self._last = found.area.height - size, found.area.width - size
        invalid = np.pad(~found.valid, ((1, 0), (1, 0))).astype(np.int64)
        self._invalid_above_left = invalid.cumsum(0).cumsum(1)

        rows = np.arange(0, self._last[0] + 1, size)
        columns = np.arange(0, self._last[1] + 1, size)
        fits = self._all_valid(rows, rows, columns, columns)
        self.grid = np.argwhere(fits) * size

        # Squares within which the upper left corner may lie anywhere.
        rows = np.arange(0, self._last[0] + 1, BLOCK)
        columns = np.arange(0, self._last[1] + 1, BLOCK)
        self._free = self._all_valid(
            rows,
            np.minimum(rows + BLOCK - 1, self._last[0]),
            columns,
            np.minimum(columns + BLOCK - 1, self._last[1]),
        )
        self._free_until_row = self._free.sum(1).cumsum()

    def __len__(self) -> int:
        """How many there are side by side, or 1 when they only fit elsewhere."""
        return len(self.grid) or int(self._free.any())

    def random(self, rng: np.random.Generator) -> tuple[int, int]:
        """The upper left corner of a window, row and column, all about equally likely."""
        total = int(self._free_until_row[-1])
        if not total:
            row, column = self.grid[rng.integers(len(self.grid))]
            return int(row), int(column)
        nth = int(rng.integers(total))
        row = int(np.searchsorted(self._free_until_row, nth, side="right"))
        in_row = np.flatnonzero(self._free[row])
        column = in_row[nth - int(self._free_until_row[row])]
        jitter = rng.integers(0, BLOCK, size=2)
        return (
            min(row * BLOCK + int(jitter[0]), self._last[0]),
            min(int(column) * BLOCK + int(jitter[1]), self._last[1]),
        )

    def side_by_side(self) -> list[tuple[int, int]]:
        """The upper left corners of `grid`, or the one window there is."""
        if not len(self.grid):
            return [self.random(np.random.default_rng(0))]
        return [(int(row), int(column)) for row, column in self.grid]

    def _all_valid(
        self,
        first_row: NDArray[np.int64],
        last_row: NDArray[np.int64],
        first_column: NDArray[np.int64],
        last_column: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Whether windows with corners from first to last, inclusive, touch no invalid square."""
        top, bottom = first_row // BLOCK, (last_row + self.size - 1) // BLOCK + 1
        left, right = first_column // BLOCK, (last_column + self.size - 1) // BLOCK + 1
        counts = self._invalid_above_left
        inside = (
            counts[bottom][:, right]
            - counts[top][:, right]
            - counts[bottom][:, left]
            + counts[top][:, left]
        )
        return inside == 0


def interleaved(lists: Iterable[list[Item]]) -> Iterator[Item]:
    """The first of each list, then the second of each, and so on."""
    missing = object()
    for nth in zip_longest(*lists, fillvalue=missing):
        yield from (item for item in nth if item is not missing)  # type: ignore[misc]  # Item or missing
