"""What is fitted to a tile and sent with it, so that the network suits what it never saw."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sar_codec.coding.rulers import UNIT, Ruler
from sar_codec.entropy.skewed import skewed_bits
from sar_codec.models.exact import SPARE, ExactTeller, exact_reference
from sar_codec.models.interlaced import GRIDS
from sar_codec.models.interlacing import OFFSETS, Pass, Surroundings
from sar_codec.models.kernels import SPREAD_STEPS, WEIGHT_STEPS, fitted, plain_kernel

_PIXELS_OF_A_FIT = 16_384
_PIXELS_OF_A_WIDENING = 4096
# In units of 1/32 octave, one step apart; a parabola tells what lies between.
_STEP = 6
_WIDENINGS = range(-3 * _STEP, 5 * _STEP, _STEP)


class TileKernel(NamedTuple):
    """A kernel of one pass of a tile.

    Attributes:
        weights: of places around, `(places,)`, int64 in units of 1/128.
        spread: in units of 1/8.
        widening: of all scales that the network tells, in units of 1/32 octave.
    """

    weights: Tensor
    spread: int
    widening: int = 0

    @classmethod
    def plain(cls, kind: int) -> "TileKernel":
        """The one that is not fitted."""
        kernel = plain_kernel(1, len(OFFSETS[kind]), torch.device("cpu"))
        return cls(kernel.weights[0].long(), round(float(kernel.spread) * SPREAD_STEPS))

    @staticmethod
    def size(kind: int) -> int:
        """Bytes of `data`."""
        return len(OFFSETS[kind]) // 2 + 2

    @classmethod
    def of_bytes(cls, data: bytes) -> "TileKernel":
        """The inverse of `data`."""
        numbers = torch.from_numpy(np.frombuffer(data, np.int8).astype(np.int64))
        return cls(numbers[:-2].repeat_interleave(2), int(numbers[-2]), int(numbers[-1]))

    def data(self) -> bytes:
        """A byte for each pair of opposite places, and one each for spread and widening."""
        numbers = [*self.weights[::2].tolist(), self.spread, self.widening]
        return np.array(numbers, np.int8).tobytes()


def may_have_kernel(which: Pass) -> bool:
    """Whether there are pixels enough of such a pass that a kernel of their own pays."""
    return which.spacing < 1 << (GRIDS - 1)


class Predictions:
    """What the network tells of the pixels of a pass of a tile.

    Args:
        surroundings: of the pixels.
        teller: the network.
        nominal: binary logarithm of the width of cells in dB, in units of 1/32.
        ruler: where cells lie.
    """

    def __init__(
        self, surroundings: Surroundings, teller: ExactTeller, nominal: int, ruler: Ruler
    ) -> None:
        self.surroundings = surroundings
        self.ruler = ruler
        self._teller = teller
        self._nominal = nominal

    def of_rows(self, begin: int, end: int, kernel: TileKernel) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, binary logarithm of the scale in dB, and skew: `(N,)` each, in units of 1/32."""
        known = self.surroundings.of_rows_of_one(begin, end, spare=SPARE)
        near = exact_reference(known)
        known[:-SPARE].sub_(near)
        local = self.ruler.log_widths(near) - self._nominal
        mean, log_scale, skew = self._teller(known, kernel.weights, kernel.spread, local)
        return mean.add_(near), log_scale.add_(kernel.widening), skew


def fitted_to_tile(predictions: Predictions, values: Tensor) -> TileKernel:
    """The kernel for a pass, fitted to some of its rows.

    Args:
        predictions: for the pass.
        values: decibels of its pixels, `(1, h, w)` in units of 1/32, NaN where they do not count.
    """
    around = predictions.surroundings
    rows = _spread_rows(around, _PIXELS_OF_A_FIT)
    some = torch.cat([around.of_rows(row, row + 1) for row in rows], 2)
    found = fitted(some / UNIT, values[:, rows.start : rows.stop : rows.step] / UNIT)
    steps = (found.weights[0] * WEIGHT_STEPS).long()
    kernel = TileKernel(steps, round(float(found.spread) * SPREAD_STEPS))
    return kernel._replace(widening=_widening(predictions, kernel, values[0]))


def _widening(predictions: Predictions, kernel: TileKernel, values: Tensor) -> int:
    """How much wider than told densities would have to be, for the fewest bits."""
    rows = _spread_rows(predictions.surroundings, _PIXELS_OF_A_WIDENING)
    told = [predictions.of_rows(row, row + 1, kernel) for row in rows]
    mean, log_scale, skew = (torch.cat(each) for each in zip(*told, strict=True))
    wanted = values[rows.start : rows.stop : rows.step].flatten()
    counts = wanted.isfinite()
    if not counts.any():
        return 0
    log_width = predictions.ruler.log_widths(mean)
    width = UNIT * torch.exp2(log_width / UNIT)
    off, log_scale, skew = ((wanted - mean) / width)[counts], log_scale[counts], skew[counts] / UNIT
    bits = []
    for widening in _WIDENINGS:
        scale = torch.exp2((log_scale + widening - log_width[counts]) / UNIT)
        bits.append(float(skewed_bits((off - 0.5) / scale, (off + 0.5) / scale, skew).sum()))
    best = min(max(int(np.argmin(bits)), 1), len(bits) - 2)
    before, here, after = bits[best - 1 : best + 2]
    bend = before - 2 * here + after
    between = 0.5 * (before - after) / bend if bend > 0 else 0.0
    return _WIDENINGS[best] + round(_STEP * min(max(between, -1), 1))


def _spread_rows(surroundings: Surroundings, pixels: int) -> range:
    """Rows of about so many pixels in all, evenly apart."""
    count = max(pixels // surroundings.columns, 1)
    return range(0, surroundings.rows, max(surroundings.rows // count, 1))
