"""Pixels that repeat their neighbour in a regular pattern, as nearest-neighbour resampling makes.

A scene that is resampled to a finer grid by taking the nearest pixel repeats every so many pixels
along a row or column. Where those lie is a wave whose phase is a polynomial of the place, as
projections are smooth: a few numbers tell of nearly all of them.
"""

import struct
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from sar_codec.entropy.tables import IntegerTables

Numbers = NDArray[np.int64]

BINS = 64  # of phase
_PHASE_BITS = 48
# Phases of coefficients for 1, x, y, x^2, xy and y^2.
_HEAD = struct.Struct("<B6q")
_CERTAIN = 255
# Shares of repeats by chance differ by less between the phases of a tile that has no pattern.
_LEAST_SHARE = 0.5
_SMALLEST_SIDE = 64
_BLOCK = 32
_PART = 256
_LONGEST_PERIOD = 40
# The mean of the spectrum of what has no pattern is a tenth of its peak or more.
_STANDS_OUT = 12


@dataclass(frozen=True)
class Repeats:
    """Where pixels may repeat the one before, and how likely that is.

    Attributes:
        direction: 0 where it is the pixel above, 1 where it is the one to the left.
        phase: coefficients of the wave's phase, in units of 2^-48 of a period.
        shares: of each 64th of a period, in 1/256, how many of its pixels repeat; 0 for none.
    """

    direction: int
    phase: tuple[int, ...]
    shares: tuple[int, ...]

    def likelihood(self, height: int, width: int) -> NDArray[np.uint8]:
        """In 1/256, how likely each pixel repeats the one before; `(height, width)`."""
        y, x = np.arange(height)[:, None], np.arange(width)
        one, by_x, by_y, by_xx, by_xy, by_yy = self.phase
        # Integers wrap around, as phases do: 2^64 is a multiple of 2^48.
        with np.errstate(over="ignore"):
            phase = one + by_x * x + by_xx * x * x + (by_y * y + by_yy * y * y) + by_xy * x * y
        bins = (phase >> (_PHASE_BITS - 6)) & (BINS - 1)
        likely = np.array(self.shares, np.uint8)[bins]
        likely[(0, slice(None)) if self.direction == 0 else (slice(None), 0)] = 0
        return likely

    def data(self) -> bytes:
        """To be read by `of_bytes`: 113 bytes."""
        return _HEAD.pack(self.direction, *self.phase) + bytes(self.shares)

    @classmethod
    def of_bytes(cls, data: bytes) -> "Repeats":
        """The inverse of `data`, of whatever bytes, of that length."""
        direction, *phase = _HEAD.unpack_from(data)
        return cls(direction & 1, tuple(phase), tuple(data[_HEAD.size :]))

    SIZE = _HEAD.size + BINS


