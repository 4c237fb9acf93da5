"""Gains that keep the mean of power, which what minimises an error in decibels does not.

The mean of a logarithm is below the logarithm of the mean: speckle of five looks that is smoothed
in decibels loses half a decibel of power, single-look speckle 2.5 dB. So each block of a tile has a
gain, interpolated between the blocks' middles, so that no edges show. Where targets are lost in one
part of a block, its gain makes up for them in all of it; if that shows in what lies across blocks,
the quarters of these have gains of their own, as long as that takes few bytes.

What smoothing takes from power it takes from contrast, and there is least error in decibels for the
same power where brighter pixels get more of a gain: in proportion to their power. But only to that
over what is around them, within some 16 pixels: fields that are darker or brighter than others keep
their own means. Gains are told as finely as it takes to keep blocks' power.
"""

import math
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sar_codec.coding.numbers import pack_number, unpack_number
from sar_codec.entropy.coding import SymbolDecoder, SymbolEncoder
from sar_codec.entropy.gaussian import SCALES, gaussian_tables
from sar_codec.entropy.tables import IntegerTables
from sar_codec.errors import UserError

BLOCK, SMALL_BLOCK = 64, 32  # pixels
# Are added to the first byte, a scale index: where blocks are small; and in the form that is
# written now, where gains are told by how far they are from a common one, not the one before.
_SMALL, _COMMON = SCALES, 2 * SCALES
_TOLERATED_DB = 0.2  # of what lies across blocks
_STEP_DB = 0.06
_UNITS = 1.0, 2.0, 0.5, 0.25  # steps that gains are told in, by number
_ROUNDED_DB = 0.1  # that blocks may be off by rounding
_LARGEST = 800  # steps; where the network loses a target, its block lacks nearly all of its power
_NEPERS = np.float32(np.log(10) / 10)  # a decibel has
_LARGEST_DB = np.float32(150)  # no measurement has more; products and sums stay finite
_PATCH = 8  # pixels that have about the same gain
AROUND = 16  # pixels
_MOST_OVER = 4.0  # 1 and nepers over what is around, of which pixels get 0.5 to 8.5 times a gain
_LEAST, _MOST_AT_FIRST = 0.5, 2.0  # times, the latter in the earlier form
_MOST_GAIN_DB = np.float32(100)  # of a pixel
# A gain changes its neighbours' power too. Rounds are cheap while patches stand for their pixels.
_COARSE_ROUNDS = 40
_FINE_ROUNDS = 3
_CLOSE, _NEAR = 0.1, 10.0  # steps
# What blocks lack is interpolated between them, so a round finds a quarter to all of it: these find
# it in the fewest rounds (Polyak 1964), where slopes hardly change.
_RELAXED, _MOMENTUM = 16 / 9, 1 / 9
# Of gains, and of the slope of a patch's power, where that is told from a few numbers.
_MOST_NEPERS, _MOST_SPREAD = np.float32(23), np.float32(4)


def pack_gains(
    wanted: NDArray[np.float32], decoded: NDArray[np.float32], room: float = math.inf
) -> bytes:
    """Gains that give a tile's blocks the mean power of the original.

    Args:
        wanted: decibels of the original, `(h, w)`, NaN where they do not count.
        decoded: of what the decoder has, `(h, w)`.
        room: bytes that are little of the tile's: if gains take more, they may be told in larger
            units; and small blocks may take as many more than large ones.
    """
    counts = np.isfinite(wanted)
    aim = _patch_sums(_power(wanted, counts))
    power = _Gained.of(_power(decoded, counts), emphasis(decoded))
    steps, slopes = _steps(aim, power, BLOCK)
    gains = _packed(steps, slopes, BLOCK)
    shows = _across_db(steps, aim, power) > _TOLERATED_DB
    # At the tile's border nothing is around small blocks to smooth their gains, and it would show.
    shows[[0, -1]] = shows[:, [0, -1]] = False
    if shows.any():
        small, _ = _steps(aim, power, SMALL_BLOCK)
        alone = _quartered(shows, small)
        mixed = np.where(alone, small, _quartered(steps, small))
        finer = _packed(*_steps(aim, power, SMALL_BLOCK, mixed, alone), SMALL_BLOCK)
        if len(finer) - len(gains) <= room:
            return finer
    return gains if len(gains) <= room else _packed(steps, slopes, BLOCK, max(_UNITS))


