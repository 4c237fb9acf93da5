"""The interlaced network's answers in integers: the same on every machine."""

from functools import lru_cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sar_codec.entropy.integer import FRACTION, IntegerLayer, multiplies_float32_in_full, versions
from sar_codec.entropy.skewed import (
    OCTAVES_BELOW_ONE,
    PLACES,
    SCALES,
    SKEWS,
    STEPS_AN_OCTAVE,
    SkewedTables,
)
from sar_codec.models.interlaced import LARGEST, LEVELS, LOWEST_LEVEL, Teller
from sar_codec.models.interlacing import NEAREST
from sar_codec.models.kernels import SPREAD_STEPS, WEIGHT_STEPS

SPARE = 2  # inputs of a network beside what is around a pixel
_LARGEST = int(LARGEST * FRACTION)
# In units of products, or of 1/2 where that is less.
_LARGEST_SUM = 2**23 - 1
_LARGEST_BIAS = 2**21
_LARGEST_ANSWER = 2**15 - 1
# So many low bits of a cell's number, at most, are coded as they are.
_MOST_LOW_BITS = 24


class Ruler(Protocol):
    """Numbers on a scale of decibels, which are integers in units of 1/32 here."""

    def laid(self, decibels: Tensor) -> tuple[Tensor, Tensor]: ...
    def log_widths(self, decibels: Tensor) -> Tensor: ...


class Told(NamedTuple):
    """What is known of pixels before they are, int64, all of one shape.

    Attributes:
        origin: number that a pixel's cell 0 is decoded as.
        base: what the number of a cell, without its low bits, is compared with.
        table: of the difference, which is the symbol.
        low_bits: of the cell's number, that are coded as they are.
        cell: where the mean lies.
    """

    origin: Tensor
    base: Tensor
    table: Tensor
    low_bits: Tensor
    cell: Tensor


class _Layer(NamedTuple):
    weight: Tensor
    bias: Tensor  # and 1/2, so that what is rounded down is rounded
    least: int
    largest: int


class ExactTeller:
    """A `Teller` at one level, in integers that float32 holds: in units of 1/32.

    Sums of products are exact, in whichever order, as they stay below 2^23 times what all of them
    are multiples of. Where a layer's weights are too large for that, what enters it is held within
    less than what it is trained with.

    Args:
        teller: the network.
        nominal: binary logarithm of the width of cells in dB, in units of 1/32.
    """

    def __init__(self, teller: Teller, nominal: int) -> None:
        above_lowest = min(max(nominal - LOWEST_LEVEL * FRACTION, 0), (LEVELS - 1) * FRACTION)
        level = torch.tensor([2 * above_lowest], device=teller.enter.weight.device)
        self._dtype = torch.float32 if multiplies_float32_in_full(level.device) else torch.float64
        self._layers = [
            _exact_layer(layer, level, is_first, self._dtype)
            for layer, is_first in (
                (teller.enter, True),
                (teller.inside, False),
                (teller.leave, False),
            )
        ]

    def __call__(self, known: Tensor, weights: Tensor, spread: int, local: Tensor) -> Tensor:
        """Mean less the reference, binary logarithm of the scale, in dB, and skew: `(3, N)`.

        Args:
            known: decibels less the reference, `(places + SPARE, N)`, the last rows free: is
                overwritten, being most of what there is to move in memory.
            weights: of the kernel, `(places,)`, in units of 1/128.
            spread: of the kernel, in units of 1/8.
            local: binary logarithm of the width of the cells there, less the nominal one, `(N,)`.
        """
        places = len(weights)
        if known.dtype != self._dtype:
            known = known.to(self._dtype)
        heaviest = max(int(weights.abs().sum()), 1)
        largest = min(_LARGEST, _LARGEST_SUM // heaviest)
        around = known[:places].clamp_(-largest, largest)
        predicted = weights.to(self._dtype) @ around
        predicted.div_(WEIGHT_STEPS).add_(0.5).floor_()
        around.sub_(predicted)
        known[places] = local
        known[places + 1] = spread * (FRACTION // SPREAD_STEPS)
        for layer in self._layers:
            known.clamp_(layer.least, layer.largest)
            known = torch.addmm(layer.bias, layer.weight, known).floor_()
        known.clamp_(-_LARGEST_ANSWER, _LARGEST_ANSWER)
        known[0] += predicted
        return known.float()


def exact_teller(teller: Teller, nominal: int) -> ExactTeller:
    """An `ExactTeller`; kept, as all tiles of a file are of one level."""
    parameters = list(teller.parameters())
    if any(each.requires_grad for each in parameters):  # optimizers need not tell that they changed
        return ExactTeller(teller, nominal)
    in_full = multiplies_float32_in_full(parameters[0].device)
    return _kept(teller, nominal, (versions(parameters), in_full))


@lru_cache(maxsize=128)
def _kept(teller: Teller, nominal: int, _state: object) -> ExactTeller:
    return ExactTeller(teller, nominal)


def exact_reference(around: Tensor) -> Tensor:
    """`kernels.reference` of integers: `(places, N)` -> `(N,)`."""
    return (around[:NEAREST].sum(0) + NEAREST // 2).div_(NEAREST).floor_()


def numbered(
    mean: Tensor, log_scale: Tensor, skew: Tensor, ruler: Ruler, tables: SkewedTables
) -> Told:
    """What to code pixels by.

    Args:
        mean: in decibels, `(N,)`, integers in units of 1/32, as all.
        log_scale: binary logarithm of the scale in dB.
        skew: of the density.
        ruler: where cells lie.
        tables: of densities.
    """
    octaves = log_scale - ruler.log_widths(mean) + OCTAVES_BELOW_ONE * FRACTION
    scale = (octaves * STEPS_AN_OCTAVE).div_(FRACTION).add_(0.5).floor_().clamp_min_(0)
    # A step is 1/5.
    shape = (skew * 5).div_(FRACTION).add_(0.5 + SKEWS // 2).floor_().clamp_(0, SKEWS - 1).long()
    origin, place = ruler.laid(mean)
    place = place + PLACES // 2
    base = cell = place >> 4
    low_bits = torch.zeros_like(cell)
    if scale.max() >= SCALES:
        octaves_above = ((scale - (SCALES - 1)) / STEPS_AN_OCTAVE).ceil_()
        low_bits = octaves_above.clamp_(0, _MOST_LOW_BITS).long()
        scale = (scale - STEPS_AN_OCTAVE * low_bits).clamp_max_(SCALES - 1)
        # The middle of a coarse cell is that of those it is made of.
        place = ((place - (PLACES // 2 << low_bits)) >> low_bits) + PLACES // 2
        base = place >> 4
    return Told(
        origin, base, tables.number(scale.long(), place & (PLACES - 1), shape), low_bits, cell
    )


def _exact_layer(layer: IntegerLayer, level: Tensor, is_first: bool, dtype: torch.dtype) -> _Layer:
    weight, bias, unit = layer.integers(level)
    bias = bias[0].clamp(-_LARGEST_BIAS, _LARGEST_BIAS)
    # Of each sum that is rounded, 1/2 and the bias included.
    heaviest = weight.abs().sum(1) + 1
    room = ((_LARGEST_SUM - bias[:, 0].abs()) / heaviest).floor().min()
    largest = min(int(room), _LARGEST)
    least = -largest if is_first else 0  # between layers, activations are rectified
    return _Layer((weight * unit).to(dtype), (bias * unit + 0.5).to(dtype), least, largest)
