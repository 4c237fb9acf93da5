"""Pixels that repeat their neighbour in a regular pattern, as nearest-neighbour resampling makes.

A scene that is resampled to a finer grid by taking the nearest pixel repeats every so many pixels
along a row or column, or both. Where those lie is a wave whose phase is a polynomial of the place,
as projections are smooth: a few numbers tell of nearly all of them.
"""

import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sar_codec.entropy.tables import IntegerTables

Values = NDArray[Any]

STEPS = 4096  # of a period
PHASE_BITS, _STEP_BITS = 48, 12
# Coefficients of the phase for 1, x, y, x^2, xy and y^2; where pixels repeat, and how likely.
_PATTERN = struct.Struct("<6qHHB")
_SMALLEST_SIDE = 64
_BLOCK = 64
_PART = 256
# The mean of the spectrum of what has no pattern is a tenth of its peak or more.
_STANDS_OUT = 12
# Harmonics of a narrow line are about as strong as the fundamental, which is wanted.
_ABOUT_AS_STRONG = 0.6
_REFINEMENTS = 4
_ENOUGH = 4096  # pixels, to tell the mean of all phases
_CHANCE = 0.3  # at most, of the share of those that repeat, elsewhere
_NEAR = 0.1  # of a period, to be taken for the line in the first refinement
_WORTH = 2 * 8 * _PATTERN.size  # bits
# What a pixel that repeats would take, in bits, where cells are wide.
_BITS_SAVED = 1.2


@dataclass(frozen=True)
class Repeats:
    """Where pixels may repeat the one before, and how likely that is.

    Attributes:
        direction: 0 where it is the pixel above, 1 where it is the one to the left.
        phase: coefficients of the wave's phase, in units of 2^-48 of a period.
        first: 4096th of a period in which pixels begin to repeat.
        length: so many of these on, they end to.
        share: of pixels there that repeat, in 1/256.
    """

    direction: int
    phase: tuple[int, ...]
    first: int
    length: int
    share: int

    def likelihood(self, height: int, width: int) -> NDArray[np.uint8]:
        """In 1/256, how likely each pixel repeats the one before; `(height, width)`."""
        after_first = (_steps(self.phase, height, width) - self.first) & (STEPS - 1)
        likely = np.where(after_first < self.length, self.share, 0).astype(np.uint8)
        likely[(0, slice(None)) if self.direction == 0 else (slice(None), 0)] = 0
        return likely

    def data(self) -> bytes:
        """To be read by `of_bytes`: 53 bytes."""
        return _PATTERN.pack(*self.phase, self.first, self.length, self.share)

    @classmethod
    def of_bytes(cls, direction: int, data: bytes) -> "Repeats":
        """The inverse of `data`, of whatever bytes, of that length."""
        *phase, first, length, share = _PATTERN.unpack(data)
        return cls(direction, tuple(phase), first, length, share)

    SIZE = _PATTERN.size


def found_repeats(pixels: Values, valid: NDArray[np.bool_]) -> list[Repeats]:
    """The patterns of repeats of a tile that are worth telling: one a direction at most.

    Args:
        pixels: `(H, W)`; rounded to wide cells, they repeat by chance too.
        valid: `(H, W)`; other pixels repeat nothing.
    """
    found = (pattern_of(pixels, valid, direction) for direction in (0, 1))
    return [each for each in found if each is not None and _saved(each, valid) > _WORTH]


