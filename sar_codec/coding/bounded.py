"""Tiles of numbers to bytes and back, coarse to fine, by an interlaced network."""

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sar_codec.coding.cells import Cells
from sar_codec.coding.integer_ruler import Integers
from sar_codec.coding.repeats import Repeats, flag_tables, found_repeats
from sar_codec.coding.rulers import Ruler
from sar_codec.coding.tile_kernels import Predictions, TileKernel, fitted_to_tile
from sar_codec.entropy.coding import SymbolDecoder, SymbolEncoder
from sar_codec.errors import UserError
from sar_codec.models.exact import Told, exact_teller, numbered
from sar_codec.models.interlaced import Interlaced
from sar_codec.models.interlacing import Pass, Surroundings, passes

# Check of the numbers, the first one, binary logarithm of cells' width in dB, what follows.
_HEAD = struct.Struct("<IihB")
_KERNELS = 1
_REPEATS = {0: 2, 1: 4}  # of each direction
# Tiles of fewer pixels are not worth the 180 bytes of their kernels.
_FEWEST_FOR_KERNELS = 10_000
# So many pixels at once stay in the cache.
_PIXELS_AT_ONCE = 16384


class Offered(NamedTuple):
    """Numbers that pixels may repeat, `(N,)`, and how likely they do, in 1/256; 0: not at all."""

    numbers: Tensor
    likelihood: Tensor


# A pass, what is told of its pixels, what is offered -> their numbers `(N,)`, to be believed where
# they are valid.
Code = Callable[[Pass, Told, Offered | None], Tensor]
# A pass, what is told of its pixels given a kernel -> the kernel.
Choose = Callable[[Pass, Predictions], TileKernel]


