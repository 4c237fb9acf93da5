"""Which gains keep the mean of power, which what minimises an error in decibels does not.

The mean of a logarithm is below the logarithm of the mean: speckle of five looks that is smoothed
in decibels loses half a decibel of power, single-look speckle 2.5 dB. So each block of a tile has a
gain. Where targets are lost in one part of a block, its gain makes up for them in all of it; if
that shows in what lies across blocks, the quarters of these have gains of their own, as long as
that takes few bytes.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.emphasis import NEPERS
from sar_codec.coding.gains import (
    BLOCK,
    LEAST_EMPHASIS,
    MOST_GAIN_DB,
    ROUNDED_DB,
    SMALL_BLOCK,
    STEP_DB,
    between_blocks,
    emphasis,
    pack,
    parts_of_blocks,
    unpack,
)
from sar_codec.coding.patch_sums import PATCH, Pixels, Sums, block_sums, gained_sums, power_sums

_COARSE = 2.0  # steps
_TOLERATED_DB = 0.2  # of what lies across blocks
# A gain changes its neighbours' power too. Rounds are cheap while patches stand for their pixels.
_ROUNDS = 40
_LOOKS, _SMALL_LOOKS = 8, 3  # at pixels; most tiles need one or two
_CLOSE, _CLOSE_BY_PATCHES, _NEAR = 0.25, 0.1, 10.0  # steps
# What blocks lack is interpolated between them, so a round finds a quarter to all of it: these find
# it in the fewest rounds (Polyak 1964), where slopes hardly change.
_RELAXED, _MOMENTUM = 16 / 9, 1 / 9
_MOST_NEPERS, _MOST_SPREAD = MOST_GAIN_DB * NEPERS, np.float32(4)


class _Found(NamedTuple):
    """Gains of blocks.

    Attributes:
        steps: not rounded, `(rows, columns)`.
        slopes: by how much each step changes its block's power, in steps of that, about.
    """

    steps: NDArray[np.float64]
    slopes: NDArray[np.float64]

    def packed(self, block: int, largest: float = 1.0) -> bytes:
        return pack(self.steps, self.slopes, block, largest)


class Gains(NamedTuple):
    """Of a tile's blocks.

    Attributes:
        data: the bytes, empty where none are needed.
        are_right: whether all blocks have their power with them.
    """

    data: bytes
    are_right: bool


class _Patches(NamedTuple):
    """The power of patches, and how it changes with gains.

    Attributes:
        power: sums over each, `(rows, columns)`.
        means: of each patch's emphasis, weighted by power.
        variances: likewise.
        shape: height and width in pixels.
    """

    power: Sums
    means: Sums
    variances: Sums
    shape: tuple[int, int]

    def gained(self, steps: NDArray[np.float64], block: int) -> tuple[Sums, Sums]:
        """The power of patches with these gains, about, and by what factor it changes with them."""
        nepers = between_blocks(steps, self.shape, block, PATCH) * NEPERS
        # As if emphasis had a normal distribution.
        spread = (self.variances * nepers).clip(-_MOST_SPREAD, _MOST_SPREAD)
        gained = (nepers * (self.means + spread / 2)).clip(-_MOST_NEPERS, _MOST_NEPERS)
        power = self.power * np.exp(gained)
        return power, power * (self.means + spread)


class _Decoded(NamedTuple):
    """What the decoder has.

    Attributes:
        decibels: of pixels, `(h, w)`, NaN where they do not count.
        emphasis: how many times its gain each one gets, likewise.
    """

    decibels: Pixels
    emphasis: Pixels

    def patches(self, steps: NDArray[np.float64], block: int) -> _Patches:
        """With these gains."""
        shape = self.decibels.shape
        power, first, second = gained_sums(*self, *parts_of_blocks(steps, shape, block))
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.nan_to_num(first / power, nan=1.0)
            variances = np.nan_to_num(second / power) - means**2
        return _Patches(power, means, variances.clip(0, None), shape)


def gains_of(
    wanted: NDArray[np.float32], decoded: NDArray[np.float32], room: float = math.inf
) -> Gains:
    """Gains that give a tile's blocks the mean power of the original.

    Args:
        wanted: decibels of the original, `(h, w)`, NaN where they do not count.
        decoded: of what the decoder has, `(h, w)`.
        room: bytes that are little of the tile's: if gains take more, they may be told in larger
            units; and small blocks may take as many more than large ones.
    """
    counts = np.isfinite(wanted)
    counted = decoded if counts.all() else np.where(counts, decoded, np.float32(np.nan))
    # Loops are compiled for arrays of one piece.
    aim = power_sums(np.ascontiguousarray(wanted))
    pixels = _Decoded(np.ascontiguousarray(counted), emphasis(decoded))
    none = np.zeros_like(_sums(aim, BLOCK))
    patches = pixels.patches(none, BLOCK)
    large = _looked_at(_righted(None, aim, patches, BLOCK), aim, pixels, BLOCK)
    gains = large.packed(BLOCK)
    shows = _across_db(large.steps, aim, patches) > _TOLERATED_DB
    # At the tile's border nothing is around small blocks to smooth their gains, and it would show.
    shows[[0, -1]] = shows[:, [0, -1]] = False
    if shows.any():
        alone = _quartered(shows, _sums(aim, SMALL_BLOCK))
        about = _mixed(large, alone, aim, patches)
        if len(about.packed(SMALL_BLOCK)) - len(gains) <= room:  # else the rest is in vain
            finer = _finished(about, alone, aim, pixels).packed(SMALL_BLOCK)
            if len(finer) - len(gains) <= room:
                return _checked(finer, aim, pixels)
    return _checked(gains if len(gains) <= room else large.packed(BLOCK, _COARSE), aim, pixels)


def _checked(gains: bytes, aim: Sums, pixels: _Decoded) -> Gains:
    """Whether they are right as the decoder has them, rounded."""
    steps, block = np.zeros_like(_sums(aim, BLOCK)), BLOCK
    if gains:
        steps, _, block = unpack(gains, pixels.decibels.shape)
    sums = (_sums(each, BLOCK) for each in (aim, pixels.patches(steps, block).power))
    return Gains(gains, bool(STEP_DB * np.abs(_missing(*sums)).max() <= ROUNDED_DB))


def _mixed(large: _Found, alone: NDArray[np.bool_], aim: Sums, patches: _Patches) -> _Found:
    """Gains of small blocks, by patches: some blocks' own, the others' of large ones."""
    small = _righted(None, aim, patches, SMALL_BLOCK)
    wholes = (_quartered(each, small.steps) for each in large)
    mixed = (np.where(alone, *both) for both in zip(small, wholes, strict=True))
    return _righted(_Found(*mixed), aim, patches, SMALL_BLOCK, alone)


def _finished(about: _Found, alone: NDArray[np.bool_], aim: Sums, pixels: _Decoded) -> _Found:
    """Gains of small blocks, by pixels."""
    better = _looked_at(about, aim, pixels, SMALL_BLOCK, alone, _SMALL_LOOKS)
    # Where a target lies between small blocks, these would take long; large ones are to be right.
    return _looked_at(better, aim, pixels, SMALL_BLOCK, np.zeros_like(alone))


def _looked_at(
    about: _Found,
    aim: Sums,
    pixels: _Decoded,
    block: int,
    alone: NDArray[np.bool_] | None = None,
    looks: int = _LOOKS,
) -> _Found:
    """Gains that are right by pixels, from those that are by patches.

    Args:
        about: to begin with.
        aim: of the original, sums of patches.
        pixels: what they are right by.
        block: side in pixels.
        alone: small blocks that are to be right themselves.
        looks: at pixels, at most.
    """
    steps, slopes = about
    for _ in range(looks):
        there = pixels.patches(steps, block)
        sums = (_sums(each, block, alone) for each in (aim, there.power))
        if np.abs(_missing(*sums)).max() < _CLOSE:
            break
        more = _righted(None, aim, there, block, alone)
        steps, slopes = steps + more.steps, more.slopes
    return _Found(steps, slopes)


def _righted(
    begin: _Found | None,
    aim: Sums,
    patches: _Patches,
    block: int,
    alone: NDArray[np.bool_] | None = None,
) -> _Found:
    """Gains of what power lacks in each block, by patches.

    Args:
        begin: with these; None: with none.
        aim: of the original, sums of patches.
        patches: of what the decoder has.
        block: side in pixels.
        alone: small blocks that are to be right themselves; the others only as large ones.
    """
    aims = _sums(aim, block, alone)
    steps, slopes = begin or _Found(np.zeros_like(aims), np.ones_like(aims))
    moved = np.zeros_like(aims)
    is_empty = aims == 0
    for _ in range(_ROUNDS):
        gained, sloping = patches.gained(steps, block)
        found = _sums(gained, block, alone)
        with np.errstate(invalid="ignore"):
            slopes = np.fmax(_sums(sloping, block, alone) / found, LEAST_EMPHASIS)
        missing = _missing(aims, found)
        if np.abs(missing).max() < _CLOSE_BY_PATCHES:
            break
        near = _RELAXED * missing / slopes + _MOMENTUM * moved
        moved = np.where(np.abs(missing) < _NEAR, near, missing / slopes)
        steps = steps + moved
        if is_empty.any() and not is_empty.all():
            steps[is_empty] = np.median(steps[~is_empty])  # takes the fewest bits
    return _Found(steps, slopes)


def _sums(patches: Sums, block: int, alone: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Of blocks; of small ones that are not alone, those of the large ones that they are in."""
    of_blocks = block_sums(np.ascontiguousarray(patches), block // PATCH)
    if alone is None:
        return of_blocks
    return np.where(alone, of_blocks, _quartered(_sums(patches, BLOCK), of_blocks))


def _quartered(of_blocks: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """The values of large blocks for the small ones in them."""
    rows, columns = like.shape
    return of_blocks.repeat(2, 0).repeat(2, 1)[:rows, :columns]


def _across_db(steps: NDArray[np.float64], aim: Sums, patches: _Patches) -> NDArray[np.float64]:
    """How far off those are at most that lie across a block and others: of each block."""
    gained, _ = patches.gained(steps, BLOCK)
    half, off = BLOCK // PATCH // 2, np.zeros(steps.shape)
    for row, column in ((0, half), (half, 0), (half, half)):
        inner = [
            slice(begin, begin + (side - begin) // (2 * half) * 2 * half)
            for begin, side in zip((row, column), aim.shape, strict=True)
        ]
        sums = (_sums(each[tuple(inner)], BLOCK) for each in (aim, gained))
        found = STEP_DB * np.abs(_missing(*sums))
        for down, right in np.ndindex(1 + (row > 0), 1 + (column > 0)):
            touched = off[down : down + found.shape[0], right : right + found.shape[1]]
            np.maximum(touched, found[: touched.shape[0], : touched.shape[1]], out=touched)
    return off


def _missing(aim: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Steps from power that was found to what it should be; 0 where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        off_db = 10 * np.log10(aim / found)
    return np.where(np.isfinite(off_db), off_db, 0) / STEP_DB
