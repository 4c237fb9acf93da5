"""Pixels whose power is lost to their blocks, whatever gain these get."""

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.gains import (
    BLOCK,
    ROUNDED_DB,
    emphasis,
    emphasised,
    gain_db,
)

_MOST_DB = 150  # no measurement has more; sums stay finite


def lost(
    wanted: NDArray[np.float32], decoded: NDArray[np.float32], gains: bytes, count: int
) -> NDArray[np.bool_]:
    """Of blocks that are off in mean power, the pixels that put them there most: `(h, w)`.

    A gain raises what is around a target of 60 dB and more as well, and that of the blocks beside
    it; there is no gain that is right for all. None where all blocks are right.

    Args:
        wanted: decibels of the original, `(h, w)`, NaN where they do not count.
        decoded: of what the decoder has before gains, `(h, w)`.
        gains: as it has them.
        count: pixels of each block, at most.
    """
    if gains:
        more = emphasised(gain_db(gains, decoded.shape), emphasis(decoded, gains))
        decoded = decoded + more
    counts = np.isfinite(wanted)
    power, found = (_power(each, counts) for each in (wanted, decoded))
    off = np.abs(power - found)
    are_lost = np.zeros(wanted.shape, np.bool_)
    for row in range(0, wanted.shape[0], BLOCK):
        for column in range(0, wanted.shape[1], BLOCK):
            block = slice(row, row + BLOCK), slice(column, column + BLOCK)
            if not counts[block].any() or _off_db(power[block], found[block]) <= ROUNDED_DB:
                continue
            worst = np.argsort(off[block], axis=None, kind="stable")[-count:]
            of_block = np.zeros(off[block].size, np.bool_)
            of_block[worst] = True
            are_lost[block] = of_block.reshape(off[block].shape) & counts[block]
    return are_lost


def _power(decibels: NDArray[np.float32], counts: NDArray[np.bool_]) -> NDArray[np.float64]:
    held = np.where(counts, decibels, -_MOST_DB).clip(-_MOST_DB, _MOST_DB).astype(np.float64)
    return np.where(counts, 10 ** (held / 10), 0)


def _off_db(wanted: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    return float(np.abs(10 * np.log10(found.sum() / wanted.sum())))
