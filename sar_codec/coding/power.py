"""Gains that keep the mean of power, which what minimises an error in decibels does not.

The mean of a logarithm is below the logarithm of the mean: speckle of five looks that is smoothed
in decibels loses half a decibel of power, single-look speckle 2.5 dB. So each block of a tile has a
gain, interpolated between the blocks' middles, so that no edges show.
"""

from functools import cache, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sar_codec.entropy.coding import SymbolDecoder, SymbolEncoder
from sar_codec.entropy.gaussian import SCALES, gaussian_tables
from sar_codec.entropy.tables import IntegerTables
from sar_codec.errors import UserError

BLOCK = 64  # pixels
_STEP_DB = 0.06
_LARGEST = 800  # steps; where the network loses a target, its block lacks nearly all of its power
_LARGEST_DB = np.float32(150)  # no measurement has more; products and sums stay finite
_PATCH = 8  # pixels that have about the same gain
# A gain changes its neighbours' power too. Rounds are cheap while patches stand for their pixels.
_COARSE_ROUNDS = 40
_FINE_ROUNDS = 3
_CLOSE = 0.1  # steps


def pack_gains(wanted: NDArray[np.float32], decoded: NDArray[np.float32]) -> bytes:
    """Gains that give a tile's blocks the mean power of the original.

    Args:
        wanted: decibels of the original, `(h, w)`, NaN where they do not count.
        decoded: of what the decoder has, `(h, w)`.
    """
    counts = np.isfinite(wanted)
    aim = _block_sums(_patch_sums(_power(wanted, counts)))
    power = _power(decoded, counts)
    patches = _patch_sums(power)
    steps = np.zeros(aim.shape)
    for _ in range(_COARSE_ROUNDS):
        gained = _power(_gain_db(steps, wanted.shape, _PATCH))
        gained *= patches
        missing = _missing(aim, _block_sums(gained))
        steps += missing
        if np.abs(missing).max() < _CLOSE:
            break
    for _ in range(_FINE_ROUNDS):
        gained = _power(_gain_db(steps, wanted.shape))
        gained *= power
        missing = _missing(aim, _block_sums(_patch_sums(gained)))
        steps += missing
        if np.abs(missing).max() < _CLOSE:
            break
    whole = np.rint(steps.clip(-_LARGEST, _LARGEST)).astype(np.int64)
    if not whole.any():
        return b""
    deltas = whole - _predicted(whole)
    every_scale = torch.arange(SCALES)[:, None].expand(-1, deltas.size)
    symbols = torch.from_numpy(deltas.ravel()).expand(SCALES, -1)
    return _coded(deltas, int(_tables().bits(symbols, every_scale).sum(1).argmin()))


def gain_db(gains: bytes, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The gain of each pixel of a tile, in dB, `(h, w)`.

    Raises:
        UserError: the gains are damaged.
    """
    rows, columns = (-(-side // BLOCK) for side in shape)
    try:
        if gains[0] >= SCALES:
            raise UserError("no such scale")
        which = torch.full((rows * columns,), gains[0])
        deltas = SymbolDecoder(gains[1:]).take(_tables(), which).numpy().reshape(rows, columns)
    except UserError:
        raise UserError("the gains of a tile are damaged: get another copy of the file") from None
    return _gain_db(_summed(deltas).astype(np.float64), shape)


def _coded(deltas: NDArray[np.int64], index: int) -> bytes:
    encoder = SymbolEncoder()
    encoder.put(torch.from_numpy(deltas.ravel()), _tables(), torch.full((deltas.size,), index))
    return bytes([index]) + encoder.data()


def _predicted(steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each block, the gain of the one to the left, or above if it is the first of its row."""
    predicted = np.zeros_like(steps)
    predicted[:, 1:] = steps[:, :-1]
    predicted[1:, 0] = steps[:-1, 0]
    return predicted


def _summed(deltas: NDArray[np.int64]) -> NDArray[np.int64]:
    """The inverse of subtracting what is `_predicted`; any numbers are held to possible gains."""
    deltas = deltas.clip(-2 * _LARGEST, 2 * _LARGEST)
    first = deltas[:, :1].cumsum(0)
    return (first + deltas.cumsum(1) - deltas[:, :1]).clip(-_LARGEST, _LARGEST)


@cache
def _tables() -> IntegerTables:
    return gaussian_tables()


def _missing(aim: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Steps from power that was found to what it should be; 0 where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        off_db = 10 * np.log10(aim / found)
    return np.where(np.isfinite(off_db), off_db, 0) / _STEP_DB


def _gain_db(
    steps: NDArray[np.float64], shape: tuple[int, ...], patch: int = 1
) -> NDArray[np.float32]:
    """Gains in the middle of each patch of so many pixels to a side."""
    down, across = (
        _between(side, blocks, patch) for side, blocks in zip(shape, steps.shape, strict=True)
    )
    # Not by numpy, whose threads would be more than those that tiles have.
    return (down @ torch.from_numpy(_STEP_DB * steps).float() @ across.T).numpy()


@lru_cache(64)  # most tiles have the same size
def _between(side: int, blocks: int, patch: int) -> Tensor:
    """Weights `(n, blocks)`, float32, of blocks' values at each patch: linear between middles."""
    middles = [min(BLOCK * (block + 0.5), (BLOCK * block + side) / 2) for block in range(blocks)]
    begins = np.arange(0, side, patch)
    places = (begins + np.minimum(begins + patch, side)) / 2
    rows = [np.interp(places, middles, one) for one in np.eye(blocks)]
    return torch.from_numpy(np.stack(rows, 1)).float()


def _patch_sums(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of patches, the last ones of a row or column maybe smaller."""
    pooled = functional.avg_pool2d(
        torch.from_numpy(values)[None, None], _PATCH, ceil_mode=True, divisor_override=1
    )
    return pooled[0, 0].numpy()


def _block_sums(patches: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of blocks, from sums of patches."""
    rows, columns = (np.arange(0, length, BLOCK // _PATCH) for length in patches.shape)
    return np.add.reduceat(np.add.reduceat(patches, rows, 0), columns, 1, dtype=np.float64)


def _power(
    decibels: NDArray[np.float32], counts: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Linear power, 0 where it does not count."""
    # In place: in new memory, each step would take as long again.
    power = decibels.clip(-_LARGEST_DB, _LARGEST_DB)
    power *= np.float32(np.log(10) / 10)
    np.exp(power, out=power)
    if counts is not None and not counts.all():
        power[~counts] = 0
    return power
