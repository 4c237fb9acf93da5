"""Densities of 43 fixed scales and 7 skews: a formula in training, integer tables in coding."""

import math

import torch
from torch import Tensor

from sar_codec.entropy.gaussian import MOST_BITS
from sar_codec.entropy.tables import IntegerTables

STEPS_AN_OCTAVE = 6
OCTAVES_BELOW_ONE = 4
SCALES = 7 * STEPS_AN_OCTAVE + 1
SKEWS = 7
SKEW_STEP = 0.2
# Means lie on so many places between two symbols.
PLACES = 16
# Below 1, tails are heavier than a Gaussian's.
_TAIL = 0.85
# Where beyond it the transformed density is cut; 2^-24 of a Gaussian lies outside.
_REACH = 5.5


def scale_of(index: Tensor) -> Tensor:
    """Scale of an index: 1/16 for 0, up to 8 for 42, six steps an octave."""
    return torch.exp2(index / STEPS_AN_OCTAVE - OCTAVES_BELOW_ONE)


def skewed_bits(low: Tensor, high: Tensor, skew: Tensor) -> Tensor:
    """Bits of a symbol whose interval is `[low, high]`, float32, at most `MOST_BITS`.

    The density is that of sinh-arcsinh: values become Gaussian ones by `sinh(t asinh(x) - skew)`, t
    being 0.85: https://doi.org/10.1093/biomet/asp053. Speckle in dB has its long tail below, which
    is a negative skew.

    Args:
        low: the interval's lower end less the mean, in scales.
        high: its upper end, likewise.
        skew: of the same shape.
    """
    probability = _probability(low.float(), high.float(), skew.float())
    return -(probability + 2.0**-MOST_BITS).log2()


def places_of(scale: int) -> int:
    """How many of the `PLACES` of a mean are told apart: fewer where the density is wide."""
    # A quarter of the scale between two: 0.004 bits.
    whole_octaves = scale // STEPS_AN_OCTAVE - OCTAVES_BELOW_ONE
    return min(max(2 ** (2 - whole_octaves), 1), PLACES)


class SkewedTables(IntegerTables):
    """The tables of all scales, places and skews, of integers around a mean in [-1/2, 1/2)."""

    first: Tensor  # table of each scale and place, for the first skew

    def __init__(self) -> None:
        counts = [places_of(scale) for scale in range(SCALES)]
        scales = scale_of(torch.arange(SCALES, dtype=torch.float64)).tolist()
        # Less a little: 2^1 may be 2 or the next number above, and 11 must not become 12.
        widest = _undone(torch.tensor(_REACH, dtype=torch.float64), (SKEWS - 1) // 2 * SKEW_STEP)
        reaches = [math.ceil(float(widest) * scale + 0.5 - 1e-6) for scale in scales]
        super().__init__(
            [
                2 * reach + 2
                for reach, count in zip(reaches, counts, strict=True)
                for _ in range(count * SKEWS)
            ]
        )
        first, number = torch.empty(SCALES, PLACES, dtype=torch.int64), 0
        skews = skew_of(torch.arange(SKEWS, dtype=torch.float64))
        for scale, (reach, count) in enumerate(zip(reaches, counts, strict=True)):
            edges = torch.arange(-reach, reach + 2, dtype=torch.float64) - 0.5
            together = PLACES // count
            # The middle of the places that are taken together.
            place = torch.arange(count, dtype=torch.float64)
            means = ((place + 0.5) * together - 0.5) / PLACES - 0.5
            ends = ((edges - means[:, None]) / scales[scale])[:, None]  # (places, 1, edges)
            probability = _probability(ends[..., :-1], ends[..., 1:], skews[:, None])
            self.fill(number, -reach, probability.flatten(0, 1))
            tables = number + SKEWS * torch.arange(count)
            first[scale] = tables.repeat_interleave(together)
            number += SKEWS * count
        self.register_buffer("first", first.flatten(), persistent=False)

    def number(self, scale: Tensor, place: Tensor, skew: Tensor) -> Tensor:
        """The table of a scale, a mean's place in [0, 16), -8 sixteenths being 0, and a skew."""
        return self.first[scale * PLACES + place] + skew


def skew_of(index: Tensor) -> Tensor:
    """Skew of an index, 0 in the middle."""
    return (index - (SKEWS - 1) // 2) * SKEW_STEP


def _undone(z: Tensor, skew: float) -> Tensor:
    return torch.sinh((torch.asinh(z) + skew) / _TAIL)


def _probability(low: Tensor, high: Tensor, skew: Tensor) -> Tensor:
    low, high = _gaussian(low, skew), _gaussian(high, skew)
    # Both ends on the lower side, where differences of a normal distribution are exact.
    is_above = low + high > 0
    return _below(torch.where(is_above, -low, high)) - _below(torch.where(is_above, -high, low))


def _gaussian(x: Tensor, skew: Tensor) -> Tensor:
    # Beyond 5, sinh is 74: nothing is left there, and its gradient only overflows.
    return torch.sinh((_TAIL * torch.asinh(x) - skew).clamp(-5, 5))


def _below(x: Tensor) -> Tensor:
    """The normal distribution function."""
    return 0.5 * torch.erfc(-math.sqrt(0.5) * x)
