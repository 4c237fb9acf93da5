"""Gains that keep the mean of power, which what minimises an error in decibels does not.

The mean of a logarithm is below the logarithm of the mean: speckle of five looks that is smoothed
in decibels loses half a decibel of power, single-look speckle 2.5 dB. So each block of a tile has a
gain, interpolated between the blocks' middles, so that no edges show.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.pixels import inflated
from sar_codec.errors import UserError

BLOCK = 64  # pixels
_STEP_DB = 0.05
_LARGEST = 127  # steps
_ROUNDS = 3  # each block's gain changes its neighbours' power a little


def pack_gains(wanted: NDArray[np.float32], decoded: NDArray[np.float32]) -> bytes:
    """Gains that give a tile's blocks the mean power of the original.

    Args:
        wanted: decibels of the original, `(h, w)`, NaN where they do not count.
        decoded: of what the decoder has, `(h, w)`.
    """
    counts = np.isfinite(wanted)
    aim = _block_sums(np.where(counts, _power(wanted), 0))
    power = np.where(counts, _power(decoded), 0)
    steps = np.zeros(aim.shape)
    for _ in range(_ROUNDS):
        found = _block_sums(power * _power(_gain_db(steps, wanted.shape)))
        with np.errstate(divide="ignore", invalid="ignore"):
            off = 10 * np.log10(aim / found)
        steps += np.where(np.isfinite(off), off, 0) / _STEP_DB
    whole = np.rint(steps).clip(-_LARGEST, _LARGEST).astype(np.int8)
    if not whole.any():
        return b""
    return zlib.compress(np.diff(whole.ravel(), prepend=np.int8(0)).tobytes(), 9)


def with_gains(gains: bytes, decoded: NDArray[np.float32]) -> NDArray[np.float32]:
    """A whole tile's decibels `(h, w)` with the gains that `pack_gains` made.

    Raises:
        UserError: these are damaged.
    """
    if not gains:
        return decoded
    return decoded + gain_db(gains, (decoded.shape[0], decoded.shape[1]))


def gain_db(gains: bytes, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The gain of each pixel of a tile, in dB, `(h, w)`.

    Raises:
        UserError: the gains are damaged.
    """
    rows, columns = (-(-side // BLOCK) for side in shape)
    try:
        deltas = np.frombuffer(inflated(gains, rows * columns), np.int8)
    except UserError:
        raise UserError("the gains of a tile are damaged: get another copy of the file") from None
    steps = deltas.cumsum(dtype=np.int8).astype(np.float64).reshape(rows, columns)
    return _gain_db(steps, shape)


def _gain_db(steps: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    down, across = (_between(side, blocks) for side, blocks in zip(shape, steps.shape, strict=True))
    return (down @ (_STEP_DB * steps) @ across.T).astype(np.float32)


def _between(side: int, blocks: int) -> NDArray[np.float64]:
    """Weights of blocks' values at each pixel, linear between their middles: `(side, blocks)`."""
    middles = [min(BLOCK * (block + 0.5), (BLOCK * block + side) / 2) for block in range(blocks)]
    places = np.arange(side) + 0.5
    return np.stack([np.interp(places, middles, one) for one in np.eye(blocks)], 1)


def _block_sums(values: NDArray[np.float32]) -> NDArray[np.float64]:
    rows, columns = (np.arange(0, side, BLOCK) for side in values.shape)
    return np.add.reduceat(np.add.reduceat(values, rows, 0), columns, 1, dtype=np.float64)


def _power(decibels: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.exp(decibels * np.float32(np.log(10) / 10))
