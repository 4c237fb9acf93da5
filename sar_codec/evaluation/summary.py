"""What rows come to: a figure a codec, with how sure it is, and a table for people."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from sar_codec.evaluation.bd_rate import Curve, bd_rate, interval, saving_at
from sar_codec.evaluation.rows import Row

RATES = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Bits a pixel at which codecs are compared one by one."""
FAITHFUL_FROM = 0.5  # bits a pixel; below, radiometry is looked at, but not promised


@dataclass(frozen=True)
class CodecSummary:
    """A codec beside the one that all are compared with.

    Attributes:
        codec: its name.
        bd_rate: mean over bands of its rate over the other's, minus 1, at the same RMSE in dB.
        bd_interval: 95 % of it, by a bootstrap over places.
        bd_rate_of_all: as `bd_rate`, over no more than the qualities that all codecs reach: among
            codecs, only this compares like with like.
        images: bands that the two have qualities in common of.
        savings: the same at rates of the other, see `RATES`; None where a curve does not reach.
        bias_db: the mean over blocks that is furthest from 0, of any band and setting at
            `FAITHFUL_FROM` and above.
        largest_block_bias_db: of any block there.
        encoding_speed: Mpx/s, median.
        decoding_speed: likewise.
    """

    codec: str
    bd_rate: float | None
    bd_interval: tuple[float, float] | None
    bd_rate_of_all: float | None
    images: int
    savings: tuple[float | None, ...]
    bias_db: float | None
    largest_block_bias_db: float | None
    encoding_speed: float
    decoding_speed: float


def summarise(rows: Sequence[Row], anchor: str, seed: int) -> list[CodecSummary]:
    """A summary of each codec whose settings are qualities, in order of the rows.

    Args:
        rows: of several codecs, of any modes.
        anchor: the codec that all are compared with; if it is of another mode, none is.
        seed: of the bootstrap.
    """
    rows = [row for row in rows if row.mode == "rate"]
    curves = curves_of(rows)
    return [
        _summary(codec, curves, [row for row in rows if row.codec == codec], anchor, seed)
        for codec in dict.fromkeys(row.codec for row in rows)
    ]


def curves_of(rows: Sequence[Row]) -> dict[str, dict[tuple[str, str, str], Curve]]:
    """Of each codec and each band (place, scene, band) the rate over PSNR in dB."""
    points: dict[str, dict[tuple[str, str, str], list[tuple[float, float]]]]
    points = defaultdict(lambda: defaultdict(list))
    for row in rows:
        image = row.place, row.scene, row.band
        points[row.codec][image].append((row.bits_per_pixel, row.psnr_db))
    return {
        codec: {image: Curve.of(each) for image, each in images.items()}
        for codec, images in points.items()
    }


def _summary(
    codec: str,
    curves: dict[str, dict[tuple[str, str, str], Curve]],
    rows: Sequence[Row],
    anchor: str,
    seed: int,
) -> CodecSummary:
    def compared(
        measure: Callable[[Curve, Curve, list[Curve]], float],
    ) -> dict[str, list[float]]:
        """By place, of the bands that have a number."""
        found = defaultdict(list)
        for image, curve in curves[codec].items():
            every = [each[image] for each in curves.values()]
            if anchor in curves:
                value = measure(curves[anchor][image], curve, every)
                if not math.isnan(value):
                    found[image[0]].append(value)
        return found

    rates = compared(lambda a, b, _: bd_rate(a, b))
    savings = [compared(lambda a, b, _, at=rate: saving_at(a, b, at)) for rate in RATES]  # type: ignore[misc]  # mypy and defaults of lambdas
    faithful = [row for row in rows if row.bits_per_pixel >= FAITHFUL_FROM]
    return CodecSummary(
        codec,
        _mean(rates),
        interval(rates, seed) if rates else None,
        _mean(compared(bd_rate)),
        sum(map(len, rates.values())),
        tuple(map(_mean, savings)),
        max((row.block_bias_db for row in faithful), key=abs, default=None),
        max((row.largest_block_bias_db for row in faithful), default=None),
        speed(rows, "encoding_seconds"),
        speed(rows, "decoding_seconds"),
    )


def _mean(values: dict[str, list[float]]) -> float | None:
    return fmean(each for one in values.values() for each in one) if values else None


def speed(rows: Sequence[Row], field: str) -> float:
    """Mpx/s, the median; by the seconds that a field has."""
    return median(row.pixels / 1e6 / max(getattr(row, field), 1e-9) for row in rows)


def cells(summaries: Sequence[CodecSummary], anchor: str, images: int) -> list[list[str]]:
    """The table's lines, the first its head.

    Args:
        summaries: of codecs.
        anchor: the codec that all are compared with.
        images: bands that there are.
    """
    compared = ["where all reach", *(f"at {rate:g} bpp" for rate in RATES)]
    compared.insert(0, f"BD-rate against {anchor} (95 %)")
    are_compared = any(each.bd_rate is not None for each in summaries)
    head = ["codec", *(compared if are_compared else []), "block bias", "largest"]
    lines = [[*head, "encode / decode"]]
    for each in summaries:
        bd = percent(each.bd_rate)
        if each.bd_interval and each.codec != anchor:
            bd += f" ({percent(each.bd_interval[0])} to {percent(each.bd_interval[1])})"
        if each.images < images:
            bd += f", {each.images} of {images} bands"
        figures = [bd, percent(each.bd_rate_of_all), *map(percent, each.savings)]
        lines.append(
            [
                each.codec,
                *(figures if are_compared else []),
                decibels(each.bias_db, "+.2f"),
                decibels(each.largest_block_bias_db, ".2f"),
                f"{each.encoding_speed:.3g} / {each.decoding_speed:.3g} Mpx/s",
            ]
        )
    return lines


def percent(value: float | None) -> str:
    """A share, as a change; nothing for None."""
    # Adding 0 takes the sign off a zero.
    return "" if value is None else f"{round(100 * value, 1) + 0.0:+.1f} %"


def decibels(value: float | None, form: str) -> str:
    """A value in a form that `format` knows; nothing for None."""
    return "" if value is None else f"{value:{form}} dB"
