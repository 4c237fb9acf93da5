"""Rate-distortion curves, drawn."""

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sar_codec.evaluation.rows import Row
from sar_codec.evaluation.usage import averaged_by_kind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Told apart by the colour-blind too (Okabe and Ito), on white.
_COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
_MARKS = "osD^v<>P"
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


def pngs(rows: Sequence[Row]) -> dict[str, bytes]:
    """PNGs by their names, of codecs whose settings are qualities.

    Each of `FIELDS` with a panel a band, and the error with a panel a kind of scene.
    """
    curves = [row for row in rows if row.mode == "rate"]
    if not curves:
        return {}
    by_kind = png(averaged_by_kind(curves), "rmse_db")
    return {"rmse_db_by_kind": by_kind} | {field: png(curves, field) for field in FIELDS}


def png(rows: Sequence[Row], field: str) -> bytes:
    """The `picture` as a PNG, the same whatever the user's own matplotlibrc says."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content = io.BytesIO()
    with matplotlib.rc_context(dict(matplotlib.rcParamsDefault)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # drawn as boxes
        FigureCanvasAgg(picture(rows, field)).print_figure(
            content, format="png", bbox_inches="tight"
        )
    return content.getvalue()


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
                color=_COLOURS[place % len(_COLOURS)],
                marker=_MARKS[place % len(_MARKS)],
                markersize=3.5,
                linewidth=1.8 if place == 0 else 1.1,
                label=codec,
                zorder=3 if place == 0 else 2,
            )
        panel.set_xscale("log")
        panel.set_title(f"{scene.rpartition('/')[2]} {band}", fontsize=9)
        panel.grid(color="0.9", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    if field in ("rmse_db", "max_error_db"):
        panels[0].set_yscale("log")
    figure.supxlabel("bits a pixel", fontsize=9)
    figure.supylabel(_AXES[field], fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return figure
