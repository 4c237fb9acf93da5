"""What a residual block computes, in less than half the time that convolutions take.

A 3x3 convolution multiplies 144 times for 4x4 places; of sums of the 6x6 around, made beforehand,
36 products are enough (Winograd; Lavin and Gray 2016, https://arxiv.org/abs/1509.09308). What lies
between one block's places and the next one's stays in a core's own caches.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from sar_codec.entropy.compiled import compiled
from sar_codec.models.vectors import INDEX, LANES, Vectors

Values = NDArray[np.float32]
Places = NDArray[np.int64]  # where they begin in memory
_SIDE, _AROUND = 4, 6  # places of a tile to a side, and of those that tell of it
_PLACES = _SIDE * _SIDE
_TILES = 24
_VECTORS = 2  # so many times as many channels, and
_ROWS = 12 if LANES == 16 else 6  # so many rows are summed at once: 24 or 12 registers
# Sums before and after the products, and of weights, by the points 0, 1, -1, 2, -2 and infinity.
_BEFORE = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_AFTER = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)
_OF_WEIGHTS = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_WEIGHTS = torch.from_numpy(np.kron(_OF_WEIGHTS, _OF_WEIGHTS)).float()
# erf(x / sqrt(2)) is x times a quotient of polynomials of x^2, to 4e-7 up to this |x|, and stays as
# it is there beyond: by least squares, with weights that even out the errors.
_LARGEST = 5.5
_NUMERATOR = (
    7.97885984e-01,
    1.32000684e-01,
    1.30325692e-02,
    9.38781686e-04,
    1.18461870e-05,
    -3.37023372e-08,
)
_DENOMINATOR = 1.0, 3.32107089e-01, 4.66904737e-02, 3.62274039e-03, 1.56059298e-04
MULTIPLE = _VECTORS * LANES  # of channels


def residual(
    x: Tensor, enter: Tensor, enter_bias: Tensor, leave: Tensor, leave_bias: Tensor
) -> Tensor:
    """`x + 1x1(GELU(3x3(x)))` of an image, with 0 around it.

    Args:
        x: `(h, w, channels)`, float32 as all others.
        enter: of the 3x3 convolution, `(channels, channels, 3, 3)`, as torch has it.
        enter_bias: `(channels,)`.
        leave: of the 1x1 convolution, `(channels, channels, 1, 1)`.
        leave_bias: `(channels,)`.

    Raises:
        ValueError: the number of channels is not a multiple of `MULTIPLE`.
    """
    if x.shape[-1] % MULTIPLE:
        raise ValueError(f"{x.shape[-1]} channels: expected a multiple of {MULTIPLE}")
    given = x, _of_sums(enter), enter_bias, leave.flatten(1).T, leave_bias
    return torch.from_numpy(_residual(*(each.contiguous().numpy(force=True) for each in given)))


def _of_sums(enter: Tensor) -> Tensor:
    """What sums are multiplied by: `(out, in, 3, 3)` -> `(36, in, out)`."""
    by_place = enter.flatten(2).permute(2, 1, 0)
    return (_WEIGHTS @ by_place.flatten(1)).reshape(-1, *by_place.shape[1:])


@compiled
def _residual(
    x: Values, enter: Values, enter_bias: Values, leave: Values, leave_bias: Values
) -> Values:
    height, width, channels = x.shape
    across = -(-width // _SIDE)
    last = across * -(-height // _SIDE) - 1
    places = x.reshape(-1)
    out = np.empty(places.size + channels, np.float32)  # at the end is a place for all outside
    edged = np.empty(_AROUND * _AROUND * channels, np.float32)
    sums = np.empty((_AROUND * _AROUND, _TILES * channels), np.float32)
    products = np.empty_like(sums)
    inside = np.empty(_TILES * _PLACES * channels, np.float32)
    nothing, nowhere = np.zeros(channels, np.float32), np.zeros(_TILES, np.int64)
    rows = channels * np.arange(_TILES)
    read, written = np.empty(_TILES * _PLACES, np.int64), np.empty(_TILES * _PLACES, np.int64)
    for first in range(0, last + 1, _TILES):
        for number in range(_TILES):
            tile = min(first + number, last)
            row, column = _SIDE * (tile // across), _SIDE * (tile % across)
            if row and column and row + _SIDE < height and column + _SIDE < width:
                source, at = places, channels * (width * (row - 1) + column - 1)
                down = channels * width
            else:
                _take(x, row - 1, column - 1, edged)
                source, at, down = edged, 0, channels * _AROUND
            _begin(source, at, down, channels, sums.reshape(-1), number)
            own = slice(_PLACES * number, _PLACES * (number + 1))
            _find_places(x.shape, row, column, read[own], written[own])
        for each in range(_AROUND * _AROUND):
            _multiply(sums[each], enter[each], nothing, nothing, nowhere, products[each], rows)
        _finish(products.reshape(-1), enter_bias, inside)
        _multiply(inside, leave, leave_bias, places, read, out, written)
    return out[:-channels].reshape(x.shape)


@compiled
def _take(x: Values, first_row: int, first_column: int, out: Values) -> None:
    """Writes 6x6 places, 0 outside."""
    height, width, channels = x.shape
    for place in range(_AROUND * _AROUND):
        row, column = first_row + place // _AROUND, first_column + place % _AROUND
        is_inside = 0 <= row < height and 0 <= column < width
        for channel in range(channels):
            value = x[row, column, channel] if is_inside else np.float32(0)
            out[channels * place + channel] = value


@compiled
def _find_places(
    shape: tuple[int, int, int], first_row: int, first_column: int, read: Places, written: Places
) -> None:
    """Writes where 4x4 places are; those outside are read anywhere, and written behind all."""
    height, width, channels = shape
    for place in range(_PLACES):
        row, column = first_row + place // _SIDE, first_column + place % _SIDE
        at = channels * (width * row + column)
        is_inside = row < height and column < width
        read[place] = at if is_inside else 0
        written[place] = at if is_inside else channels * width * height


@compiled
def _begin(source: Values, at: int, down: int, right: int, sums: Values, number: int) -> None:
    """Writes the sums of 6x6 places of all channels."""
    for channel in range(0, right, LANES):
        to = number * right + channel
        _sum_before(source, at + channel, down, right, sums, to, _TILES * right)  # type: ignore[call-arg]  # Numba gives the first


@compiled
def _finish(products: Values, bias: Values, inside: Values) -> None:
    """Writes what 4x4 places of all channels and tiles are."""
    channels = bias.size
    for number in range(_TILES):
        for channel in range(0, channels, LANES):
            at, to = number * channels + channel, _PLACES * number * channels + channel
            _sum_after(products, at, _TILES * channels, bias, channel, inside, to, channels)  # type: ignore[call-arg]  # likewise


@compiled
def _multiply(
    source: Values,
    weights: Values,
    bias: Values,
    other: Values,
    read: Places,
    out: Values,
    written: Places,
) -> None:
    """Rows times a matrix, and a bias, and other rows.

    Args:
        source: rows, one after the other.
        weights: `(in, out)`.
        bias: `(out,)`.
        other: what is added.
        read: where rows begin in that.
        out: to be written.
        written: where rows begin in that.
    """
    for column in range(0, weights.shape[1], MULTIPLE):
        for row in range(0, written.size, _ROWS):
            _multiply_rows(source, weights, bias, other, read, out, written, row, column)  # type: ignore[call-arg]  # likewise


@intrinsic
def _sum_before(
    _: Any, source: Any, at: Any, down: Any, right: Any, out: Any, to: Any, apart: Any
) -> Any:
    """Of 6x6 places, as many channels as a vector holds: what is multiplied."""

    def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = Vectors(context, builder)
        source, out = vectors.arrays(signature, arguments, (0, 4))
        at, down, right, to, apart = (arguments[each] for each in (1, 2, 3, 5, 6))
        known = []
        for row in range(_AROUND):
            along = builder.add(at, builder.mul(down, INDEX(row)))
            places = [
                builder.add(along, builder.mul(right, INDEX(each))) for each in range(_AROUND)
            ]
            known.append([vectors.load(source, each) for each in places])
        for index, total in enumerate(_both_ways(vectors, known, _BEFORE)):
            vectors.store(total, out, builder.add(to, builder.mul(apart, INDEX(index))))
        return context.get_dummy_value()

    return types.void(source, at, down, right, out, to, apart), generated


@intrinsic
def _sum_after(
    _: Any,
    products: Any,
    at: Any,
    apart: Any,
    bias: Any,
    channel: Any,
    out: Any,
    to: Any,
    channels: Any,
) -> Any:
    """Of a tile's products, as many channels as a vector holds: GELU of its 4x4 places."""

    def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = Vectors(context, builder)
        products, bias, out = vectors.arrays(signature, arguments, (0, 3, 5))
        at, apart, channel, to, channels = (arguments[each] for each in (1, 2, 4, 6, 7))
        indices = [
            builder.add(at, builder.mul(apart, INDEX(each))) for each in range(_AROUND * _AROUND)
        ]
        known = [vectors.load(products, each) for each in indices]
        rows = [known[_AROUND * row : _AROUND * (row + 1)] for row in range(_AROUND)]
        bias = vectors.load(bias, channel)
        for index, total in enumerate(_both_ways(vectors, rows, _AFTER)):
            place = builder.add(to, builder.mul(channels, INDEX(index)))
            vectors.store(_gelu(builder, vectors, builder.fadd(total, bias)), out, place)
        return context.get_dummy_value()

    return types.void(products, at, apart, bias, channel, out, to, channels), generated