def emphasis(decibels: NDArray[np.float32], gains: bytes = bytes([_COMMON])) -> NDArray[np.float32]:
    """How many times its block's gain each pixel gets, `(h, w)`.

    Args:
        decibels: of a tile, or of some of it that begins and ends with 16 pixels of it; but for
            these, results are those of the whole tile.
        gains: whose form says of which kind.
    """
    x = torch.from_numpy(decibels)[None, None]
    means = functional.avg_pool2d(x, AROUND, ceil_mode=True, count_include_pad=False)
    means = means.nan_to_num(0).clamp(-_LARGEST, _LARGEST)
    around = functional.interpolate(means, scale_factor=AROUND, mode="bilinear")
    around = around[..., : x.shape[2], : x.shape[3]]
    # Power over that around, 1 and more of it but for what is beyond the first order.
    times = torch.sub(x, around, out=around).mul_(float(_NEPERS)).add_(1)
    if gains[0] < _COMMON:
        times.clamp_(_LEAST, _MOST_AT_FIRST)
    else:  # with the second order
        times.clamp_(0, _MOST_OVER).square_().add_(1).div_(2)
    return times[0, 0].numpy()


def emphasised(gains: NDArray[np.float32], emphasis: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each pixel gets of gains, in dB; `gains` are overwritten with it."""
    gains *= emphasis
    return gains.clip(-_MOST_GAIN_DB, _MOST_GAIN_DB, out=gains)


class _Gained(NamedTuple):
    """What the decoder has.

    Attributes:
        pixels: their power, `(h, w)`.
        emphasis: how many times its gain each one gets, likewise.
        patches: sums of power.
        means: of each patch's emphasis, weighted by power.
        variances: likewise.
    """

    pixels: NDArray[np.float32]
    emphasis: NDArray[np.float32]
    patches: NDArray[np.float32]
    means: NDArray[np.float32]
    variances: NDArray[np.float32]

    @classmethod
    def of(cls, power: NDArray[np.float32], emphasis: NDArray[np.float32]) -> "_Gained":
        weighted = power * emphasis
        patches, first = _patch_sums(power), _patch_sums(weighted)
        weighted *= emphasis
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.nan_to_num(first / patches, nan=1.0)
            variances = np.nan_to_num(_patch_sums(weighted) / patches) - means**2
        return cls(power, emphasis, patches, means, variances.clip(0, None))

    def patches_gained(
        self, steps: NDArray[np.float64], block: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The power of patches with these gains, about, and its slope: per neper of gain."""
        nepers = _gain_db(steps, self.pixels.shape, block, _PATCH) * _NEPERS
        nepers = nepers.clip(-_MOST_NEPERS, _MOST_NEPERS)
        # As if emphasis had a normal distribution.
        spread = (self.variances * nepers).clip(-_MOST_SPREAD, _MOST_SPREAD)
        power = self.patches * np.exp(nepers * (self.means + spread / 2))
        return power, power * (self.means + spread)

    def pixels_gained(self, steps: NDArray[np.float64], block: int) -> NDArray[np.float32]:
        """The power of pixels with these gains."""
        # In place: in new memory, each step would take as long again.
        power = emphasised(_gain_db(steps, self.pixels.shape, block), self.emphasis)
        power *= _NEPERS
        np.exp(power, out=power)
        power *= self.pixels
        return power


def _steps(
    aim: NDArray[np.float32],
    power: _Gained,
    block: int,
    start: NDArray[np.float64] | None = None,
    alone: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What power lacks in each block, not rounded; and by how much each step changes that, about.

    Args:
        aim: of the original, sums of patches.
        power: of what the decoder has.
        block: side in pixels.
        start: to begin with.
        alone: small blocks that are to be right themselves; the others only as large ones.
    """

    def sums(patches: NDArray[np.float32]) -> NDArray[np.float64]:
        of_blocks = _block_sums(patches, block)
        if alone is None:
            return of_blocks
        return np.where(alone, of_blocks, _quartered(_block_sums(patches, BLOCK), of_blocks))

    aims = sums(aim)
    is_empty = aims == 0
    steps = np.zeros(aims.shape) if start is None else start
    slopes, moved = np.ones_like(aims), np.zeros_like(steps)
    fine_rounds = _FINE_ROUNDS if block == BLOCK or alone is not None else 1
    for rounds, by_pixels in ((_COARSE_ROUNDS, False), (fine_rounds, True)):
        for _ in range(rounds):
            if by_pixels:
                found = sums(_patch_sums(power.pixels_gained(steps, block)))
            else:
                gained, sloping = power.patches_gained(steps, block)
                found = sums(gained)
                with np.errstate(invalid="ignore"):
                    slopes = np.fmax(sums(sloping) / found, _LEAST)
            missing = _missing(aims, found)
            if np.abs(missing).max() < _CLOSE:
                break
            is_near = np.abs(missing) < _NEAR
            moved = np.where(
                is_near, _RELAXED * missing / slopes + _MOMENTUM * moved, missing / slopes
            )
            steps = steps + moved
            if is_empty.any() and not is_empty.all():
                steps[is_empty] = np.median(steps[~is_empty])  # takes next to no bits
    return steps, slopes


def _quartered(of_blocks: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """The values of large blocks for the small ones in them."""
    rows, columns = like.shape
    return of_blocks.repeat(2, 0).repeat(2, 1)[:rows, :columns]


def _across_db(
    steps: NDArray[np.float64], aim: NDArray[np.float32], power: _Gained
) -> NDArray[np.float64]:
    """How far off those are at most that lie across a block and others: of each block."""
    gained, _ = power.patches_gained(steps, BLOCK)
    half, off = BLOCK // _PATCH // 2, np.zeros(steps.shape)
    for row, column in ((0, half), (half, 0), (half, half)):
        inner = [
            slice(begin, begin + (side - begin) // (2 * half) * 2 * half)
            for begin, side in zip((row, column), aim.shape, strict=True)
        ]
        sums = (_block_sums(each[tuple(inner)], BLOCK) for each in (aim, gained))
        found = _STEP_DB * np.abs(_missing(*sums))
        for down, right in np.ndindex(1 + (row > 0), 1 + (column > 0)):
            touched = off[down : down + found.shape[0], right : right + found.shape[1]]
            np.maximum(touched, found[: touched.shape[0], : touched.shape[1]], out=touched)
    return off


def _packed(
    steps: NDArray[np.float64], slopes: NDArray[np.float64], block: int, largest: float = 1.0
) -> bytes:
    """Gains in units that keep blocks' power; the largest is of so many steps."""
    steps = steps.clip(-_LARGEST, _LARGEST)
    for unit in sorted((each for each in _UNITS if each <= largest), reverse=True):
        whole = np.rint(steps / unit)
        if _STEP_DB * np.abs((unit * whole - steps) * slopes).max() <= _ROUNDED_DB:
            break
    if not whole.any():
        return b""
    symbols = torch.from_numpy(whole.ravel()).long()
    common = int(symbols.median())
    symbols = symbols - common
    every_scale = torch.arange(SCALES)[:, None].expand(-1, len(symbols))
    index = int(_tables().bits(symbols.expand(SCALES, -1), every_scale).sum(1).argmin())
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
        steps = _summed(deltas.clip(-2 * _LARGEST, 2 * _LARGEST)).astype(np.float64)
    return _gain_db(steps.clip(-_LARGEST, _LARGEST), shape, block)


def _summed(deltas: NDArray[np.int64]) -> NDArray[np.int64]:
    """Steps from each one's less that to the left, or above if it is the first of its row."""
    first = deltas[:, :1].cumsum(0)
    return first + deltas.cumsum(1) - deltas[:, :1]


@cache
def _tables() -> IntegerTables:
    return gaussian_tables()


def _missing(aim: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Steps from power that was found to what it should be; 0 where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        off_db = 10 * np.log10(aim / found)
    return np.where(np.isfinite(off_db), off_db, 0) / _STEP_DB


def _gain_db(
    steps: NDArray[np.float64], shape: tuple[int, ...], block: int, patch: int = 1
) -> NDArray[np.float32]:
    """Gains in the middle of each patch of so many pixels to a side."""
    down, across = (_between(side, block, patch) for side in shape)
    # Not by numpy, whose threads would be more than those that tiles have.
    return (down @ torch.from_numpy(_STEP_DB * steps).float() @ across.T).numpy()


@lru_cache(64)  # most tiles have the same size
def _between(side: int, block: int, patch: int) -> Tensor:
    """Weights `(n, blocks)`, float32, of blocks' values at each patch: linear between middles."""
    blocks = -(-side // block)
    middles = [min(block * (each + 0.5), (block * each + side) / 2) for each in range(blocks)]
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


def _block_sums(patches: NDArray[np.float32], block: int) -> NDArray[np.float64]:
    """Of blocks, from sums of patches."""
    if not patches.size:
        return np.zeros((0, 0))
    rows, columns = (np.arange(0, length, block // _PATCH) for length in patches.shape)
    return np.add.reduceat(np.add.reduceat(patches, rows, 0), columns, 1, dtype=np.float64)


def _power(
    decibels: NDArray[np.float32], counts: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Linear power, 0 where it does not count."""
    # In place: in new memory, each step would take as long again.
    power = decibels.clip(-_LARGEST_DB, _LARGEST_DB)
    power *= _NEPERS
    np.exp(power, out=power)
    if counts is not None and not counts.all():
        power[~counts] = 0
    return power