def found_repeats(cells: Numbers, valid: NDArray[np.bool_]) -> Repeats | None:
    """The pattern of repeats of a tile, if it has one that is worth telling.

    Args:
        cells: `(H, W)`.
        valid: `(H, W)`; other pixels repeat nothing.
    """
    if min(cells.shape) < _SMALLEST_SIDE:
        return None
    best, most = None, 2.0 * 8 * Repeats.SIZE
    for direction in (0, 1):
        # Most tiles have no pattern, which a part of them shows.
        middle = tuple(
            slice(max(side - _PART, 0) // 2, (side + _PART) // 2) for side in cells.shape
        )
        if _strongest(_same(cells[middle], valid[middle], direction)) is None:
            continue
        repeats = _same(cells, valid, direction)
        phase = _phase(repeats)
        if phase is None:
            continue
        shares = _shares(direction, phase, repeats, valid)
        likely = Repeats(direction, phase, shares).likelihood(*cells.shape)
        # About a bit is saved by each, less those that the flags take.
        saved = float((likely > 0).sum()) * 0.3
        if any(shares) and saved > most:
            best, most = Repeats(direction, phase, shares), saved
    return best


def _same(cells: Numbers, valid: NDArray[np.bool_], direction: int) -> NDArray[np.bool_]:
    """Whether pixels are in the same cell as the one before."""
    same = np.zeros(cells.shape, bool)
    now, before = (
        tuple(ends if axis == direction else slice(None) for axis in (0, 1))
        for ends in (slice(1, None), slice(None, -1))
    )
    same[now] = (cells[now] == cells[before]) & valid[now] & valid[before]
    return same


def _strongest(repeats: NDArray[np.bool_]) -> tuple[float, float] | None:
    """The strongest wave's periods a pixel, down and right; None if none stands out."""
    height, width = repeats.shape
    wave = (repeats - repeats.mean()).astype(np.float32)
    window = np.hanning(height)[:, None] * np.hanning(width)
    spectrum = np.abs(np.fft.rfft2(wave * window))
    # Slower ones are brightness, and edges of what is even.
    slow = [side // _LONGEST_PERIOD for side in (height, width)]
    spectrum[: slow[0] + 1, : slow[1] + 1] = 0
    spectrum[height - slow[0] :, : slow[1] + 1] = 0
    row, column = np.unravel_index(spectrum.argmax(), spectrum.shape)
    if spectrum[row, column] <= _STANDS_OUT * spectrum.mean():
        return None
    return float(row / height), float(column / width)


def _phase(repeats: NDArray[np.bool_]) -> tuple[int, ...] | None:
    """The phase of the strongest wave, None if none stands out."""
    found = _strongest(repeats)
    if found is None:
        return None
    down, right = found
    height, width = repeats.shape
    wave = (repeats - repeats.mean()).astype(np.float32)
    y, x = np.arange(height), np.arange(width)
    carrier = np.exp(-2j * np.pi * down * y)[:, None] * np.exp(-2j * np.pi * right * x)
    rows, columns = height // _BLOCK, width // _BLOCK
    blocks = (wave * carrier)[: rows * _BLOCK, : columns * _BLOCK]
    blocks = blocks.reshape(rows, _BLOCK, columns, _BLOCK).mean((1, 3))
    angles = np.unwrap(np.unwrap(np.angle(blocks), axis=0), axis=1) / (2 * np.pi)
    at_y, at_x = np.meshgrid(
        *((np.arange(n) + 0.5) * _BLOCK - 0.5 for n in (rows, columns)), indexing="ij"
    )
    terms = [np.ones_like(at_x), at_x, at_y, at_x * at_x, at_x * at_y, at_y * at_y]
    if rows * columns < 2 * len(terms) or min(rows, columns) < 3:
        terms = terms[:3]
    fitted = np.linalg.lstsq(
        np.stack([each.ravel() for each in terms], 1), angles.ravel(), rcond=None
    )[0]
    fitted = np.pad(fitted, (0, 6 - len(fitted))) + np.array([0, right, down, 0, 0, 0])
    return tuple(round(float(each) * 2**_PHASE_BITS) for each in fitted)


def _shares(
    direction: int, phase: tuple[int, ...], repeats: NDArray[np.bool_], valid: NDArray[np.bool_]
) -> tuple[int, ...]:
    """Shares of repeats of the phases at which repeats are more than chance."""
    numbered = Repeats(direction, phase, tuple(range(BINS))).likelihood(*repeats.shape)
    counts = np.bincount(numbered[valid], minlength=BINS)
    shares = np.bincount(numbered[valid], repeats[valid], BINS) / np.maximum(counts, 1)
    # Bin 0 also holds the edge, where there is nothing before.
    chance = float(np.median(shares))
    stand_out = shares > chance + _LEAST_SHARE * (1 - chance)
    scaled = np.clip(np.round(shares * 256), 1, _CERTAIN).astype(int)
    return tuple(int(each) for each in np.where(stand_out, scaled, 0))


@cache
def flag_tables() -> IntegerTables:
    """Tables of whether a pixel repeats, 1, or not, 0, numbered by likelihood in 1/256."""
    tables = IntegerTables([3] * 256)
    for likelihood in range(256):
        share = max(likelihood, 0.5) / 256
        tables.fill(likelihood, 0, torch.tensor([1 - share, share], dtype=torch.float64))
    return tables