@intrinsic
def _multiply_rows(
    _: Any,
    source: Any,
    weights: Any,
    bias: Any,
    other: Any,
    read: Any,
    out: Any,
    written: Any,
    row: Any,
    column: Any,
) -> Any:
    """What `_multiply` does, of so many rows and columns from these on."""

    def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = Vectors(context, builder)
        source, weights, bias, other, read, out, written = vectors.arrays(
            signature, arguments, range(7)
        )
        row, column = arguments[7:]
        count, across = cgutils.unpack_tuple(builder, weights.shape)

        def columns(at: Any) -> list[Any]:
            """The vectors of the columns, of a row that begins at an index."""
            first = builder.add(at, column)
            return [builder.add(first, INDEX(LANES * part)) for part in range(_VECTORS)]

        totals, from_rows = [], []
        biases = [vectors.load(bias, each) for each in columns(INDEX(0))]
        for each in range(_ROWS):
            of_row = builder.add(row, INDEX(each))
            from_rows.append(builder.mul(of_row, count))
            begun = (vectors.load(other, at) for at in columns(vectors.number(read, of_row)))
            totals.append(
                [
                    cgutils.alloca_once_value(builder, builder.fadd(first, second))
                    for first, second in zip(begun, biases, strict=True)
                ]
            )
        with cgutils.for_range(builder, count) as loop:
            of_all = [
                vectors.load(weights, each) for each in columns(builder.mul(loop.index, across))
            ]
            for from_row, parts in zip(from_rows, totals, strict=True):
                times = vectors.everywhere(
                    vectors.number(source, builder.add(from_row, loop.index))
                )
                for weight, part in zip(of_all, parts, strict=True):
                    builder.store(vectors.multiply_add(weight, times, builder.load(part)), part)
        for each, parts in enumerate(totals):
            to = columns(vectors.number(written, builder.add(row, INDEX(each))))
            for part, place in zip(parts, to, strict=True):
                vectors.store(builder.load(part), out, place)
        return context.get_dummy_value()

    kinds = source, weights, bias, other, read, out, written, row, column
    return types.void(*kinds), generated


def _both_ways(
    vectors: Vectors, rows: list[list[Any]], weights: Sequence[Sequence[int]]
) -> list[Any]:
    """`weights @ rows @ weights.T`, one row after the other."""
    across = [[vectors.weighed(row, each) for each in weights] for row in rows]
    columns = [list(column) for column in zip(*across, strict=True)]
    return [vectors.weighed(column, each) for each in weights for column in columns]


def _gelu(builder: Any, vectors: Vectors, x: Any) -> Any:
    held = vectors.at_most(vectors.at_least(x, -_LARGEST), _LARGEST)
    square = builder.fmul(held, held)
    above = builder.fmul(held, vectors.polynomial(square, _NUMERATOR))
    erf = builder.fdiv(above, vectors.polynomial(square, _DENOMINATOR))
    half = builder.fmul(x, vectors.everywhere(0.5))
    return vectors.multiply_add(half, erf, half)
