"""Rate-distortion curves, drawn."""

import io
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sar_codec.evaluation.bd_rate import saving_at
from sar_codec.evaluation.rows import Row
from sar_codec.evaluation.summary import curves_of
from sar_codec.evaluation.usage import averaged_by_kind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Told apart by the colour-blind too (Okabe and Ito), on white.
_COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
_MARKS = "osD^v<>P"
_RATES = np.geomspace(0.05, 3, 40)
_COLUMNS = 4
_INCHES = 3.4, 3.0  # of a panel
_AXES = {
    "rmse_db": "RMSE (dB)",
    "ssim": "SSIM",
    "bias_db": "bias of mean power (dB)",
    "max_error_db": "maximum error (dB)",
}
FIELDS = tuple(_AXES)
"""What can be drawn over the rate."""


def pngs(rows: Sequence[Row], anchor: str) -> dict[str, bytes]:
    """PNGs by their names, of codecs whose settings are qualities.

    "savings" is there if the anchor is one of these; then the error with a panel a kind of scene,
    and each of `FIELDS` with a panel a band.
    """
    curves = [row for row in rows if row.mode == "rate"]
    if not curves:
        return {}
    found = {"rmse_db_by_kind": png(lambda: picture(averaged_by_kind(curves), "rmse_db"))}
    found |= {field: png(partial(picture, curves, field)) for field in FIELDS}
    if any(row.codec == anchor for row in curves):
        return {"savings": png(lambda: savings(curves, anchor))} | found
    return found


def png(drawn: "Callable[[], Figure]") -> bytes:
    """What is drawn as a PNG, the same whatever the user's own matplotlibrc says."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content = io.BytesIO()
    with matplotlib.rc_context(dict(matplotlib.rcParamsDefault)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # drawn as boxes
        FigureCanvasAgg(drawn()).print_figure(content, format="png", bbox_inches="tight")
    return content.getvalue()


def savings(rows: Sequence[Row], anchor: str) -> "Figure":
    """A line a codec: its rate beside that of another one at the same RMSE, the mean of bands.

    Over the rate of that other one, where two thirds of the bands have both.
    """
    from matplotlib.figure import Figure

    curves = curves_of(rows)
    figure = Figure((7.0, 4.2), 110, layout="constrained")
    panel = figure.subplots()
    for place, (codec, of_codec) in enumerate(curves.items()):
        changes = np.array(
            [
                [saving_at(curves[anchor][image], curve, rate) for rate in _RATES]
                for image, curve in of_codec.items()
            ]
        )
        enough = np.isfinite(changes).mean(0) >= 2 / 3
        means = [100 * np.nanmean(each) for each in changes.T[enough]]
        panel.plot(_RATES[enough], means, label=codec, **_line(place))
    panel.set_xscale("log")
    ticks = [each for each in (0.05, 0.1, 0.25, 0.5, 1, 2, 3)]
    panel.set_xticks(ticks, [f"{each:g}" for each in ticks])
    panel.minorticks_off()
    panel.set_xlabel(f"bits a pixel that {anchor} takes", fontsize=9)
    panel.set_ylabel(f"rate beside that of {anchor}, same RMSE (%)", fontsize=9)
    _clear(panel)
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    return figure


def picture(rows: Sequence[Row], field: str) -> "Figure":
    """A panel a band, a line a codec: one of `FIELDS` over bits a pixel, the same axes in all."""
    from matplotlib.figure import Figure

    images = list(dict.fromkeys((row.scene, row.band) for row in rows))
    codecs = list(dict.fromkeys(row.codec for row in rows))
    columns = min(_COLUMNS, len(images))
    lines = -(-len(images) // columns)
    figure = Figure((columns * _INCHES[0], lines * _INCHES[1] + 0.4), 110, layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for panel in panels[len(images) :]:
        panel.remove()
    for panel, (scene, band) in zip(panels, images, strict=False):
        for place, codec in enumerate(codecs):
            mine = [row for row in rows if (row.scene, row.band, row.codec) == (scene, band, codec)]
            mine.sort(key=lambda row: row.bits_per_pixel)
            panel.plot(
                [row.bits_per_pixel for row in mine],
                [getattr(row, field) for row in mine],
                marker=_MARKS[place % len(_MARKS)],
                markersize=3.5,
                label=codec,
                **_line(place),
            )
        panel.set_xscale("log")
        panel.set_title(f"{scene.rpartition('/')[2]} {band}", fontsize=9)
        _clear(panel)
    if field in ("rmse_db", "max_error_db"):
        panels[0].set_yscale("log")
    figure.supxlabel("bits a pixel", fontsize=9)
    figure.supylabel(_AXES[field], fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return figure


def _line(place: int) -> dict[str, Any]:
    """How the codec that stands there is drawn; the first one over all others."""
    return {
        "color": _COLOURS[place % len(_COLOURS)],
        "linewidth": 1.8 if place == 0 else 1.1,
        "zorder": 3 if place == 0 else 2,
    }


def _clear(panel: Any) -> None:
    panel.grid(color="0.9", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
