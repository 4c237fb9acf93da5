"""What `Refinement` computes, in two fifths of the time that products of matrices take.

Nothing that lies between an image and what it becomes leaves the processor's first cache, and sums
stay in its registers until they are whole.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from sar_codec.entropy.compiled import compiled

Values = NDArray[np.float32]
# Of a vector: other code is compiled for other processors, and kept apart.
_LANES = 16 if get_host_cpu_features().get("avx512f") else 8
_VECTORS = 3  # so many times as many places, and
_ROWS = 4  # so many rows are summed at once: with these, sums need 12 registers
_AT_ONCE = 192  # places in a row, a multiple of what is summed at once
_BLOCK, _SIDE = 2, 3  # pixels to a side of a place, and places to a side that tell of one
_FLOAT, _INDEX = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, _LANES)


def refined(
    x: Values,
    enter: Values,
    enter_bias: Values,
    inside: Values,
    inside_bias: Values,
    leave: Values,
) -> Values:
    """`x + leave @ relu(inside @ relu(enter @ around + enter_bias) + inside_bias)`.

    Args:
        x: an image, `(H, W)`, sides even; around it, its edges repeat in blocks of 2x2.
        enter: `(width, 36)`; of each 2x2 pixels, 3x3 such blocks, as `pixel_unshuffle` has them.
        enter_bias: `(width,)`.
        inside: `(width, width)`.
        inside_bias: `(width,)`.
        leave: `(4, width)`.
    """
    more = -len(enter) % _ROWS
    inside, leave = (np.pad(each, ((0, 0), (0, more))) for each in (inside, leave))
    biases = (np.pad(each, (0, more)) for each in (enter_bias, inside_bias))
    of_enter, of_inside, of_leave = (_by_rows(each) for each in (enter, inside, leave))
    return _refined(np.ascontiguousarray(x), of_enter, of_inside, of_leave, *biases)


def _by_rows(weights: Values) -> Values:
    """A matrix, filled up with rows of 0, as sums take it: `(out / 4, in, 4)`."""
    filled = np.pad(weights, ((0, -len(weights) % _ROWS), (0, 0)))
    rows = filled.reshape(-1, _ROWS, filled.shape[1])
    return np.ascontiguousarray(rows.transpose(0, 2, 1))


@compiled
def _refined(
    x: Values,
    enter: Values,
    inside: Values,
    leave: Values,
    enter_bias: Values,
    inside_bias: Values,
) -> Values:
    height, width = x.shape[0] // _BLOCK, x.shape[1] // _BLOCK
    out, nothing, zero = np.empty_like(x), np.zeros(_ROWS, np.float32), np.float32(0)
    # A row for each pixel of a block and each of three rows of blocks; a place more on both sides.
    known = np.zeros((_BLOCK * _BLOCK * _SIDE, _AT_ONCE + _SIDE - 1), np.float32)
    first = np.empty((enter_bias.size, _AT_ONCE), np.float32)
    second = np.empty((enter_bias.size, _AT_ONCE), np.float32)
    errors = np.empty((_ROWS, _AT_ONCE), np.float32)
    around = np.empty(known.shape[0] * _SIDE, np.int64)
    for row in range(known.shape[0]):
        for right in range(_SIDE):
            around[_SIDE * row + right] = known.strides[0] * row + known.strides[1] * right
    channels = first.strides[0] * np.arange(enter_bias.size)
    for row in range(height):
        for left in range(0, width, _AT_ONCE):
            count = min(_AT_ONCE, width - left)
            for down in range(_SIDE):
                above = _BLOCK * min(max(row + down - 1, 0), height - 1)
                for pixel in range(_BLOCK * _BLOCK):
                    pixels, right = x[above + pixel // _BLOCK], pixel % _BLOCK
                    to = known[_SIDE * pixel + down]
                    to[0] = pixels[_BLOCK * max(left - 1, 0) + right]
                    for place in range(count):
                        to[place + 1] = pixels[_BLOCK * (left + place) + right]
                    to[count + 1] = pixels[_BLOCK * min(left + count, width - 1) + right]
            _sum(known, around, enter, enter_bias, zero, first, count)
            _sum(first, channels, inside, inside_bias, zero, second, count)
            _sum(second, channels, leave, nothing, np.float32(-np.inf), errors, count)
            for pixel in range(_BLOCK * _BLOCK):
                down, right = _BLOCK * row + pixel // _BLOCK, _BLOCK * left + pixel % _BLOCK
                was, becomes, error = x[down], out[down], errors[pixel]
                for place in range(count):
                    at = right + _BLOCK * place
                    becomes[at] = was[at] + error[place]
    return out


@compiled
def _sum(
    source: Values,
    offsets: NDArray[np.int64],
    weights: Values,
    biases: Values,
    least: np.float32,
    out: Values,
    count: int,
) -> None:
    """Rows of weighed sums of what is so many bytes from each place of the source, or the least.

    Args:
        source: in rows, of which those of `_AT_ONCE` places may all be read.
        offsets: in bytes.
        weights: of these, `(rows / 4, offsets, 4)`.
        biases: `(rows,)`.
        least: value.
        out: `(rows, _AT_ONCE)`; beyond the count of places, some get any values.
        count: of places.
    """
    for block in range(weights.shape[0]):
        for place in range(0, count, _LANES * _VECTORS):
            _sum_block(
                source.ctypes.data + source.itemsize * place,
                offsets.ctypes.data,
                offsets.size,
                weights.ctypes.data + weights.strides[0] * block,
                biases.ctypes.data + biases.itemsize * _ROWS * block,
                least,
                out.ctypes.data + out.strides[0] * _ROWS * block + out.itemsize * place,
                out.strides[0],
            )


def _typed(
    _: Any,
    source: Any,
    offsets: Any,
    count: Any,
    weights: Any,
    biases: Any,
    least: Any,
    out: Any,
    stride: Any,
) -> tuple[Any, Callable[..., Any]]:
    """All are whole numbers, most of them addresses, but for one."""
    return types.void(source, offsets, count, weights, biases, least, out, stride), _build


def _build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
    """The instructions of what `_sum` repeats: for four rows, at three vectors' places."""
    source, offsets, count, weights, biases, least, out, stride = arguments

    def at(address: Any, offset: Any, kind: Any) -> Any:
        offset = _INDEX(offset) if isinstance(offset, int) else offset
        return builder.inttoptr(builder.add(address, offset), kind.as_pointer())

    def everywhere(value: Any) -> Any:
        one = builder.insert_element(_VECTOR(ir.Undefined), value, _INDEX(0))
        return builder.shuffle_vector(one, one, ir.VectorType(ir.IntType(32), _LANES)([0] * _LANES))

    def weight(address: Any, row: int) -> Any:
        return everywhere(builder.load(at(address, 4 * row, _FLOAT), align=4))

    multiply_add = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fmuladd.v{_LANES}f32"
    )
    sums = [[cgutils.alloca_once(builder, _VECTOR) for _ in range(_VECTORS)] for _ in range(_ROWS)]
    for row, parts in enumerate(sums):
        for part in parts:
            builder.store(weight(biases, row), part)
    with cgutils.for_range(builder, count) as loop:
        offset = builder.load(at(offsets, builder.mul(loop.index, _INDEX(8)), _INDEX))
        values = [
            builder.load(
                at(source, builder.add(offset, _INDEX(4 * _LANES * part)), _VECTOR), align=4
            )
            for part in range(_VECTORS)
        ]
        of_rows = builder.add(weights, builder.mul(loop.index, _INDEX(4 * _ROWS)))
        for row, parts in enumerate(sums):
            times = weight(of_rows, row)
            for value, part in zip(values, parts, strict=True):
                builder.store(builder.call(multiply_add, [value, times, builder.load(part)]), part)
    floor = everywhere(least)
    for row, parts in enumerate(sums):
        to = builder.add(out, builder.mul(stride, _INDEX(row)))
        for number, part in enumerate(parts):
            total = builder.load(part)
            total = builder.select(builder.fcmp_ordered(">", total, floor), total, floor)
            builder.store(total, at(to, 4 * _LANES * number, _VECTOR), align=4)
    return context.get_dummy_value()


_sum_block: Any = intrinsic(_typed)
