"""Gaussian densities of 64 fixed scales: a formula in training, integer tables in coding."""

import math

import torch
from torch import Tensor

from sar_codec.entropy.tables import IntegerTables

SCALES = 64
_STEPS_AN_OCTAVE = 6
_OCTAVES_BELOW_ONE = 3
_REACH = 5.5  # of tables, in scales; 2^-24 of all lies further out
# In training no symbol costs more, as escapes make it in coding.
MOST_BITS = 32


def scale_of(index: Tensor) -> Tensor:
    """Standard deviation of a scale index: 1/8 for 0, up to 181 for 63, six steps an octave.

    An index between two steps, as training has it, gives a scale between. A scale is off by 6 % at
    most when rounded to a step, which costs 0.001 bits a symbol.
    """
    return torch.exp2(index / _STEPS_AN_OCTAVE - _OCTAVES_BELOW_ONE)


def index_of(scale: Tensor) -> Tensor:
    """The inverse of `scale_of`, not rounded."""
    return _STEPS_AN_OCTAVE * (scale.log2() + _OCTAVES_BELOW_ONE)


def gaussian_bits(deviation: Tensor, scale: Tensor) -> Tensor:
    """Bits of a symbol that lies so far from its mean, float32, at most `MOST_BITS`.

    The symbol's probability is that of the interval of length 1 around it.

    Args:
        deviation: symbol minus mean.
        scale: standard deviation, of the same shape.
    """
    probability = _probability(deviation.float(), scale.float())
    return -(probability + 2.0**-MOST_BITS).log2()


def gaussian_tables() -> IntegerTables:
    """The tables of all scales, of integers around a mean of 0; numbered by scale index."""
    tables = IntegerTables([2 * reach + 2 for reach in REACHES])
    for index, reach in enumerate(REACHES):
        symbols = torch.arange(-reach, reach + 1, dtype=torch.float64)
        tables.fill(index, -reach, _probability(symbols, _SCALES[index]))
    return tables


def share_between(low: Tensor, high: Tensor, index: int) -> Tensor:
    """How much of a Gaussian density of a scale index lies in intervals; float64."""
    return _below(high / _SCALES[index]) - _below(low / _SCALES[index])


def _probability(deviation: Tensor, scale: Tensor) -> Tensor:
    distance = deviation.abs()
    # Both ends on the lower side, where differences of a normal distribution are exact.
    return _below((0.5 - distance) / scale) - _below((-0.5 - distance) / scale)


def _below(x: Tensor) -> Tensor:
    """The normal distribution function."""
    return 0.5 * torch.erfc(-math.sqrt(0.5) * x)


_SCALES = scale_of(torch.arange(SCALES, dtype=torch.float64))
# How far from 0 each scale's table goes; what lies further out is coded as an escape.
# Less a little: 2^1 may be 2 or the next number above, and 11 must not become 12.
REACHES: list[int] = (_REACH * _SCALES - 1e-6).ceil().long().tolist()
