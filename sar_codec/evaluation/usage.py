"""What codecs do to what users measure, where they take about the same."""

import math
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any, NamedTuple

from sar_codec.evaluation.classes import KINDS
from sar_codec.evaluation.rows import Row

RATE = 0.5  # bits a pixel


class _Figure(NamedTuple):
    """A column: a field of the rows, what it is over bands, how it is written and what for."""

    field: str
    title: str
    form: str
    is_worst: bool = False


_FIGURES = (
    _Figure("bits_per_pixel", "bits a pixel", ".3f"),
    _Figure("looks_after", "looks", ".3g"),
    _Figure("looks_before", "of", ".3g"),
    _Figure("correlation_after", "lag-1 correlation", ".2f"),
    _Figure("correlation_before", "of", ".2f"),
    _Figure("mean_ratio", "ratio image: mean", ".3f"),
    _Figure("ratio_structure", "its structure", ".3f"),
    _Figure("peak_loss_db", "peaks of targets: loss", "+.2f"),
    _Figure("largest_peak_loss_db", "largest, dB", "+.2f", is_worst=True),
    _Figure("peak_offset_pixels", "moved by, pixels", ".2f"),
    _Figure("band_ratio_bias_db", "co-/cross-polarised: bias", "+.3f"),
    _Figure("band_ratio_rmse_db", "RMSE, dB", ".3f"),
    _Figure("water_iou", "water IoU", ".3f"),
)

Figures = dict[str, float | None]


def usage(rows: Sequence[Row], rate: float = RATE) -> dict[str, Figures]:
    """Of each codec whose settings are qualities, the medians over bands of what is measured.

    Taken are the rows nearest to a rate, within a factor of e; None where no band has a figure.
    The largest loss is that of any band.

    Args:
        rows: of any codecs.
        rate: bits a pixel.
    """
    found: dict[str, Figures] = {}
    for codec in dict.fromkeys(row.codec for row in rows if row.mode == "rate"):
        near: dict[tuple[str, str, str], Row] = {}
        for row in rows:
            image = row.place, row.scene, row.band
            if row.codec == codec and _off(row, rate) < _off(near.get(image), rate):
                near[image] = row
        if near:
            found[codec] = {each.field: _over(list(near.values()), each) for each in _FIGURES}
    return found


def usage_cells(figures: dict[str, Figures]) -> list[list[str]]:
    """The lines of a table, the first its head; without columns that no codec has a figure in."""
    shown = [
        each for each in _FIGURES if any(of[each.field] is not None for of in figures.values())
    ]
    lines = [["codec", *(each.title for each in shown)]]
    for codec, of_codec in figures.items():
        values = [(of_codec[each.field], each.form) for each in shown]
        lines.append([codec, *("" if v is None else f"{v:{form}}" for v, form in values)])
    return lines


def averaged_by_kind(rows: Sequence[Row]) -> list[Row]:
    """Rows of kinds of scene, instead of bands: means of rate and RMSE, setting by setting."""
    groups: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.kind, row.codec, row.setting), []).append(row)
    found = []
    for (kind, _, _), some in sorted(groups.items(), key=lambda item: KINDS.index(item[0][0])):
        fields = ("bits_per_pixel", "rmse_db", "max_error_db", "ssim", "bias_db")
        means: dict[str, Any] = {
            field: fmean(getattr(row, field) for row in some) for field in fields
        }
        bands = len({(row.place, row.scene, row.band) for row in rows if row.kind == kind})
        found.append(some[0]._replace(scene=kind, band=f"({bands} bands)", **means))
    return found


def _off(row: Row | None, rate: float) -> float:
    """How far from a rate; a factor of e is 1, and what is further is as good as none."""
    return 1.0 if row is None else abs(math.log(row.bits_per_pixel / rate))


def _over(rows: Sequence[Row], figure: _Figure) -> float | None:
    values = [getattr(row, figure.field) for row in rows]
    values = [value for value in values if math.isfinite(value)]  # flat blocks have inf looks
    if not values:
        return None
    return max(values) if figure.is_worst else median(values)
