"""What is fitted to a tile and sent with it, so that the network suits what it never saw."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sar_codec.coding.rulers import PLACES, UNIT, Ruler
from sar_codec.entropy.coding import SymbolDecoder, SymbolEncoder
from sar_codec.entropy.gaussian import SCALES, gaussian_bits, gaussian_tables, scale_of
from sar_codec.entropy.skewed import skewed_bits
from sar_codec.entropy.tables import IntegerTables
from sar_codec.models.exact import SPARE, ExactTeller, exact_reference
from sar_codec.models.interlacing import Kind, Surroundings
from sar_codec.models.kernels import (
    LARGEST_WEIGHT,
    SPREAD_STEPS,
    WEIGHT_STEPS,
    fitted,
    plain_kernel,
)

_PIXELS_OF_A_FIT = 16_384
_PIXELS_OF_A_WIDENING = 4096
# In units of 1/32 octave, one step apart; a parabola tells what lies between.
_STEP = 6
_WIDENINGS = range(-3 * _STEP, 5 * _STEP, _STEP)
# Weights are coded as Gaussian, of one of these scales, half an octave apart from 0.7/128.
_SCALES = range(15, SCALES, 3)
_HALF = 64  # of what spread and widening range over
_BITS_BESIDE = torch.tensor([len(_SCALES).bit_length() - 1, 7, 7])


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
    def plain(cls, kind: Kind) -> "TileKernel":
        """The one that is not fitted."""
        kernel = plain_kernel(1, len(kind.offsets), torch.device("cpu"))
        return cls(kernel.weights[0].long(), round(float(kernel.spread) * SPREAD_STEPS))

    def put(self, encoder: SymbolEncoder) -> None:
        """Codes it: weights of one of each pair of opposite places, and what is beside them."""
        weights = self.weights[::2]
        scales = scale_of(torch.tensor(_SCALES))[:, None].expand(-1, len(weights))
        scale = int(gaussian_bits(weights.expand(len(_SCALES), -1), scales).sum(1).argmin())
        beside = [scale, self.spread + _HALF, self.widening + _HALF]
        encoder.put_bits(torch.tensor(beside), _BITS_BESIDE)
        encoder.put(weights, _tables(), torch.full_like(weights, _SCALES[scale]))

    @classmethod
    def take(cls, decoder: SymbolDecoder, kind: Kind) -> "TileKernel":
        """The kernel that was `put`.

        Raises:
            UserError: the data are damaged.
        """
        scale, spread, widening = decoder.take_bits(_BITS_BESIDE).tolist()
        which = torch.full((len(kind.offsets) // 2,), _SCALES[scale])
        weights = decoder.take(_tables(), which).clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
        return cls(weights.repeat_interleave(2), spread - _HALF, widening - _HALF)


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

    def of_rows(self, rows: range, kernel: TileKernel) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, binary logarithm of the scale in dB, and skew: `(N,)` each, in units of 1/32."""
        known = self.surroundings.of_rows_of_one(rows, spare=SPARE)
        near = exact_reference(known)
        known[:-SPARE].sub_(near)
        local = self.ruler.log_widths(near) - self._nominal
        mean, log_scale, skew = self._teller(known, kernel.weights, kernel.spread, local)
        return mean.add_(near), log_scale.add_(kernel.widening), skew


@cache
def _tables() -> IntegerTables:
    return gaussian_tables()


def fitted_to_tile(predictions: Predictions, values: Tensor) -> TileKernel:
    """The kernel for a pass, fitted to some of its rows.

    Args:
        predictions: for the pass.
        values: decibels of its pixels, `(1, h, w)` in units of 1/32, NaN where they do not count.
    """
    around = predictions.surroundings
    rows = _spread_rows(around, _PIXELS_OF_A_FIT)
    found = fitted(
        around.of_rows(rows) / UNIT, values[:, rows.start : rows.stop : rows.step] / UNIT
    )
    steps = (found.weights[0] * WEIGHT_STEPS).long()
    kernel = TileKernel(steps, round(float(found.spread) * SPREAD_STEPS))
    return kernel._replace(widening=_widening(predictions, kernel, values[0]))


def _widening(predictions: Predictions, kernel: TileKernel, values: Tensor) -> int:
    """How much wider than told densities would have to be, for the fewest bits."""
    rows = _spread_rows(predictions.surroundings, _PIXELS_OF_A_WIDENING)
    mean, log_scale, skew = predictions.of_rows(rows, kernel)
    wanted = values[rows.start : rows.stop : rows.step].flatten()
    counts = wanted.isfinite()
    if not counts.any():
        return 0
    log_width = predictions.ruler.log_widths(mean)
    width = UNIT * torch.exp2(log_width / UNIT)
    # Off the mean by whole cells, and by what it is off the middle of its own.
    off = predictions.ruler.laid(mean)[1] / PLACES
    off = (((wanted - mean) / width + off).round() - off)[counts]
    log_scale, skew = log_scale[counts], skew[counts] / UNIT
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
    return surroundings.rows[:: max(len(surroundings.rows) // count, 1)]
