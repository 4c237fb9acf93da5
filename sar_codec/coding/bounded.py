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
from sar_codec.coding.repeats import Repeats, flag_tables, found_repeats
from sar_codec.coding.rulers import Ruler
from sar_codec.coding.tile_kernels import Predictions, TileKernel, fitted_to_tile, may_have_kernel
from sar_codec.entropy.coding import SymbolDecoder, SymbolEncoder
from sar_codec.errors import UserError
from sar_codec.models.exact import ExactTeller, Told, numbered
from sar_codec.models.interlaced import Interlaced
from sar_codec.models.interlacing import Pass, Surroundings, passes

# Check of the cells, the first cell, binary logarithm of cells' width, what follows.
_HEAD = struct.Struct("<IihB")
_KERNELS, _REPEATS = 1, 2
# Tiles of fewer pixels are not worth the 72 bytes of their kernels.
_FEWEST_FOR_KERNELS = 10_000
# So many pixels at once stay in the cache.
_PIXELS_AT_ONCE = 16384
_LARGEST_CELL = 2**30


class Offered(NamedTuple):
    """Cells that pixels may repeat, `(N,)`, and how likely they do, in 1/256; 0 for not at all."""

    cells: Tensor
    likelihood: Tensor


# A pass, what is told of its pixels, what is offered -> their cells `(N,)`, to be believed where
# they are valid.
Code = Callable[[Pass, Told, Offered | None], Tensor]
# A pass, what is told of its pixels given a kernel -> the kernel.
Choose = Callable[[Pass, Predictions], TileKernel]


