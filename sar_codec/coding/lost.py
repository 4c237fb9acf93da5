"""Power that gains give back to blocks, and pixels whose power none gives back."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.gains import BLOCK, ROUNDED_DB, emphasis, emphasised, gain_db
from sar_codec.coding.power import gains_of

# A block that is off has its worst pixel kept, then four times as many each time, in the end all.
_TIMES = 4
_ROUNDS = 16
_MOST_DB = 300  # sums stay finite


class Kept(NamedTuple):
    """What keeps the power of a tile's blocks.

    Attributes:
        gains: of blocks, as bytes.
        are_lost: pixels that are to be kept as they are, `(h, w)`.
    """

    gains: bytes
    are_lost: NDArray[np.bool_]


def kept_power(wanted: NDArray[np.float32], decoded: NDArray[np.float32], room: float) -> Kept:
    """Gains, and what has to be kept beside them.

    A gain raises what is around a target of 70 dB and more as well, and what is in the blocks
    beside it; there is none that is right for all.

    Args:
        wanted: decibels of the original, `(h, w)`, NaN where they do not count.
        decoded: of what the decoder has before gains, `(h, w)`.
        room: bytes, see `gains_of`.
    """
    are_lost = np.zeros(wanted.shape, np.bool_)
    counts = np.ones([-(-side // BLOCK) for side in wanted.shape], np.int64)
    gains = gains_of(wanted, decoded, room)
    for _ in range(_ROUNDS):
        if gains.are_right:
            break
        more = _worst(wanted, decoded, gains.data, counts)
        if not more.any():
            break
        are_lost |= more
        wanted = np.where(are_lost, np.float32(np.nan), wanted)
        gains = gains_of(wanted, decoded, room)
    return Kept(gains.data, are_lost)


def _worst(
    wanted: NDArray[np.float32],
    decoded: NDArray[np.float32],
    gains: bytes,
    counts: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Of blocks that are off in mean power, so many pixels that put them there most: `(h, w)`.

    Their counts grow.
    """
    if gains:
        more = emphasised(gain_db(gains, decoded.shape), emphasis(decoded, gains))
        decoded = decoded + more
    valid = np.isfinite(wanted)
    power, found = (_power(each, valid) for each in (wanted, decoded))
    off = np.abs(power - found)
    worst = np.zeros(wanted.shape, np.bool_)
    for row, column in np.ndindex(counts.shape):
        block = tuple(slice(BLOCK * at, BLOCK * (at + 1)) for at in (row, column))
        if not valid[block].any() or _off_db(power[block], found[block]) <= ROUNDED_DB:
            continue
        count = min(int(counts[row, column]), off[block].size)
        limit = np.sort(off[block], axis=None)[-count]
        worst[block] = valid[block] & ~(off[block] < limit)
        counts[row, column] *= _TIMES
    return worst


def _power(decibels: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    held = np.where(valid, decibels, 0).astype(np.float64).clip(-_MOST_DB, _MOST_DB)
    return np.where(valid, 10 ** (held / 10), 0)


def _off_db(wanted: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    return float(np.abs(10 * np.log10(found.sum() / wanted.sum())))
