"""An image as tiles, whose latents are coded independently."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

ALIGNMENT = 64  # sides of tiles are multiples of it, as networks need it
LARGEST_SIDE = 4096
_FEW_AND_ODD = range(3, 16, 2)


class Window(NamedTuple):
    """A rectangle of an image, in pixels."""

    row: int
    column: int
    height: int
    width: int

    def grown(self, margin: int, height: int, width: int) -> "Window":
        """With so many more pixels on each side, as far as an image of that size has them."""
        top, left = max(self.row - margin, 0), max(self.column - margin, 0)
        bottom = min(self.row + self.height + margin, height)
        right = min(self.column + self.width + margin, width)
        return Window(top, left, bottom - top, right - left)

    def with_blocks_around(self, side: int) -> "Window":
        """The squares of an image that it touches, and one more on each side, there or not."""
        top, left = (self.row // side - 1) * side, (self.column // side - 1) * side
        bottom = (-(-(self.row + self.height) // side) + 1) * side
        right = (-(-(self.column + self.width) // side) + 1) * side
        return Window(top, left, bottom - top, right - left)

    def shared_with(self, other: "Window") -> "Window":
        """What both cover; of height or width 0 where nothing."""
        top, left = max(self.row, other.row), max(self.column, other.column)
        bottom = min(self.row + self.height, other.row + other.height)
        right = min(self.column + self.width, other.column + other.width)
        return Window(top, left, max(bottom - top, 0), max(right - left, 0))

    def within(self, outer: "Window") -> tuple[slice, slice]:
        """Where it lies in an array that holds another window, which covers it."""
        row, column = self.row - outer.row, self.column - outer.column
        return slice(row, row + self.height), slice(column, column + self.width)


@dataclass(frozen=True)
class Tiling:
    """Which pixels of an image a tile covers; tiles are numbered row by row.

    Attributes:
        height: of the image.
        width: of the image.
        tile_height: of all tiles but those of the last row.
        tile_width: of all tiles but those of the last column.
    """

    height: int
    width: int
    tile_height: int
    tile_width: int

    @classmethod
    def of(cls, height: int, width: int, largest: int) -> "Tiling":
        """Tiles of about the same size, the sides at most `largest`, a multiple of 64.

        A few tiles are an even number, so that no thread is left with one while others wait.
        """
        rows, columns = -(-height // largest), -(-width // largest)
        if rows * columns in _FEW_AND_ODD:
            rows, columns = (rows + 1, columns) if columns <= rows else (rows, columns + 1)
        sides = [
            -(-side // (count * ALIGNMENT)) * ALIGNMENT
            for side, count in ((height, rows), (width, columns))
        ]
        return cls(height, width, *sides)

    @property
    def rows(self) -> int:
        return -(-self.height // self.tile_height)

    @property
    def columns(self) -> int:
        return -(-self.width // self.tile_width)

    @property
    def count(self) -> int:
        return self.rows * self.columns

    def window(self, tile: int) -> Window:
        """What a tile covers."""
        row, column = divmod(tile, self.columns)
        top, left = row * self.tile_height, column * self.tile_width
        height = min(self.tile_height, self.height - top)
        return Window(top, left, height, min(self.tile_width, self.width - left))

    def touched(self, window: Window) -> Iterator[int]:
        """The tiles that hold some of a window's pixels."""
        last_row = (window.row + window.height - 1) // self.tile_height
        last_column = (window.column + window.width - 1) // self.tile_width
        for row in range(window.row // self.tile_height, last_row + 1):
            for column in range(window.column // self.tile_width, last_column + 1):
                yield row * self.columns + column
