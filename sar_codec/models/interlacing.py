"""The order in which an image's pixels become known, coarse to fine, and what is around each."""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Offset = tuple[int, int]
NEAREST = 4
_SHIFT = 2  # the farthest place is at most two periods away, in each direction


class Kind(NamedTuple):
    """Pixels of the same place in each square of so many to a side.

    Attributes:
        row: in the square.
        column: likewise.
        period: side of the square.
        offsets: of places that are known, the four nearest first, each followed by the opposite.
    """

    row: int
    column: int
    period: int
    offsets: tuple[Offset, ...]

    @property
    def is_between(self) -> bool:
        """Whether the pixels to the left, right, above and below are known."""
        return (self.row + self.column) % 2 == 1


def _kinds(period: int, farthest_squared: tuple[int, int, int]) -> tuple[Kind, ...]:
    """All kinds in the order in which they become known, squares' even rows' even columns being so.

    What becomes known together cannot tell of each other. In squares of four, pixels that were
    known together in squares of two follow each other, in four steps: the diagonal, then the rest.
    """
    within = ((0, 0), (2, 2), (0, 2), (2, 0)) if period == 4 else ((0, 0),)
    kinds: list[Kind] = []
    for (row, column), farthest in zip(((1, 1), (0, 1), (1, 0)), farthest_squared, strict=True):
        for down, right in within:
            place = row + down, column + right
            known = {(each.row, each.column) for each in kinds}
            kinds.append(Kind(*place, period, _offsets(place, period, known, farthest)))
    return tuple(kinds)


def _offsets(
    place: Offset, period: int, known: set[Offset], farthest_squared: int
) -> tuple[Offset, ...]:
    reach = range(-math.isqrt(farthest_squared), math.isqrt(farthest_squared) + 1)
    half = []
    for down, right in itertools.product(reach, reach):
        row, column = (place[0] + down) % period, (place[1] + right) % period
        is_known = row % 2 == column % 2 == 0 or (row, column) in known
        if is_known and (down, right) < (0, 0) and down**2 + right**2 <= farthest_squared:
            half.append((down, right))
    half.sort(key=lambda each: (each[0] ** 2 + each[1] ** 2, each))
    return tuple(each for down, right in half for each in ((down, right), (-down, -right)))


COARSE = _kinds(2, (18, 18, 10))
# Of the finest grid, where pixels told at once tell much of each other.
FINE = _kinds(4, (26, 18, 10))


class Pass(NamedTuple):
    """Some pixels of one level, all told by pixels of earlier passes.

    Attributes:
        kind: which pixels, of the grid that the level makes complete.
        spacing: of that grid, in pixels.
    """

    kind: Kind
    spacing: int

    @property
    def has_kernel(self) -> bool:
        """Whether it has pixels enough that a kernel of their own pays."""
        return self.spacing <= 2

    def of(self, image: Tensor) -> Tensor:
        """The pass's pixels of images `(..., H, W)`: a view."""
        return _every(image, self.kind.row, self.kind.column, self.kind.period, self.spacing)


def passes(height: int, width: int) -> Iterator[Pass]:
    """Passes that make all pixels known once the first, in the upper left corner, is."""
    levels = (max(height, width) - 1).bit_length()
    for level in reversed(range(levels)):
        for kind in COARSE if level else FINE:
            if kind.row << level < height and kind.column << level < width:
                yield Pass(kind, 1 << level)


class Surroundings:
    """What is around the pixels of one pass.

    Beyond the image's edges, the last place of the same kind is repeated.

    Args:
        image: `(B, H, W)`, in which all that earlier passes coded is known.
        which: the pass.
    """

    def __init__(self, image: Tensor, which: Pass) -> None:
        row, column, period, offsets = which.kind
        rows, columns = which.of(image).shape[1:]
        corner = _every(image, 0, 0, period, which.spacing)
        planes: dict[Offset, Tensor] = {}
        self._around: list[Tensor] = []
        self._starts: list[Offset] = []
        for down, right in offsets:
            place = (row + down) % period, (column + right) % period
            if place not in planes:
                plane = _every(image, *place, period, which.spacing)
                planes[place] = _edged(plane if plane.numel() else corner, rows, columns)
            self._around.append(planes[place])
            below, beside = (row + down) // period, (column + right) // period
            self._starts.append((below + _SHIFT, beside + _SHIFT))
        self.rows, self.columns = range(rows), columns

    def of_rows(self, rows: range) -> Tensor:
        """Of some of the pass's rows: `(B, places, len(rows), columns)`."""
        return torch.stack(self._of_rows(rows), 1)

    def of_rows_of_one(self, rows: range, spare: int) -> Tensor:
        """Likewise, of the only image: `(places + spare, pixels)`, the last so many empty."""
        parts = self._of_rows(rows)
        known = parts[0].new_empty(len(parts) + spare, len(rows) * self.columns)
        places = known[: len(parts)].view(len(parts), len(rows), self.columns)
        torch.stack([part[0] for part in parts], out=places)
        return known

    def _of_rows(self, rows: range) -> list[Tensor]:
        return [
            plane[:, row + rows.start : row + rows.stop : rows.step, column:][..., : self.columns]
            for plane, (row, column) in zip(self._around, self._starts, strict=True)
        ]


def _every(image: Tensor, row: int, column: int, period: int, spacing: int) -> Tensor:
    step = period * spacing
    return image[..., row * spacing :: step, column * spacing :: step]


def _edged(plane: Tensor, rows: int, columns: int) -> Tensor:
    """A plane with so much at each edge that places around `rows` x `columns` pixels exist."""
    below, beside = rows - plane.shape[1] + _SHIFT, columns - plane.shape[2] + _SHIFT
    return functional.pad(plane, (_SHIFT, beside, _SHIFT, below), "replicate")
