"""Products of matrices of bytes with numbers of 16 bits, exact, by the processor's instructions.

They take half the time of those of float32. Where processors lack such instructions, what stands in
for them adds up pairs of products in 16 bits, which overflow: there nothing here is to be used.
"""

import time
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sar_codec.entropy.compiled import compiled

# Of what is left of 32 bits, sums of products with biases stay below this.
LARGEST_SUM = 2**30
_BYTE_BITS, _MIDDLE = 8, 128
Whole = NDArray[np.int32]
Bytes = NDArray[np.int8]


@cache
def are_usable() -> bool:
    """Whether they are exact here, and quicker than those of float32."""
    return are_exact() and _seconds(torch.int8) < _seconds(torch.float32)


def are_exact() -> bool:
    """Whether this processor multiplies bytes without a loss, where it is likeliest to have one."""
    if not hasattr(torch, "_int_mm"):  # no other function multiplies bytes to 32 bits on a CPU
        return False
    for rows, inner, columns in ((128, 416, 1024), (96, 65, 17), (3, 1000, 1)):
        for weight, value in ((127, 127), (127, -128), (-127, 127), (-127, -128)):
            weights = torch.full((rows, inner), weight, dtype=torch.int8)
            values = torch.full((inner, columns), value, dtype=torch.int8)
            if (torch._int_mm(weights, values) != weight * value * inner).any():
                return False
    return True


def _seconds(dtype: torch.dtype) -> float:
    """That a product takes; where nothing multiplies bytes, a hundred times as long."""
    weights, values = (torch.ones(shape, dtype=dtype) for shape in ((128, 256), (256, 512)))
    multiply = torch._int_mm if dtype == torch.int8 else torch.mm

    def one() -> float:
        began = time.perf_counter()
        multiply(weights, values)
        return time.perf_counter() - began

    return min(one() for _ in range(5))


class ByteMatrix(NamedTuple):
    """What numbers are multiplied by.

    Attributes:
        weights: `(out, in)`, int8.
        offsets: of sums, `(out,)`, int32.
        shifts: to the right, likewise.
    """

    weights: Tensor
    offsets: Tensor
    shifts: Tensor

    @classmethod
    def of(cls, weights: Tensor, biases: Tensor, units: Tensor) -> "ByteMatrix":
        """What rounds `(weights @ x + biases) * units`.

        Args:
            weights: integers from -127 to 127, `(out, in)`.
            biases: integers, `(out,)`.
            units: powers of two up to 1, `(out,)`.
        """
        shifts = 1 - torch.frexp(units).exponent
        halves = (1 << shifts) >> 1
        # Lower bytes are less than they are by what makes them signed.
        offsets = biases + halves + _MIDDLE * weights.sum(1)
        return cls(weights.to(torch.int8), offsets.int(), shifts.int())


class Halved(NamedTuple):
    """Numbers as bytes.

    Attributes:
        upper: ones, `(in, n)`, int8.
        lower: ones less 128, likewise.
        sizes: the largest of each row, int32.
    """

    upper: Tensor
    lower: Tensor
    sizes: Tensor


def halved(x: Tensor) -> Halved:
    """Bytes of numbers `(in, n)`, int32, which are not to be larger than 2^15 - 1."""
    return Halved(*(torch.from_numpy(each) for each in _bytes_of(x.numpy())))


def product(matrix: ByteMatrix, x: Halved, largest: int) -> Tensor:
    """Numbers times a matrix, rounded, and held within the largest: `(out, n)`, int32.

    Args:
        matrix: see `ByteMatrix.of`.
        x: `(in, n)`; sums of its products with biases are below 2^30.
        largest: size.
    """
    sums, of_lower = (torch._int_mm(matrix.weights, each) for each in (x.upper, x.lower))
    offsets, shifts = matrix.offsets.numpy(), matrix.shifts.numpy()
    _join(sums.numpy(), of_lower.numpy(), offsets, shifts, np.int32(largest))
    return sums


@compiled
def _bytes_of(x: Whole) -> tuple[Bytes, Bytes, Whole]:
    upper, lower = np.empty(x.shape, np.int8), np.empty(x.shape, np.int8)
    sizes = np.zeros(len(x), np.int32)
    for row in range(len(x)):
        size = np.int32(0)
        for column in range(x.shape[1]):
            value = x[row, column]
            upper[row, column] = value >> _BYTE_BITS
            lower[row, column] = (value & 255) - _MIDDLE
            size = max(size, abs(value))
        sizes[row] = size
    return upper, lower, sizes


@compiled
def _join(sums: Whole, of_lower: Whole, offsets: Whole, shifts: Whole, largest: np.int32) -> None:
    """Writes what is wanted in place of sums of upper bytes."""
    for row in range(len(sums)):
        offset, shift = offsets[row], shifts[row]
        for column in range(sums.shape[1]):
            # Parts may be beyond 32 bits, of which the whole is within.
            total = np.int32((sums[row, column] << _BYTE_BITS) + of_lower[row, column] + offset)
            sums[row, column] = min(max(np.int32(total >> shift), -largest), largest)
