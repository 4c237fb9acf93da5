"""How much less rate one codec takes than another at the same quality.

Bjoentegaard's measure (VCEG-M33, 2001) with the interpolation of the JCT-VC: piecewise cubics
that keep monotony (Fritsch and Butland 1984, https://doi.org/10.1137/0905021).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """Rate-distortion points of a codec on an image, both growing.

    Attributes:
        rates: bits a pixel.
        qualities: in dB, as PSNR.
    """

    rates: Floats
    qualities: Floats

    @classmethod
    def of(cls, points: Sequence[tuple[float, float]]) -> "Curve":
        """Of points (rate, quality), without those that cost more and are no better."""
        kept: list[tuple[float, float]] = []
        for rate, quality in sorted(points):
            if np.isfinite(quality) and (not kept or quality > kept[-1][1]):
                if kept and rate == kept[-1][0]:
                    kept.pop()
                kept.append((rate, quality))
        table = np.array(kept, np.float64).reshape(-1, 2)
        return cls(table[:, 0], table[:, 1])

    def shared(self, other: "Curve") -> tuple[float, float]:
        """The qualities between which both have points; the first is larger if nowhere."""
        if min(len(self.rates), len(other.rates)) < 2:
            return 1.0, 0.0
        low = max(self.qualities[0], other.qualities[0])
        return float(low), float(min(self.qualities[-1], other.qualities[-1]))


def bd_rate(anchor: Curve, test: Curve, others: Iterable[Curve] = ()) -> float:
    """Rate of `test` over that of `anchor`, minus 1: -0.3 is 30 % less; NaN if they share nothing.

    The mean of the ratio's logarithm over the qualities that both reach, and all of `others`.
    """
    ranges = [anchor.shared(each) for each in (test, *others)]
    low, high = max(each[0] for each in ranges), min(each[1] for each in ranges)
    if not low < high:
        return float("nan")
    areas = [_area(each.qualities, np.log(each.rates), low, high) for each in (anchor, test)]
    return float(np.expm1((areas[1] - areas[0]) / (high - low)))


def saving_at(anchor: Curve, test: Curve, rate: float) -> float:
    """As `bd_rate`, at the one quality that `anchor` has at a rate; NaN outside of the curves."""
    if not len(anchor.rates) > 1 or not anchor.rates[0] <= rate <= anchor.rates[-1]:
        return float("nan")
    quality = _quality_at(anchor, rate)
    if len(test.rates) < 2 or not test.qualities[0] <= quality <= test.qualities[-1]:
        return float("nan")
    return float(np.exp(_log_rate(test, quality)) / rate - 1)


def interval(
    values: Mapping[str, Sequence[float]], seed: int, rounds: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """A bootstrap interval of a mean: places are drawn again and again, with all they have.

    Args:
        values: of each place one or several, which are no independent examples.
        seed: of the draws.
        rounds: how many draws.
        level: how probable the interval is to be.
    """
    rng = np.random.default_rng(seed)
    sums = np.array([np.sum(each) for each in values.values()])
    counts = np.array([len(each) for each in values.values()])
    drawn = rng.integers(0, len(sums), (rounds, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def pchip(x: Floats, y: Floats, at: Floats) -> Floats:
    """Values at points within `x`, which grows, of cubics through `y` that keep its monotony."""
    slopes = _slopes(x, y)
    k = np.clip(np.searchsorted(x, at, "right") - 1, 0, len(x) - 2)
    width = x[k + 1] - x[k]
    t = (at - x[k]) / width
    left = y[k] * (1 + 2 * t) + slopes[k] * width * t
    right = y[k + 1] * (3 - 2 * t) - slopes[k + 1] * width * (1 - t)
    return left * (1 - t) ** 2 + right * t**2


def _log_rate(curve: Curve, quality: float) -> float:
    return float(pchip(curve.qualities, np.log(curve.rates), np.array([quality]))[0])


def _quality_at(curve: Curve, rate: float) -> float:
    """The inverse of `_log_rate`, which grows, by bisection."""
    low, high = float(curve.qualities[0]), float(curve.qualities[-1])
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _log_rate(curve, middle) < np.log(rate) else (low, middle)
    return (low + high) / 2


def _area(x: Floats, y: Floats, low: float, high: float) -> float:
    """The integral of `pchip`; of cubics, Simpson's rule is exact."""
    ends = np.concatenate([[low], x[(low < x) & (x < high)], [high]])
    middles = (ends[1:] + ends[:-1]) / 2
    at_ends, at_middles = pchip(x, y, ends), pchip(x, y, middles)
    means = (at_ends[1:] + 4 * at_middles + at_ends[:-1]) / 6
    return float((means * np.diff(ends)).sum())


def _slopes(x: Floats, y: Floats) -> Floats:
    """Slopes at the points: weighted harmonic means of those beside, 0 at a turn."""
    widths = np.diff(x)
    secants = np.diff(y) / widths
    if len(secants) == 1:
        return np.repeat(secants, 2)
    before, after = secants[:-1], secants[1:]
    weights = 2 * widths[1:] + widths[:-1], widths[1:] + 2 * widths[:-1]
    same = before * after > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = (weights[0] + weights[1]) / (weights[0] / before + weights[1] / after)
    inner = np.where(same, inner, 0)
    ends = [_end_slope(w, s) for w, s in ((widths, secants), (widths[::-1], secants[::-1]))]
    return np.concatenate([[ends[0]], inner, [ends[1]]])


def _end_slope(widths: Floats, secants: Floats) -> float:
    """By the three points at an end, but never beyond what keeps monotony."""
    slope = ((2 * widths[0] + widths[1]) * secants[0] - widths[0] * secants[1]) / widths[:2].sum()
    if slope * secants[0] <= 0:
        return 0.0
    if secants[0] * secants[1] < 0 and abs(slope) > 3 * abs(secants[0]):
        return float(3 * secants[0])
    return float(slope)
