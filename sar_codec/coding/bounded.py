"""Tiles of cells to bytes and back, coarse to fine, by an interlaced network."""

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sar_codec.coding.cells import Cells, Integers
from sar_codec.coding.rulers import Ruler
from sar_codec.entropy.coding import SymbolDecoder, SymbolEncoder
from sar_codec.errors import UserError
from sar_codec.models.exact import ExactTeller, Told, exact_reference, numbered
from sar_codec.models.interlaced import GRIDS, Interlaced
from sar_codec.models.interlacing import OFFSETS, Pass, Surroundings, passes
from sar_codec.models.kernels import SPREAD_STEPS, WEIGHT_STEPS, fitted, plain_kernel

# Check of the cells, the first cell, binary logarithm of cells' width, whether kernels follow.
_HEAD = struct.Struct("<IihB")
_UNIT = 32
# Tiles of fewer pixels are not worth the 66 bytes of their kernels.
_FEWEST_FOR_KERNELS = 10_000
_PIXELS_OF_A_FIT = 16_384
# So many pixels at once stay in the cache.
_PIXELS_AT_ONCE = 8192
_LARGEST_CELL = 2**30

# A pass, what is told of its pixels -> their cells `(h w,)`, to be believed where they are valid.
Code = Callable[[Pass, Told], Tensor]
# A pass, what is around its pixels -> how to predict them.
Choose = Callable[[Pass, Surroundings], "TileKernel"]


class TileKernel(NamedTuple):
    """A kernel of one pass of a tile.

    Attributes:
        weights: of places around, `(places,)`, int64 in units of 1/128.
        spread: in units of 1/8.
    """

    weights: Tensor
    spread: int

    @classmethod
    def plain(cls, kind: int) -> "TileKernel":
        """The one that is not fitted."""
        kernel = plain_kernel(1, len(OFFSETS[kind]), torch.device("cpu"))
        return cls(kernel.weights[0].long(), round(float(kernel.spread) * SPREAD_STEPS))

    @classmethod
    def of_bytes(cls, data: bytes) -> "TileKernel":
        """The inverse of `data`."""
        numbers = torch.from_numpy(np.frombuffer(data, np.int8).astype(np.int64))
        return cls(numbers[:-1].repeat_interleave(2), int(numbers[-1]))

    def data(self) -> bytes:
        """A byte for each pair of opposite places, and one for the spread."""
        numbers = [*self.weights[::2].tolist(), self.spread]
        return np.array(numbers, np.int8).tobytes()