def encode(
    numbers: Integers, valid: NDArray[np.bool_], rule: Cells, model: Interlaced
) -> tuple[bytes, Integers]:
    """A tile as bytes, on one machine always the same ones; all machines read the same numbers.

    Args:
        numbers: of pixels, `(H, W)`; those of pixels that are not valid do not count.
        valid: `(H, W)`, which the decoder is given too.
        rule: what made the numbers.
        model: that the decoder has too, on the CPU.

    Returns:
        The bytes, and what is decoded of them, which mean nothing where pixels are not valid.
    """
    _check_sizes(numbers.shape, valid.shape)
    if not valid.any():
        return _HEAD.pack(0, 0, 0, 0), np.zeros_like(numbers)
    wanted_all, is_valid = torch.from_numpy(np.where(valid, numbers, 0)), torch.from_numpy(valid)
    of_valid = numbers[valid]
    first = int(numbers[0, 0]) if valid[0, 0] else int(np.sort(of_valid)[len(of_valid) // 2])
    ruler = rule.ruler
    log_widths = ruler.log_widths(ruler.decibels(torch.from_numpy(of_valid)))
    nominal = round(float(log_widths.mean(dtype=torch.float64)))
    repeats = found_repeats(numbers, valid)
    fits = len(of_valid) >= _FEWEST_FOR_KERNELS
    encoder = SymbolEncoder()
    wanted_db = ruler.decibels(wanted_all).masked_fill_(~is_valid, torch.nan)
    for each in repeats:
        wanted_db.masked_fill_(_in_repeats(wanted_all, each), torch.nan)

    def choose(which: Pass, predictions: Predictions) -> TileKernel:
        if not fits:
            return TileKernel.plain(which.kind)
        kernel = fitted_to_tile(predictions, which.of(wanted_db)[None])
        kernel.put(encoder)
        return kernel

    def code(which: Pass, told: Told, offered: Offered | None) -> Tensor:
        wanted, counts = which.of(wanted_all).flatten(), which.of(is_valid).flatten()
        cells = ruler.cells_of(wanted, told.origin)
        found = ruler.numbers_of(cells, told.origin)
        if offered is not None:
            is_offered = counts & (offered.likelihood > 0)
            repeated = ruler.are_near(wanted, offered.numbers) & is_offered
            likelihood = offered.likelihood[is_offered]
            encoder.put(repeated[is_offered].long(), flag_tables(), likelihood)
            found = torch.where(repeated, offered.numbers, found)
            counts = counts & ~repeated
        coded, told = (cells, told) if counts.all() else (cells[counts], _where(told, counts))
        encoder.put((coded >> told.low_bits) - told.base, model.tables, told.table)
        if told.low_bits.any():
            encoder.put_bits(coded & ((1 << told.low_bits) - 1), told.low_bits)
        return found

    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        decoded = _coded(is_valid, first, nominal, ruler, model, repeats, choose, code).numpy()
    follows = fits * _KERNELS + sum(_REPEATS[each.direction] for each in repeats)
    head = _HEAD.pack(_check_of(decoded, valid), first, nominal, follows)
    return b"".join([head, *(each.data() for each in repeats), encoder.data()]), decoded


def decode(data: bytes, valid: NDArray[np.bool_], rule: Cells, model: Interlaced) -> Integers:
    """What `encode` says is decoded, `(H, W)`.

    Raises:
        UserError: the data are damaged, or model, rule or mask are not those of the encoder.
    """
    _check_sizes(valid.shape, valid.shape)
    reader = _Reader(data)
    check, first, nominal, follows = _HEAD.unpack(reader.take(_HEAD.size))
    if not valid.any():
        return np.zeros(valid.shape, np.int64)
    is_valid, ruler = torch.from_numpy(valid), rule.ruler
    repeats = [
        Repeats.of_bytes(direction, reader.take(Repeats.SIZE))
        for direction, flag in _REPEATS.items()
        if follows & flag
    ]
    decoder = SymbolDecoder(reader.rest())

    def choose(which: Pass, _: Predictions) -> TileKernel:
        if not follows & _KERNELS:
            return TileKernel.plain(which.kind)
        return TileKernel.take(decoder, which.kind)

    def code(which: Pass, told: Told, offered: Offered | None) -> Tensor:
        counts, found = which.of(is_valid).flatten(), torch.zeros_like(told.base)
        if offered is not None:
            is_offered = counts & (offered.likelihood > 0)
            repeated = is_offered.clone()
            repeated[is_offered] = decoder.take(flag_tables(), offered.likelihood[is_offered]) == 1
            found = torch.where(repeated, offered.numbers, found)
            counts = counts & ~repeated
        told = told if counts.all() else _where(told, counts)
        cells = (decoder.take(model.tables, told.table) + told.base) << told.low_bits
        if told.low_bits.any():
            cells += decoder.take_bits(told.low_bits)
        coded = ruler.numbers_of(cells, told.origin)
        return coded if counts.all() else found.masked_scatter_(counts, coded)

    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        decoded = _coded(is_valid, first, nominal, ruler, model, repeats, choose, code)
    numbers: Integers = decoded.numpy()
    if _check_of(numbers, valid) != check:
        raise UserError(
            "a tile's pixels are not those that were coded: the data are damaged, or were made by "
            "another model; get them anew, or give that model"
        )
    return numbers


def _coded(
    valid: Tensor,
    first: int,
    nominal: int,
    ruler: Ruler,
    model: Interlaced,
    repeats: list[Repeats],
    choose: Choose,
    code: Code,
) -> Tensor:
    """All numbers, one pass after the other; where pixels are not valid, what was predicted."""
    height, width = valid.shape
    numbers = torch.zeros(height, width, dtype=torch.int64)
    decibels = torch.zeros(1, height, width)
    numbers[0, 0] = first
    decibels[0, 0, 0] = ruler.decibels(numbers[0, 0])
    all_valid = bool(valid.all())
    likely = [torch.from_numpy(each.likelihood(height, width)) for each in repeats]
    for which in passes(height, width):
        teller = exact_teller(model.teller(which), nominal)
        surroundings = Surroundings(decibels, which)
        predictions = Predictions(surroundings, teller, nominal, ruler)
        kernel = TileKernel.plain(which.kind)
        if which.has_kernel:
            kernel = choose(which, predictions)
        told = _told(predictions, kernel, model)
        offered = None
        if repeats and which.spacing == 1 and which.kind.is_between:
            offered = _offered(numbers, likely, [each.direction for each in repeats], which)
        found = code(which, told, offered)
        if not all_valid:
            predicted = ruler.numbers_of(told.cell, told.origin)
            found = torch.where(which.of(valid).flatten(), found, predicted)
        found = found.reshape(len(surroundings.rows), surroundings.columns)
        which.of(numbers).copy_(found)
        which.of(decibels).copy_(ruler.decibels(found))
    return numbers


def _offered(numbers: Tensor, likely: list[Tensor], directions: list[int], which: Pass) -> Offered:
    """Of the pixels before and after each, the one that it is likeliest to repeat."""
    chosen = which.of(numbers).flatten()
    likelihood = torch.zeros(chosen.shape, dtype=torch.uint8)
    for of_before, direction in zip(likely, directions, strict=True):
        # A likelihood is of repeating the pixel before; the first has none, so rolling brings in 0.
        for step, its_likelihood in ((1, of_before), (-1, of_before.roll(-1, direction))):
            here = which.of(its_likelihood).flatten()
            is_likelier = here > likelihood
            beside = which.of(numbers.roll(step, direction)).flatten()
            chosen = torch.where(is_likelier, beside, chosen)
            likelihood = torch.where(is_likelier, here, likelihood)
    return Offered(chosen, likelihood.long())


def _in_repeats(numbers: Tensor, repeats: Repeats) -> Tensor:
    """Whether pixels repeat another, or are repeated."""
    likely = torch.from_numpy(repeats.likelihood(*numbers.shape)) > 0
    repeating = likely & (numbers == numbers.roll(1, repeats.direction))
    return repeating | repeating.roll(-1, repeats.direction)


def _told(predictions: Predictions, kernel: TileKernel, model: Interlaced) -> Told:
    rows, columns = predictions.surroundings.rows, predictions.surroundings.columns
    step = max(_PIXELS_AT_ONCE // columns, 1)
    parts = []
    for begin in rows[::step]:
        answers = predictions.of_rows(rows[begin : begin + step], kernel)
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


def _check_of(numbers: Integers, valid: NDArray[np.bool_]) -> int:
    return zlib.crc32(numbers[valid].astype("<i4").tobytes())


def _check_sizes(numbers: tuple[int, ...], valid: tuple[int, ...]) -> None:
    if len(numbers) != 2 or numbers != valid or 0 in numbers:
        raise UserError(
            f"a tile of {numbers} pixels with a mask of {valid}: expected the same two sides, not 0"
        )