def pattern_of(pixels: Values, valid: NDArray[np.bool_], direction: int) -> Repeats | None:
    """The pattern of repeats in one direction, worth telling or not; None without one."""
    if min(pixels.shape) < _SMALLEST_SIDE:
        return None
    # Most images have no pattern, which a part of them shows.
    middle = tuple(slice(max(side - _PART, 0) // 2, (side + _PART) // 2) for side in pixels.shape)
    if _strongest(_same(pixels[middle], valid[middle], direction)) is None:
        return None
    repeats = _same(pixels, valid, direction)
    phase = _phase(repeats)
    return None if phase is None else _with_share(direction, phase, repeats, valid)


def _saved(pattern: Repeats, valid: NDArray[np.bool_]) -> float:
    """About how many bits it saves, cells being wide."""
    share = pattern.share / 256
    offered = float(((pattern.likelihood(*valid.shape) > 0) & valid).sum())
    return offered * (_BITS_SAVED * share - float(_binary_entropy(np.array([share]))[0]))


def _steps(phase: tuple[int, ...], height: int, width: int) -> NDArray[np.int64]:
    """The phase of each pixel, in 4096ths of a period."""
    y, x = np.arange(height)[:, None], np.arange(width)
    one, by_x, by_y, by_xx, by_xy, by_yy = phase
    # Integers wrap around, as phases do: 2^64 is a multiple of 2^48.
    with np.errstate(over="ignore"):
        at = one + by_x * x + by_xx * x * x + (by_y * y + by_yy * y * y) + by_xy * x * y
    return (at >> (PHASE_BITS - _STEP_BITS)) & (STEPS - 1)


def _same(pixels: Values, valid: NDArray[np.bool_], direction: int) -> NDArray[np.bool_]:
    """Whether pixels are the same as the one before."""
    same = np.zeros(pixels.shape, bool)
    now, before = (
        tuple(ends if axis == direction else slice(None) for axis in (0, 1))
        for ends in (slice(1, None), slice(None, -1))
    )
    same[now] = (pixels[now] == pixels[before]) & valid[now] & valid[before]
    return same


def _strongest(repeats: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Of the strongest waves the slowest, in periods a pixel down and right; None without one."""
    height, width = repeats.shape
    wave = (repeats - repeats.mean()).astype(np.float32)
    window = np.hanning(height)[:, None] * np.hanning(width)
    spectrum = np.abs(np.fft.rfft2(wave * window))
    down, right = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    # Less than two periods are brightness, and edges of what is even.
    spectrum[(np.abs(down) * height < 2) & (right * width < 2)] = 0
    largest = spectrum.max()
    if largest <= _STANDS_OUT * spectrum.mean():
        return None
    rows, columns = np.nonzero(spectrum > _ABOUT_AS_STRONG * largest)
    slowest = np.hypot(down[rows, 0], right[columns]).argmin()
    beside = np.maximum(np.abs(rows - rows[slowest]), np.abs(columns - columns[slowest])) <= 1
    peak = np.where(beside, spectrum[rows, columns], 0).argmax()
    return float(down[rows[peak], 0]), float(right[columns[peak]])


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
    at = [(np.arange(n) + 0.5) * _BLOCK - 0.5 for n in (rows, columns)]
    terms = _terms(*(each.ravel() for each in np.meshgrid(*at, indexing="ij")))
    count = len(terms) if rows * columns >= 2 * len(terms) and min(rows, columns) >= 3 else 3
    fitted = np.linalg.lstsq(terms[:count].T, angles.ravel(), rcond=None)[0]
    coefficients = np.pad(fitted, (0, len(terms) - count)) + np.array([0, right, down, 0, 0, 0])
    coefficients = _refined(coefficients, repeats)
    return tuple(round(float(each) * 2**PHASE_BITS) for each in coefficients)


def _refined(coefficients: NDArray[np.float64], repeats: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fitted to those pixels that are about on the line."""
    terms = _terms(*(each.astype(np.float64) for each in np.nonzero(repeats)))
    # At most 1, so that squares lose nothing that matters: six equations are solved at once.
    units = _terms(*(np.array([float(side)]) for side in repeats.shape))
    terms /= units
    coefficients, near = coefficients * units[:, 0], _NEAR
    for _ in range(_REFINEMENTS):
        phases = coefficients @ terms
        some = phases[:: max(phases.size // _ENOUGH, 1)]
        middle = np.angle(np.exp(2j * np.pi * some).sum()) / (2 * np.pi)
        off = phases - middle
        off -= np.rint(off)
        on_line = np.abs(off) < near
        if on_line.sum() < 10 * len(terms):
            break
        there, off = terms.compress(on_line, 1), off[on_line]
        change = np.linalg.lstsq(there @ there.T, there @ off, rcond=None)[0]
        change[0] = 0
        coefficients = coefficients - change
        near = max(near / 2, 3 * float(np.median(np.abs(off))))
    return coefficients / units[:, 0]


def _terms(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])


def _with_share(
    direction: int, phase: tuple[int, ...], repeats: NDArray[np.bool_], valid: NDArray[np.bool_]
) -> Repeats | None:
    """With the part of a period by which most is saved; None if there is no such part."""
    # In the first row or column, none has one before.
    inner = (slice(1, None), slice(None)) if direction == 0 else (slice(None), slice(1, None))
    counted = valid[inner]
    steps = _steps(phase, *repeats.shape)[inner][counted]
    counts = np.bincount(steps, minlength=STEPS)
    found = np.bincount(steps, repeats[inner][counted], STEPS)
    # From where the fewest are, the part does not go around.
    turn = np.exp(2j * np.pi * np.arange(STEPS) / STEPS)
    start = round((np.angle((found * turn).sum()) / (2 * np.pi) + 0.5) * STEPS) % STEPS
    counts, found = (np.concatenate([[0], np.roll(each, -start)]) for each in (counts, found))
    saved = np.cumsum(found * _BITS_SAVED - counts * _binary_entropy(found / np.maximum(counts, 1)))
    end = int((saved - np.minimum.accumulate(saved)).argmax())
    begin = int(saved[: end + 1].argmin())
    if end == begin:
        return None
    within = slice(begin + 1, end + 1)
    repeating, of = found[within].sum(), counts[within].sum()
    chance = (found.sum() - repeating) / max(float(counts.sum() - of), 1.0)
    # Where all is even, anything repeats, anywhere.
    if chance > _CHANCE * repeating / of or 2 * of > counts.sum():
        return None
    share = min(max(round(256 * repeating / of), 1), 255)
    return Repeats(direction, phase, (start + begin) % STEPS, end - begin, share)


def _binary_entropy(share: NDArray[np.float64]) -> NDArray[np.float64]:
    held = share.clip(2**-8, 1 - 2**-8)
    return -held * np.log2(held) - (1 - held) * np.log2(1 - held)


@cache
def flag_tables() -> IntegerTables:
    """Tables of whether a pixel repeats, 1, or not, 0, numbered by likelihood in 1/256."""
    tables = IntegerTables([3] * 256)
    shares = torch.arange(256, dtype=torch.float64).clamp_min(0.5) / 256
    tables.fill(0, 0, torch.stack([1 - shares, shares], 1))
    return tables
