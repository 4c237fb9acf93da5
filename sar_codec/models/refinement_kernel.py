"""What `Refinement` computes, in less than half the time that products of matrices take.

What lies between an image and what it becomes is some 60 KB, which stay in a core's own caches, and
sums stay in its registers until they are whole.
"""

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from sar_codec.entropy.compiled import compiled
from sar_codec.models.vectors import INDEX, LANES, Vectors

Values = NDArray[np.float32]
_VECTORS = 3  # so many times as many places, and
_ROWS = 4  # so many rows are summed at once: with these, sums need 12 registers
_AT_ONCE = 4 * LANES * _VECTORS  # places in a row: a multiple of what is summed at once
BLOCK, SIDE = 2, 3  # pixels to a side of a place, and places to a side that tell of one


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

    Raises:
        ValueError: a side is odd.
    """
    if any(side % BLOCK for side in x.shape):
        raise ValueError(f"an image of {x.shape}: its sides are to be even")
    more = -len(enter) % _ROWS
    enter, enter_bias, inside_bias = (
        _filled(each, more) for each in (enter, enter_bias, inside_bias)
    )
    inside, leave = _filled(_filled(inside, more).T, more).T, _filled(leave.T, more).T
    return _refined(
        np.ascontiguousarray(x),
        _by_rows(enter),
        _by_rows(inside),
        _by_rows(leave),
        enter_bias,
        inside_bias,
    )


def _filled(values: Values, more: int) -> Values:
    """With so many rows of 0."""
    return np.concatenate([values, np.zeros((more, *values.shape[1:]), np.float32)])


def _by_rows(weights: Values) -> Values:
    """A matrix as sums take it: `(out / 4, in, 4)`."""
    rows = weights.reshape(-1, _ROWS, weights.shape[1])
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
    height, width = x.shape[0] // BLOCK, x.shape[1] // BLOCK
    out, nothing, zero = np.empty_like(x), np.zeros(_ROWS, np.float32), np.float32(0)
    # A row for each pixel of a block and each of three rows of blocks; a place more on both sides.
    known = np.zeros((BLOCK * BLOCK * SIDE, _AT_ONCE + SIDE - 1), np.float32)
    first = np.empty((enter_bias.size, _AT_ONCE), np.float32)
    second = np.empty((enter_bias.size, _AT_ONCE), np.float32)
    errors = np.empty((_ROWS, _AT_ONCE), np.float32)
    around = np.empty(known.shape[0] * SIDE, np.int64)
    for row in range(known.shape[0]):
        for right in range(SIDE):
            around[SIDE * row + right] = known.shape[1] * row + right
    channels = _AT_ONCE * np.arange(enter_bias.size)
    for row in range(height):
        for left in range(0, width, _AT_ONCE):
            count = min(_AT_ONCE, width - left)
            for down in range(SIDE):
                above = BLOCK * min(max(row + down - 1, 0), height - 1)
                for pixel in range(BLOCK * BLOCK):
                    pixels, right = x[above + pixel // BLOCK], pixel % BLOCK
                    to = known[SIDE * pixel + down]
                    to[0] = pixels[BLOCK * max(left - 1, 0) + right]
                    for place in range(count):
                        to[place + 1] = pixels[BLOCK * (left + place) + right]
                    to[count + 1] = pixels[BLOCK * min(left + count, width - 1) + right]
            _sum(known, around, enter, enter_bias, first, zero, count)
            _sum(first, channels, inside, inside_bias, second, zero, count)
            _sum(second, channels, leave, nothing, errors, np.float32(-np.inf), count)
            for pixel in range(BLOCK * BLOCK):
                down, right = BLOCK * row + pixel // BLOCK, BLOCK * left + pixel % BLOCK
                was, becomes, error = x[down], out[down], errors[pixel]
                for place in range(count):
                    at = right + BLOCK * place
                    becomes[at] = was[at] + error[place]
    return out


@compiled
def _sum(
    source: Values,
    offsets: NDArray[np.int64],
    weights: Values,
    biases: Values,
    out: Values,
    least: np.float32,
    count: int,
) -> None:
    """Rows of weighed sums of what is so many numbers from each place of a source, or the least.

    Args:
        source: in rows, of which those of `_AT_ONCE` places may all be read.
        offsets: from a place of its first row.
        weights: of what is there, `(rows / 4, offsets, 4)`.
        biases: `(rows,)`.
        out: `(rows, _AT_ONCE)`; beyond the count of places, some get any values.
        least: value.
        count: of places.
    """
    for block in range(weights.shape[0]):
        for place in range(0, count, LANES * _VECTORS):
            _sum_block(source, offsets, weights, biases, out, least, block, place)  # type: ignore[call-arg]  # Numba gives the first


@intrinsic
def _sum_block(
    _: Any,
    source: Any,
    offsets: Any,
    weights: Any,
    biases: Any,
    out: Any,
    least: Any,
    block: Any,
    place: Any,
) -> Any:
    """Of four rows, from a place on, as many sums as vectors hold; of contiguous arrays."""

    def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = Vectors(context, builder)
        source, offsets, weights, biases, out = vectors.arrays(signature, arguments, range(5))
        least, block, place = arguments[5:]
        count = cgutils.unpack_tuple(builder, weights.shape)[1]
        across = cgutils.unpack_tuple(builder, out.shape)[1]

        def plus(index: Any, more: int) -> Any:
            return builder.add(index, INDEX(more))

        first = builder.mul(block, INDEX(_ROWS))
        sums = []
        for row in range(_ROWS):
            bias = vectors.everywhere(vectors.number(biases, plus(first, row)))
            sums.append([cgutils.alloca_once_value(builder, bias) for _ in range(_VECTORS)])
        with cgutils.for_range(builder, count) as loop:
            at = builder.add(place, vectors.number(offsets, loop.index))
            values = [vectors.load(source, plus(at, LANES * part)) for part in range(_VECTORS)]
            column = builder.add(builder.mul(block, count), loop.index)
            of_rows = builder.mul(column, INDEX(_ROWS))
            for row, parts in enumerate(sums):
                times = vectors.everywhere(vectors.number(weights, plus(of_rows, row)))
                for value, part in zip(values, parts, strict=True):
                    builder.store(vectors.multiply_add(value, times, builder.load(part)), part)
        for row, parts in enumerate(sums):
            to = builder.add(builder.mul(plus(first, row), across), place)
            for part, total in enumerate(map(builder.load, parts)):
                vectors.store(vectors.at_least(total, least), out, plus(to, LANES * part))
        return context.get_dummy_value()

    return types.void(source, offsets, weights, biases, out, least, block, place), generated
