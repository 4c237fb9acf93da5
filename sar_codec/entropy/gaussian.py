"""Gaussian densities of 64 fixed scales: a formula in training, integer tables in coding."""

import math

import torch
from torch import Tensor

from sar_codec.entropy.tables import IntegerTables

SCALES = 64
_STEPS_AN_OCTAVE = 6
_OCTAVES_BELOW_ONE = 3
# In scales; what lies further out, 2^-24 of all, is coded as an escape.
_REACH = 5.5
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
    scales = scale_of(torch.arange(SCALES, dtype=torch.float64))
    # Less a little: 2^1 may be 2 or the next number above, and 11 must not become 12.
    reaches = (_REACH * scales - 1e-6).ceil().long().tolist()
    tables = IntegerTables([2 * reach + 2 for reach in reaches])
    for index, reach in enumerate(reaches):
        symbols = torch.arange(-reach, reach + 1, dtype=torch.float64)
        tables.fill(index, -reach, _probability(symbols, scales[index]))
    return tables


def _probability(deviation: Tensor, scale: Tensor) -> Tensor:
    distance = deviation.abs()
    # Both ends on the lower side, where differences of a normal distribution are exact.
    return _below((0.5 - distance) / scale) - _below((-0.5 - distance) / scale)


def _below(x: Tensor) -> Tensor:
    """The normal distribution function."""
    return 0.5 * torch.erfc(-math.sqrt(0.5) * x)
