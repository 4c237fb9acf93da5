"""Validation loss over epochs, of several runs in one picture."""

import io
import math
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sar_codec.comparison.runs import UNKNOWN, Run
from sar_codec.comparison.table import labels, printable
from sar_codec.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Told apart by the colour-blind too (Okabe and Ito), on white; dashed, once they are used up.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FEW = 12  # runs that can be told apart by colour; more are coloured by rank
NAMED = 60  # at most so many in the legend
A_COLUMN = 30
LOG_FROM = 5.0  # ratio of the largest loss to the smallest
LARGEST = 1e100  # matplotlib multiplies and adds what it draws
INCHES_OF_FEW, INCHES_OF_MANY = (7.2, 4.4), (9.6, 6.5)  # the legend comes beside that
DOTS_PER_INCH = 160

_GREY = "0.45"
_UNDERWAY = {"finished", "running", UNKNOWN}  # other ends are marked
_BEST: dict[str, Any] = {
    "marker": "o",
    "markersize": 5,
    "markeredgecolor": "white",
    "markeredgewidth": 0.7,
}
_END: dict[str, Any] = {"marker": "x", "markersize": 6, "markeredgewidth": 1.6}


def draw(runs: Sequence[Run], path: Path) -> None:
    """Writes the `picture` of runs into a PNG, which appears whole.

    Raises:
        UserError: it cannot be written.
    """
    # Here and below, not at the top: to import it takes longer than to make a table.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    png = io.BytesIO()
    # The same picture whatever the user's own matplotlibrc says.
    with matplotlib.rc_context(dict(matplotlib.rcParamsDefault)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # drawn as boxes
        canvas = FigureCanvasAgg(picture(runs))
        canvas.print_figure(png, format="png", bbox_inches="tight", pad_inches=0.15)
    write_whole(path, [png.getvalue()])


def picture(runs: Sequence[Run]) -> "Figure":
    """A line a run, its best epoch marked, and where it ended if that was before its time.

    More than FEW runs are coloured, and named, by rank. Losses that are not finite are gaps.
    """
    from matplotlib.figure import Figure

    figure = Figure(INCHES_OF_FEW if len(runs) <= FEW else INCHES_OF_MANY, DOTS_PER_INCH)
    axes = figure.add_subplot()
    named = list(zip(runs, labels(runs), strict=True))
    ranked = sorted(named, key=lambda each: _rank(each[0]))
    lines, names = [], []
    for place, (run, label) in enumerate(named if len(runs) <= FEW else ranked):
        above = 2 + 1 / (1 + ranked.index((run, label)))  # the best on top
        lines.append(_line(axes, run, place, len(runs), above))
        names.append(_name(run, label))
    _scale(axes, [loss for run in runs for loss in _losses(run)])
    _legend(axes, lines, names)
    return figure


def _rank(run: Run) -> tuple[bool, float | None]:
    return run.best is None, run.best_loss


def _losses(run: Run) -> list[float]:
    """What can be drawn of it: NaN for losses that are not finite, or as good as infinite."""
    known = [math.nan if each.loss is None else each.loss for each in run.history]
    return [each if abs(each) < LARGEST else math.nan for each in known]


def _name(run: Run, label: str) -> str:
    remarks = [] if run.status in _UNDERWAY else [printable(run.status)]
    if all(map(math.isnan, _losses(run))):
        remarks.append("no loss")
    return f"{label} ({', '.join(remarks)})" if remarks else label


def _line(axes: "Axes", run: Run, place: int, count: int, above: float) -> "Line2D":
    """Draws a run; gives its line, for the legend."""
    epochs, losses = [each.number for each in run.history], _losses(run)
    seen = [index for index, loss in enumerate(losses) if not math.isnan(loss)]
    (line,) = axes.plot(epochs, losses, **_look(place, count), zorder=above)
    # A line has no ink for a point without neighbours.
    neighbours = {index + step for index in seen for step in (-1, 1)}
    line.set_marker(".")
    line.set_markevery([index for index in seen if index not in neighbours])
    mark: dict[str, Any] = {"color": line.get_color(), "zorder": above + 1}
    if run.best is not None and run.best_loss in losses:
        axes.plot(run.best.number, run.best_loss, **_BEST, **mark)
    if seen and run.status not in _UNDERWAY:
        axes.plot(epochs[seen[-1]], losses[seen[-1]], **_END, **mark)
    return line


def _look(place: int, count: int) -> dict[str, Any]:
    """How to draw one of so many lines."""
    from matplotlib import colormaps

    if count > FEW:
        colour = colormaps["viridis"](0.93 * place / (count - 1))  # the last is too pale
        return {"color": colour, "linewidth": 1.0 if place else 2.0}
    style = "-" if place < len(COLOURS) else "--"
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": style, "linewidth": 1.6}


def _scale(axes: "Axes", losses: Sequence[float]) -> None:
    """Chooses the axes' scales and says what they are."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    axes.set_xlabel("epoch")
    axes.set_ylabel("validation loss")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    finite = [each for each in losses if not math.isnan(each)]
    if not finite:
        axes.set(xticks=[], yticks=[])
        axes.text(
            *(0.5, 0.5, "no validation loss yet"),
            transform=axes.transAxes,
            ha="center",
            color=_GREY,
        )
    elif min(finite) > 0 and max(finite) > LOG_FROM * min(finite):
        axes.set_yscale("log")
        if max(finite) < 1e3 * min(finite):  # powers of ten alone would be too few
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())


def _legend(axes: "Axes", lines: Sequence["Line2D"], names: Sequence[str]) -> None:
    """Names the lines, beside the axes, where they hide nothing."""
    from matplotlib.lines import Line2D

    handles = []
    for line in lines[:NAMED]:
        handles.append(Line2D([], []))
        handles[-1].update_from(line)
        handles[-1].set_marker("")
    texts = [textwrap.fill(name, 60) for name in names[:NAMED]]
    if len(names) > NAMED:
        handles.append(Line2D([], [], linestyle=""))
        texts.append(f"... and {len(names) - NAMED} more")
    drawn = {str(each.get_marker()) for each in axes.get_lines()}
    for mark, meaning in ((_BEST, "best epoch"), (_END, "where it ended")):
        if mark["marker"] in drawn:
            handles.append(Line2D([], [], linestyle="", color=_GREY, **mark))
            texts.append(meaning)
    legend = axes.legend(
        *(handles, texts),
        title="best first" if len(names) > FEW else None,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        ncols=math.ceil(len(handles) / (A_COLUMN + 3)),
        fontsize=9 if len(names) <= FEW else 8,
        title_fontsize=9,
        alignment="left",
        frameon=False,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a $ in a folder's name is a $
