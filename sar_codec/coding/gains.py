"""Gains that a tile's pixels get after decoding, as bytes and as decibels.

Each block of a tile has one, interpolated between the blocks' middles, so that no edges show. There
is least error in decibels for the same power where brighter pixels get more of a gain: in
proportion to their power. But only to that over what is around them, within some 16 pixels: fields
that are darker or brighter than others keep their own means.
"""

from functools import cache, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sar_codec.coding.emphasis import of_first_order, of_second_order
from sar_codec.coding.numbers import pack_number, unpack_number
from sar_codec.entropy.coding import SymbolDecoder, SymbolEncoder
from sar_codec.entropy.gaussian import SCALES, gaussian_tables
from sar_codec.entropy.tables import IntegerTables
from sar_codec.errors import UserError

BLOCK, SMALL_BLOCK = 64, 32  # pixels
# Are added to the first byte, a scale index: where blocks are small; and in the form that is
# written now, where gains are told by how far they are from a common one, not the one before.
_SMALL, _COMMON = SCALES, 2 * SCALES
STEP_DB = 0.06
_UNITS = 1.0, 2.0, 0.5, 0.25  # steps that gains are told in, by number
ROUNDED_DB = 0.1  # that blocks may be off by rounding
LARGEST = 800  # steps; where the network loses a target, its block lacks nearly all of its power
# 1 and nepers over what is around, of which pixels get 0.5 to 8.5 times a gain.
_MOST_OVER = np.float32(4)
# Times, the latter in the earlier form.
LEAST_EMPHASIS, _MOST_AT_FIRST = np.float32(0.5), np.float32(2)
MOST_GAIN_DB = np.float32(100)  # of a pixel


def pack(
    steps: NDArray[np.float64], slopes: NDArray[np.float64], block: int, largest: float = 1.0
) -> bytes:
    """Gains as bytes, in units that keep blocks' power; empty where none are needed.

    Args:
        steps: of blocks, `(rows, columns)`, not rounded.
        slopes: by how many steps each one changes its block's power, about.
        block: side in pixels.
        largest: unit, in steps: 1 or 2.
    """
    steps = steps.clip(-LARGEST, LARGEST)
    for unit in sorted((each for each in _UNITS if each <= largest), reverse=True):
        whole = np.rint(steps / unit)
        if STEP_DB * np.abs((unit * whole - steps) * slopes).max() <= ROUNDED_DB:
            break
    if not whole.any():
        return b""
    symbols = torch.from_numpy(whole.ravel()).long()
    common = int(symbols.median())
    symbols = symbols - common
    values, counts = symbols.unique(return_counts=True)
    every_scale = torch.arange(SCALES)[:, None].expand(-1, len(values))
    bits = _tables().priced(values.expand(SCALES, -1), every_scale, _prices())
    index = int((bits @ counts.float()).argmin())
    encoder = SymbolEncoder()
    encoder.put(symbols, _tables(), torch.full((len(symbols),), index))
    about = 8 * abs(common) + 4 * (common < 0) + _UNITS.index(unit)
    head = bytes([_COMMON + _SMALL * (block == SMALL_BLOCK) + index])
    return head + pack_number(about) + encoder.data()


def gain_db(gains: bytes, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The gain of each pixel of a tile, in dB, `(h, w)`.

    Raises:
        UserError: the gains are damaged.
    """
    return between_blocks(*unpack(gains, shape))


def unpack(
    gains: bytes, shape: tuple[int, int]
) -> tuple[NDArray[np.float64], tuple[int, int], int]:
    """Steps of a tile's blocks, its height and width, and the side of blocks.

    Raises:
        UserError: the gains are damaged.
    """
    try:
        form, index = divmod(gains[0], SCALES)
        block = SMALL_BLOCK if form % 2 else BLOCK
        is_by_common = gains[0] >= _COMMON
        about, begin = unpack_number(gains, 1) if is_by_common else (0, 1)
        rows, columns = (-(-side // block) for side in shape)
        which = torch.full((rows * columns,), index)
        deltas = SymbolDecoder(gains[begin:]).take(_tables(), which).numpy().reshape(rows, columns)
    except UserError:
        raise UserError("the gains of a tile are damaged: get another copy of the file") from None
    if is_by_common:
        common = -(about // 8) if about & 4 else about // 8
        steps = _UNITS[about % 4] * (common + deltas)
    else:
        steps = _summed(deltas.clip(-2 * LARGEST, 2 * LARGEST)).astype(np.float64)
    return steps.clip(-LARGEST, LARGEST), shape, block


def emphasis(decibels: NDArray[np.float32], gains: bytes = bytes([_COMMON])) -> NDArray[np.float32]:
    """How many times its block's gain each pixel gets, `(h, w)`.

    Args:
        decibels: of a tile, or of some of it that begins and ends with 16 pixels of it; but for
            these, results are those of the whole tile.
        gains: whose form says of which kind.
    """
    pixels = np.ascontiguousarray(decibels)
    if gains[0] < _COMMON:
        return of_first_order(pixels, LEAST_EMPHASIS, _MOST_AT_FIRST)
    return of_second_order(pixels, _MOST_OVER)


def emphasised(gains: NDArray[np.float32], emphasis: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each pixel gets of gains, in dB; `gains` are overwritten with it."""
    gains *= emphasis
    return gains.clip(-MOST_GAIN_DB, MOST_GAIN_DB, out=gains)


def between_blocks(
    steps: NDArray[np.float64], shape: tuple[int, ...], block: int, patch: int = 1
) -> NDArray[np.float32]:
    """Gains in the middle of each patch of so many pixels to a side."""
    down, across = (_between(side, block, patch) for side in shape)
    # Not by numpy, whose threads would be more than those that tiles have.
    return (down @ torch.from_numpy(STEP_DB * steps).float() @ across.T).numpy()


def parts_of_blocks(
    steps: NDArray[np.float64], shape: tuple[int, int], block: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gains of columns of blocks at each row, `(h, n)`, and their shares at each column, `(n, w)`.

    Their product are the gains of pixels.
    """
    down, across = (_between(side, block, 1) for side in shape)
    return (down @ torch.from_numpy(STEP_DB * steps).float()).numpy(), across.T.contiguous().numpy()


@lru_cache(64)  # most tiles have the same size
def _between(side: int, block: int, patch: int) -> Tensor:
    """Weights `(n, blocks)`, float32, of blocks' values at each patch: linear between middles."""
    blocks = -(-side // block)
    middles = [min(block * (each + 0.5), (block * each + side) / 2) for each in range(blocks)]
    begins = np.arange(0, side, patch)
    places = (begins + np.minimum(begins + patch, side)) / 2
    rows = [np.interp(places, middles, one) for one in np.eye(blocks)]
    return torch.from_numpy(np.stack(rows, 1)).float()


def _summed(deltas: NDArray[np.int64]) -> NDArray[np.int64]:
    """Steps from each one's less that to the left, or above if it is the first of its row."""
    first = deltas[:, :1].cumsum(0)
    return first + deltas.cumsum(1) - deltas[:, :1]


@cache
def _tables() -> IntegerTables:
    return gaussian_tables()


@cache
def _prices() -> Tensor:
    return _tables().prices()
