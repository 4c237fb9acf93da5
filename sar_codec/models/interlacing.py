"""The order in which an image's pixels become known, coarse to fine, and what is around each."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Offset = tuple[int, int]
# A place's parity of row and column in the grid that a level makes complete.
KINDS: tuple[Offset, ...] = ((1, 1), (0, 1), (1, 0))
_FARTHEST_SQUARED = {(1, 1): 18, (0, 1): 10, (1, 0): 10}
_SHIFT = 2  # the farthest place, three away, is two away among those of its parity


class Pass(NamedTuple):
    """Some pixels of one level, all told by pixels of earlier passes.

    Attributes:
        kind: which of `KINDS`.
        spacing: of the grid that the level makes complete, in pixels.
    """

    kind: int
    spacing: int

    def of(self, image: Tensor) -> Tensor:
        """The pass's pixels of images `(..., H, W)`: a view."""
        row, column = KINDS[self.kind]
        return _every_second(image, row, column, self.spacing)


def passes(height: int, width: int) -> Iterator[Pass]:
    """Passes that make all pixels known once the first, in the upper left corner, is."""
    levels = (max(height, width) - 1).bit_length()
    for level in reversed(range(levels)):
        for kind, (row, column) in enumerate(KINDS):
            if row << level < height and column << level < width:
                yield Pass(kind, 1 << level)


def _offsets(kind: Offset) -> tuple[Offset, ...]:
    """Places that are known, the four nearest first, each followed by the one opposite."""
    known = {(0, 0), *KINDS[: KINDS.index(kind)]}
    places = [
        (down, right)
        for down in range(-3, 4)
        for right in range(-3, 4)
        if ((kind[0] + down) % 2, (kind[1] + right) % 2) in known
        and down**2 + right**2 <= _FARTHEST_SQUARED[kind]
    ]
    half = [place for place in places if place < (0, 0)]
    half.sort(key=lambda place: (place[0] ** 2 + place[1] ** 2, place))
    return tuple(each for place in half for each in (place, (-place[0], -place[1])))


# Of each kind, where the known places lie that tell of a pixel.
OFFSETS = tuple(_offsets(kind) for kind in KINDS)
NEAREST = 4


class Surroundings:
    """What is around the pixels of one pass.

    Beyond the image's edges, the last known place of the same parity is repeated.

    Args:
        image: `(B, H, W)`, in which all that earlier passes coded is known.
        which: the pass.
    """

    def __init__(self, image: Tensor, which: Pass) -> None:
        row, column = KINDS[which.kind]
        rows, columns = which.of(image).shape[1:]
        corner = _every_second(image, 0, 0, which.spacing)
        planes: dict[Offset, Tensor] = {}
        self._around: list[Tensor] = []
        self._starts: list[Offset] = []
        for down, right in OFFSETS[which.kind]:
            parity = (row + down) % 2, (column + right) % 2
            if parity not in planes:
                plane = _every_second(image, *parity, which.spacing)
                planes[parity] = _edged(plane if plane.numel() else corner, rows, columns)
            self._around.append(planes[parity])
            below, beside = (row + down - parity[0]) // 2, (column + right - parity[1]) // 2
            self._starts.append((below + _SHIFT, beside + _SHIFT))
        self.rows, self.columns = rows, columns

    def of_rows(self, begin: int, end: int) -> Tensor:
        """Of some of the pass's rows: `(B, places, end - begin, columns)`."""
        return torch.stack(self._of_rows(begin, end), 1)

    def of_rows_of_one(self, begin: int, end: int, spare: int) -> Tensor:
        """Likewise, of the only image: `(places + spare, pixels)`, the last so many rows empty."""
        parts = self._of_rows(begin, end)
        known = parts[0].new_empty(len(parts) + spare, (end - begin) * self.columns)
        places = known[: len(parts)].view(len(parts), end - begin, self.columns)
        torch.stack([part[0] for part in parts], out=places)
        return known

    def _of_rows(self, begin: int, end: int) -> list[Tensor]:
        return [
            plane[:, row + begin : row + end, column : column + self.columns]
            for plane, (row, column) in zip(self._around, self._starts, strict=True)
        ]


def _every_second(image: Tensor, row: int, column: int, spacing: int) -> Tensor:
    return image[..., row * spacing :: 2 * spacing, column * spacing :: 2 * spacing]


def _edged(plane: Tensor, rows: int, columns: int) -> Tensor:
    """A plane with so much at each edge that places around `rows` x `columns` pixels exist."""
    below, beside = rows - plane.shape[1] + _SHIFT, columns - plane.shape[2] + _SHIFT
    return functional.pad(plane, (_SHIFT, beside, _SHIFT, below), "replicate")
