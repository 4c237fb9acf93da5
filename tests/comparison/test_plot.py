import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from PIL import Image

from sar_codec.comparison.plot import DOTS_PER_INCH, FEW, NAMED, draw, picture
from sar_codec.comparison.runs import Epoch, Run
from sar_codec.errors import UserError


def run_of(losses: Iterable[float | None], name: str = "x=1", status: str = "finished") -> Run:
    history = tuple(Epoch(i, loss, None, None, 1.0) for i, loss in enumerate(losses, 1))
    return Run(Path("/s") / name, (name,), status, None, history)


def falling(count: int) -> list[Run]:
    """So many runs, the last one the best."""
    return [
        run_of([0.01 + 0.3 * math.exp(-e / (9 + count - i)) for e in range(40)], f"lr={i}")
        for i in range(count)
    ]


def legend_of(figure: Figure) -> Legend:
    legend = figure.axes[0].get_legend()
    assert legend is not None
    return legend


def texts_of(figure: Figure) -> list[str]:
    return [each.get_text() for each in legend_of(figure).get_texts()]


def marks(figure: Figure, marker: str) -> list[tuple[float, float]]:
    return [
        (float(np.asarray(each.get_xdata())[0]), float(np.asarray(each.get_ydata())[0]))
        for each in figure.axes[0].get_lines()
        if each.get_marker() == marker
    ]


def curves(figure: Figure) -> list[np.ndarray]:
    lines = figure.axes[0].get_lines()
    return [np.asarray(each.get_ydata()) for each in lines if each.get_marker() == "."]


@pytest.mark.parametrize("count", [1, 6, FEW, FEW + 1, 30])
def test_every_run_has_a_line_a_name_and_a_best_epoch(count: int) -> None:
    figure = picture(falling(count))
    assert len(curves(figure)) == len(marks(figure, "o")) == count
    assert len(texts_of(figure)) == count + 1
    shown = legend_of(figure).get_lines()
    assert len({(str(each.get_color()), each.get_linestyle()) for each in shown[:count]}) == count
    # What looks like a best epoch in the legend is one.
    assert [each.get_marker() for each in shown] == [""] * count + ["o"]


@pytest.mark.parametrize("count", [1, 30, 70])
def test_a_picture_is_a_png_with_all_that_is_in_it(count: int, tmp_path: Path) -> None:
    draw(falling(count), tmp_path / "new" / "a.png")
    assert os.listdir(tmp_path / "new") == ["a.png"]
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert image.format == "PNG"
        assert 1 < image.width / image.height < 2.6
        assert 7 * DOTS_PER_INCH < image.width < 14 * DOTS_PER_INCH
        grey = np.asarray(image.convert("L"))
    border = np.concatenate([grey[:8].ravel(), grey[-8:].ravel(), *grey[:, :8], *grey[:, -8:]])
    assert border.min() == 255  # nothing is cut off


def test_few_runs_are_named_in_their_order_and_many_by_rank() -> None:
    assert texts_of(picture(falling(3))) == ["lr=0", "lr=1", "lr=2", "best epoch"]
    runs = [*falling(FEW), run_of([None], "lr=none"), run_of([], "lr=no", "killed")]
    named = texts_of(picture(runs))
    best_first = sorted(runs[:FEW], key=lambda run: run.best_loss or 0.0)
    assert named[:FEW] == [run.overrides[0] for run in best_first]
    assert named[FEW:] == ["lr=none (no loss)", "lr=no (killed, no loss)", "best epoch"]


def test_more_than_can_be_named_are_counted() -> None:
    named = texts_of(picture(falling(NAMED + 7)))
    assert named[NAMED:] == ["... and 7 more", "best epoch"]


def test_losses_that_are_not_finite_are_gaps_and_lonely_points_are_seen() -> None:
    nan = math.nan
    run = run_of([3.0, None, 2.0, math.inf, -math.inf, 1.5, 1.6, 1e300])
    figure = picture([run])
    np.testing.assert_array_equal(curves(figure)[0], [3, nan, 2, nan, nan, 1.5, 1.6, nan])
    assert figure.axes[0].get_lines()[0].get_markevery() == [0, 2]
    assert marks(figure, "o") == [(6, 1.5)]
    assert marks(picture([run_of([1e308, 1e300])]), "o") == []


@pytest.mark.parametrize("status", ["failed", "killed", "stopped"])
def test_a_run_that_did_not_finish_is_marked_where_it_ended(status: str) -> None:
    figure = picture([run_of([2.0, 1.0, 5.0, None], status=status), run_of([1.0], "b", "running")])
    assert marks(figure, "x") == [(3, 5)]
    assert texts_of(figure) == [f"x=1 ({status})", "b", "best epoch", "where it ended"]


@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        ([0.5, 0.2], "linear"),
        ([0.5, 0.01], "log"),
        ([1e5, 1e-5], "log"),
        ([5.0, -1.0], "linear"),
        ([5.0, 0.0], "linear"),
        ([None, math.inf], "linear"),
    ],
)
def test_a_wide_range_is_drawn_by_its_logarithm(losses: list[float | None], scale: str) -> None:
    (axes,) = picture([run_of(losses)]).axes
    assert axes.get_yscale() == scale


def test_a_logarithmic_axis_has_several_numbers() -> None:
    figure = picture([run_of([0.31, 0.0123])])
    figure.draw_without_rendering()
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    shown = [
        label.get_text()
        for tick, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
        if low <= tick <= high
    ]
    assert shown == ["0.02", "0.05", "0.1", "0.2"]


@pytest.mark.parametrize(
    "losses",
    [
        [],
        [None, math.inf],
        [1.0],
        [0.0, 0.0],
        [5e-324, 1e-320],
        [9e99, -9e99],
        [1e308, 1e-308, 9e99],
        [-1e308, 1.7e308],
        [1.0, 1.0 + 1e-15],
    ],
    ids=str,
)
def test_any_losses_can_be_drawn(losses: Sequence[float | None], tmp_path: Path) -> None:
    draw([run_of(losses, status="failed")], tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_any_names_can_be_drawn(tmp_path: Path) -> None:
    names = ["$x_{$", "$a$", "_hidden", "試験=é", " ", "a\nb", "caf\udce9", "y" * 500, "%s {0}"]
    runs = [run_of([1.0, 0.5], name) for name in names]
    draw(runs, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.width < 14 * DOTS_PER_INCH
    shown = texts_of(picture(runs))
    assert shown[:3] == names[:3]
    assert not any(each.get_parse_math() for each in legend_of(picture(runs)).get_texts())


def test_no_runs_are_a_picture_that_says_so(tmp_path: Path) -> None:
    draw([], tmp_path / "a.png")
    assert [each.get_text() for each in picture([]).axes[0].texts] == ["no validation loss yet"]


def test_a_picture_is_the_same_again_whatever_the_users_style(tmp_path: Path) -> None:
    draw(falling(3), tmp_path / "a.png")
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30, "text.usetex": True}):
        draw(falling(3), tmp_path / "b.png")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"a\.png: cannot be written"):
        draw(falling(1), tmp_path / "file" / "a.png")