def encode(
    cells: Integers, valid: NDArray[np.bool_], cells_of: Cells, model: Interlaced
) -> bytes:
    """A tile as bytes, the same on every machine but for the choice of kernels.

    Args:
        cells: of pixels, `(H, W)`; those of pixels that are not valid do not count.
        valid: `(H, W)`, which the decoder is given too.
        cells_of: what made the cells.
        model: that the decoder has too.
    """
    _check_sizes(cells.shape, valid.shape)
    numbers = torch.from_numpy(np.where(valid, cells, 0))
    is_valid = torch.from_numpy(valid)
    check = _check_of(cells, valid)
    if not valid.any():
        return _HEAD.pack(check, 0, 0, 0)
    of_valid = cells[valid]
    first = int(cells[0, 0]) if valid[0, 0] else int(np.sort(of_valid)[len(of_valid) // 2])
    ruler = cells_of.ruler
    decibels = ruler.decibels(torch.from_numpy(of_valid))
    nominal = round(float(ruler.log_widths(decibels).mean(dtype=torch.float64)))
    fits = len(of_valid) >= _FEWEST_FOR_KERNELS
    encoder, kernels = SymbolEncoder(), []
    in_decibels = ruler.decibels(numbers).masked_fill(~is_valid, torch.nan)[None]

    def choose(which: Pass, surroundings: Surroundings) -> TileKernel:
        if not fits:
            return TileKernel.plain(which.kind)
        kernels.append(_fitted(surroundings, which.of(in_decibels)))
        return kernels[-1]

    def code(which: Pass, told: Told) -> Tensor:
        wanted, counts = which.of(numbers).flatten(), which.of(is_valid).flatten()
        _put(encoder, model, wanted[counts], Told(*(each[counts] for each in told)))
        return wanted

    _coded(is_valid, first, nominal, ruler, model, choose, code)
    head = _HEAD.pack(check, first, nominal, fits)
    return b"".join([head, *(each.data() for each in kernels), encoder.data()])


def decode(
    data: bytes, valid: NDArray[np.bool_], cells_of: Cells, model: Interlaced
) -> Integers:
    """What `encode` made bytes of, `(H, W)`; what lies where pixels are not valid means nothing.

    Raises:
        UserError: the data are damaged, or model, rule or mask are not those of the encoder.
    """
    _check_sizes(valid.shape, valid.shape)
    if len(data) < _HEAD.size:
        raise UserError(f"{len(data)} bytes of a tile: expected {_HEAD.size} or more; they are cut")
    check, first, nominal, fits = _HEAD.unpack_from(data)
    cells = torch.zeros(valid.shape, dtype=torch.int64)
    is_valid = torch.from_numpy(valid)
    if valid.any():
        reader = _Reader(data[_HEAD.size :])

        def choose(which: Pass, _: Surroundings) -> TileKernel:
            if not fits:
                return TileKernel.plain(which.kind)
            return TileKernel.of_bytes(reader.take(len(OFFSETS[which.kind]) // 2 + 1))

        kernels = {
            each: choose(each, None) for each in passes(*valid.shape) if _has_kernel(each)
        }
        decoder = SymbolDecoder(reader.rest())

        def code(which: Pass, told: Told) -> Tensor:
            found = torch.zeros_like(told.base)
            counts = which.of(is_valid).flatten()
            found[counts] = _taken(decoder, model, Told(*(each[counts] for each in told)))
            return found.clamp_(-_LARGEST_CELL, _LARGEST_CELL)

        cells = _coded(is_valid, first, nominal, cells_of.ruler, model, lambda w, _: kernels[w], code)
    numbers = cells.numpy()
    if _check_of(numbers, valid) != check:
        raise UserError(
            "a tile's cells are not those that were coded: the data are damaged, or were made by "
            "another model"
        )
    return numbers


def _coded(
    valid: Tensor,
    first: int,
    nominal: int,
    ruler: Ruler,
    model: Interlaced,
    choose: Choose,
    code: Code,
) -> Tensor:
    """All cells, one pass after the other; where pixels are not valid, what was predicted."""
    height, width = valid.shape
    cells = torch.zeros(height, width, dtype=torch.int64)
    decibels = torch.zeros(1, height, width)
    cells[0, 0] = first
    decibels[0, 0, 0] = ruler.decibels(cells[0, 0])
    all_valid = bool(valid.all())
    tellers: dict[int, ExactTeller] = {}
    for which in passes(height, width):
        teller = model.teller(which.kind, which.spacing)
        if id(teller) not in tellers:
            tellers[id(teller)] = ExactTeller(teller, nominal)
        surroundings = Surroundings(decibels, which)
        kernel = choose(which, surroundings) if _has_kernel(which) else TileKernel.plain(which.kind)
        told = _told(surroundings, tellers[id(teller)], kernel, nominal, ruler, model)
        found = code(which, told)
        if not all_valid:
            found = torch.where(which.of(valid).flatten(), found, told.cell)
        found = found.reshape(surroundings.rows, surroundings.columns)
        which.of(cells).copy_(found)
        which.of(decibels).copy_(ruler.decibels(found))
    return cells


def _told(
    surroundings: Surroundings,
    teller: ExactTeller,
    kernel: TileKernel,
    nominal: int,
    ruler: Ruler,
    model: Interlaced,
) -> Told:
    step = max(_PIXELS_AT_ONCE // surroundings.columns, 1)
    parts = []
    for begin in range(0, surroundings.rows, step):
        end = min(begin + step, surroundings.rows)
        around = surroundings.of_rows(begin, end)[0].flatten(1)
        near = exact_reference(around)
        local = ruler.log_widths(near) - nominal
        mean, log_scale, skew = teller(around.sub_(near), kernel.weights, kernel.spread, local)
        parts.append(numbered(near + mean, log_scale, skew, ruler, model.tables))
    return Told(*(torch.cat(each) for each in zip(*parts, strict=True)))


def _put(encoder: SymbolEncoder, model: Interlaced, cells: Tensor, told: Told) -> None:
    encoder.put((cells >> told.low_bits) - told.base, model.tables, told.table)
    if told.low_bits.any():
        encoder.put_bits(cells & ((1 << told.low_bits) - 1), told.low_bits)


def _taken(decoder: SymbolDecoder, model: Interlaced, told: Told) -> Tensor:
    cells = (decoder.take(model.tables, told.table) + told.base) << told.low_bits
    return cells + decoder.take_bits(told.low_bits) if told.low_bits.any() else cells


def _has_kernel(which: Pass) -> bool:
    return which.spacing < 1 << (GRIDS - 1)


def _fitted(surroundings: Surroundings, values: Tensor) -> TileKernel:
    """The kernel for a pass, fitted to some of its rows; values are NaN where not valid."""
    count = max(_PIXELS_OF_A_FIT // surroundings.columns, 1)
    step = max(surroundings.rows // count, 1)
    rows = range(0, surroundings.rows, step)
    around = torch.cat([surroundings.of_rows(row, row + 1) for row in rows], 2)
    kernel = fitted(around / _UNIT, values[:, ::step] / _UNIT)
    steps = (kernel.weights[0] * WEIGHT_STEPS).long()
    return TileKernel(steps, round(float(kernel.spread) * SPREAD_STEPS))


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def take(self, size: int) -> bytes:
        part = self._data[self._place : self._place + size]
        if len(part) < size:
            raise UserError(f"a tile's bytes end within its kernels: expected {size} more")
        self._place += size
        return part

    def rest(self) -> bytes:
        return self._data[self._place :]


def _check_of(cells: Integers, valid: NDArray[np.bool_]) -> int:
    return zlib.crc32(cells[valid].astype("<i4").tobytes())


def _check_sizes(cells: tuple[int, ...], valid: tuple[int, ...]) -> None:
    if len(cells) != 2 or cells != valid or 0 in cells:
        raise UserError(
            f"a tile of {cells} cells with a mask of {valid}: expected the same two sides, not 0"
        )
