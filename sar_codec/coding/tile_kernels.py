"""Kernels that are fitted to a tile and sent with it."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sar_codec.coding.rulers import UNIT
from sar_codec.models.interlaced import GRIDS
from sar_codec.models.interlacing import OFFSETS, Pass, Surroundings
from sar_codec.models.kernels import SPREAD_STEPS, WEIGHT_STEPS, fitted, plain_kernel

_PIXELS_OF_A_FIT = 16_384


class TileKernel(NamedTuple):
    """A kernel of one pass of a tile.

    Attributes:
        weights: of places around, `(places,)`, int64 in units of 1/128.
        spread: in units of 1/8.
    """

    weights: Tensor
    spread: int

    @classmethod
    def plain(cls, kind: int) -> "TileKernel":
        """The one that is not fitted."""
        kernel = plain_kernel(1, len(OFFSETS[kind]), torch.device("cpu"))
        return cls(kernel.weights[0].long(), round(float(kernel.spread) * SPREAD_STEPS))

    @staticmethod
    def size(kind: int) -> int:
        """Bytes of `data`."""
        return len(OFFSETS[kind]) // 2 + 1

    @classmethod
    def of_bytes(cls, data: bytes) -> "TileKernel":
        """The inverse of `data`."""
        numbers = torch.from_numpy(np.frombuffer(data, np.int8).astype(np.int64))
        return cls(numbers[:-1].repeat_interleave(2), int(numbers[-1]))

    def data(self) -> bytes:
        """A byte for each pair of opposite places, and one for the spread."""
        numbers = [*self.weights[::2].tolist(), self.spread]
        return np.array(numbers, np.int8).tobytes()


def may_have_kernel(which: Pass) -> bool:
    """Whether there are pixels enough of such a pass that a kernel of their own pays."""
    return which.spacing < 1 << (GRIDS - 1)


def fitted_to_tile(surroundings: Surroundings, values: Tensor) -> TileKernel:
    """The kernel for a pass, fitted to some of its rows; values are NaN where not valid."""
    count = max(_PIXELS_OF_A_FIT // surroundings.columns, 1)
    step = max(surroundings.rows // count, 1)
    rows = range(0, surroundings.rows, step)
    around = torch.cat([surroundings.of_rows(row, row + 1) for row in rows], 2)
    kernel = fitted(around / UNIT, values[:, ::step] / UNIT)
    steps = (kernel.weights[0] * WEIGHT_STEPS).long()
    return TileKernel(steps, round(float(kernel.spread) * SPREAD_STEPS))