def encode(cells: Integers, valid: NDArray[np.bool_], cells_of: Cells, model: Interlaced) -> bytes:
    """A tile as bytes, on one machine always the same ones; all machines read the same cells.

    Args:
        cells: of pixels, `(H, W)`; those of pixels that are not valid do not count.
        valid: `(H, W)`, which the decoder is given too.
        cells_of: what made the cells.
        model: that the decoder has too, on the CPU.
    """
    _check_sizes(cells.shape, valid.shape)
    check = _check_of(cells, valid)
    if not valid.any():
        return _HEAD.pack(check, 0, 0, 0)
    numbers, is_valid = torch.from_numpy(np.where(valid, cells, 0)), torch.from_numpy(valid)
    of_valid = cells[valid]
    first = int(cells[0, 0]) if valid[0, 0] else int(np.sort(of_valid)[len(of_valid) // 2])
    ruler = cells_of.ruler
    log_widths = ruler.log_widths(ruler.decibels(torch.from_numpy(of_valid)))
    nominal = round(float(log_widths.mean(dtype=torch.float64)))
    repeats = found_repeats(cells, valid)
    fits = len(of_valid) >= _FEWEST_FOR_KERNELS
    encoder, kernels = SymbolEncoder(), []
    fitted_to = is_valid if repeats is None else is_valid & ~_in_repeats(numbers, repeats)
    wanted_db = ruler.decibels(numbers).masked_fill_(~fitted_to, torch.nan)[None]

    def choose(which: Pass, predictions: Predictions) -> TileKernel:
        if not fits:
            return TileKernel.plain(which.kind)
        kernels.append(fitted_to_tile(predictions, which.of(wanted_db)))
        return kernels[-1]

    def code(which: Pass, told: Told, offered: Offered | None) -> Tensor:
        wanted, counts = which.of(numbers).flatten(), which.of(is_valid).flatten()
        if offered is not None:
            is_offered = counts & (offered.likelihood > 0)
            repeated = (wanted == offered.cells) & is_offered
            likelihood = offered.likelihood[is_offered]
            encoder.put(repeated[is_offered].long(), flag_tables(), likelihood)
            counts = counts & ~repeated
        coded, told = (wanted, told) if counts.all() else (wanted[counts], _where(told, counts))
        encoder.put((coded >> told.low_bits) - told.base, model.tables, told.table)
        if told.low_bits.any():
            encoder.put_bits(coded & ((1 << told.low_bits) - 1), told.low_bits)
        return wanted

    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        _coded(is_valid, first, nominal, ruler, model, repeats, choose, code)
    head = _HEAD.pack(check, first, nominal, fits * _KERNELS | (repeats is not None) * _REPEATS)
    parts = [head, b"" if repeats is None else repeats.data(), *(each.data() for each in kernels)]
    return b"".join([*parts, encoder.data()])


def decode(data: bytes, valid: NDArray[np.bool_], cells_of: Cells, model: Interlaced) -> Integers:
    """What `encode` made bytes of, `(H, W)`; cells mean nothing where pixels are not valid.

    Raises:
        UserError: the data are damaged, or model, rule or mask are not those of the encoder.
    """
    _check_sizes(valid.shape, valid.shape)
    reader = _Reader(data)
    check, first, nominal, parts = _HEAD.unpack(reader.take(_HEAD.size))
    if not valid.any():
        return np.zeros(valid.shape, np.int64)
    is_valid = torch.from_numpy(valid)
    repeats = Repeats.of_bytes(reader.take(Repeats.SIZE)) if parts & _REPEATS else None
    kernels = {
        each: TileKernel.of_bytes(reader.take(TileKernel.size(each.kind)))
        for each in passes(*valid.shape)
        if parts & _KERNELS and may_have_kernel(each)
    }
    decoder = SymbolDecoder(reader.rest())

    def choose(which: Pass, _: Predictions) -> TileKernel:
        return kernels[which] if which in kernels else TileKernel.plain(which.kind)

    def code(which: Pass, told: Told, offered: Offered | None) -> Tensor:
        counts, found = which.of(is_valid).flatten(), torch.zeros_like(told.base)
        if offered is not None:
            is_offered = counts & (offered.likelihood > 0)
            repeated = is_offered.clone()
            repeated[is_offered] = decoder.take(flag_tables(), offered.likelihood[is_offered]) == 1
            found = torch.where(repeated, offered.cells, found)
            counts = counts & ~repeated
        told = told if counts.all() else _where(told, counts)
        coded = (decoder.take(model.tables, told.table) + told.base) << told.low_bits
        if told.low_bits.any():
            coded += decoder.take_bits(told.low_bits)
        found = coded if counts.all() else found.masked_scatter_(counts, coded)
        return found.clamp_(-_LARGEST_CELL, _LARGEST_CELL)

    ruler = cells_of.ruler
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        decoded = _coded(is_valid, first, nominal, ruler, model, repeats, choose, code)
    cells: Integers = decoded.numpy()
    if _check_of(cells, valid) != check:
        raise UserError(
            "a tile's cells are not those that were coded: the data are damaged, or were made by "
            "another model; get them anew, or give that model"
        )
    return cells


def _coded(
    valid: Tensor,
    first: int,
    nominal: int,
    ruler: Ruler,
    model: Interlaced,
    repeats: Repeats | None,
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
    likely = None if repeats is None else torch.from_numpy(repeats.likelihood(height, width))
    tellers: dict[int, ExactTeller] = {}
    for which in passes(height, width):
        teller = model.teller(which.kind, which.spacing)
        if id(teller) not in tellers:
            tellers[id(teller)] = ExactTeller(teller, nominal)
        surroundings = Surroundings(decibels, which)
        predictions = Predictions(surroundings, tellers[id(teller)], nominal, ruler)
        kernel = TileKernel.plain(which.kind)
        if may_have_kernel(which):
            kernel = choose(which, predictions)
        told = _told(predictions, kernel, model)
        offered = None
        if repeats is not None and likely is not None and which.spacing == 1 and which.kind:
            offered = _offered(cells, likely, repeats.direction, which)
        found = code(which, told, offered)
        if not all_valid:
            found = torch.where(which.of(valid).flatten(), found, told.cell)
        found = found.reshape(surroundings.rows, surroundings.columns)
        which.of(cells).copy_(found)
        which.of(decibels).copy_(ruler.decibels(found))
    return cells


def _offered(cells: Tensor, likely: Tensor, direction: int, which: Pass) -> Offered:
    """Of the pixels before and after each, the one that it is likelier to repeat."""
    before, after = cells.roll(1, direction), cells.roll(-1, direction)
    # A likelihood is of repeating the pixel before; the first has none, so rolling brings in 0.
    repeats_before, repeats_after = likely, likely.roll(-1, direction)
    is_after = repeats_after > repeats_before
    likelihood = torch.where(is_after, repeats_after, repeats_before)
    chosen = which.of(torch.where(is_after, after, before)), which.of(likelihood)
    return Offered(chosen[0].flatten(), chosen[1].flatten().long())


def _in_repeats(cells: Tensor, repeats: Repeats) -> Tensor:
    """Whether pixels repeat another, or are repeated."""
    likely = torch.from_numpy(repeats.likelihood(*cells.shape)) > 0
    repeating = likely & (cells == cells.roll(1, repeats.direction))
    return repeating | repeating.roll(-1, repeats.direction)


def _told(predictions: Predictions, kernel: TileKernel, model: Interlaced) -> Told:
    rows, columns = predictions.surroundings.rows, predictions.surroundings.columns
    step = max(_PIXELS_AT_ONCE // columns, 1)
    parts = []
    for begin in range(0, rows, step):
        answers = predictions.of_rows(begin, min(begin + step, rows), kernel)
        parts.append(numbered(*answers, predictions.ruler, model.tables))
    return Told(*(torch.cat(each) for each in zip(*parts, strict=True)))


def _where(told: Told, counts: Tensor) -> Told:
    return Told(*(each[counts] for each in told))


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def take(self, size: int) -> bytes:
        part = self._data[self._place : self._place + size]
        if len(part) < size:
            raise UserError(
                f"a tile of {len(self._data)} bytes: expected {self._place + size} or more; "
                "the data are cut"
            )
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
