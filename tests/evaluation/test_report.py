"""The page: whole, alone, and honest."""

import io
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from offsetting import Offsetting
from PIL import Image

from sar_codec.evaluation import plots
from sar_codec.evaluation.crops import SIDE, crops, middle, one_of_each_place, setting_for, shown
from sar_codec.evaluation.measuring import measured
from sar_codec.evaluation.report import write_report
from sar_codec.evaluation.results import Results
from sar_codec.evaluation.rows import Row
from sar_codec.evaluation.scenes import Scene
from sar_codec.evaluation.verdict import verdict

BOUNDED = [Offsetting("within", 1, (8, 16), mode="bounded")]
CODECS = [Offsetting("a <b>", 2), Offsetting("c", 1, (4, 8, 16)), *BOUNDED]


@pytest.fixture
def rows(scene: Scene) -> list[Row]:
    return list(measured([scene], CODECS))


def results_of(rows: Sequence[Row]) -> Results:
    return Results.of(rows, "a <b>", images=1, seed=0)


class Balanced(HTMLParser):
    """Counts what is open, and keeps what is shown and referred to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_holds_all_that_it_shows(scene: Scene, rows: list[Row], tmp_path: Path) -> None:
    curves = {"rmse_db": shown(scene.filled, -30, 0)}
    left_out = ["vvc10: it is & missing"]
    path = tmp_path / "report.html"
    write_report(path, [scene], CODECS, results_of(rows), curves, left_out, ["lake"], "sar_codec 0")
    page = Balanced()
    page.feed(path.read_text())
    assert page.open == []
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    for expected in (
        "a <b>",
        "on this folder: lake",
        "vvc10: it is & missing",
        "somewhere VV",
        "more looks",
        "within: no pixel is off by more",
        "within 8 dB",
        "12.5 %",
        "-50.",
    ):
        assert expected in page.text
    assert "@media print" in path.read_text()
    assert "width=device-width" in path.read_text()


def test_the_verdict_says_who_keeps_power(rows: list[Row]) -> None:
    loud = [row._replace(codec="x", block_bias_db=0.2, bits_per_pixel=1.0) for row in rows]
    exact = [row._replace(codec="y", block_bias_db=0.0, bits_per_pixel=1.0) for row in rows]
    exact = [row._replace(largest_block_bias_db=0.0) for row in exact]
    small = [row._replace(codec="z", bits_per_pixel=0.1) for row in rows]
    every = [*loud, *exact, *small]
    every = [row for row in every if row.mode == "rate"]
    said = verdict(results_of(every))
    assert "not kept" in said[0]
    assert "are kept" in said[1]
    assert "never took" in said[2]


def test_the_verdict_tells_what_became_of_speckle_and_targets(rows: list[Row]) -> None:
    near = rows[0]._replace(bits_per_pixel=0.5, looks_before=5.0, looks_after=9.0)
    lost = near._replace(peak_loss_db=1.5, peak_offset_pixels=0.25)
    (said,) = verdict(results_of([lost]))
    assert "5 looks become 9: speckle is smoothed away, which is a loss." in said
    assert "Peaks of point targets lose 1.50 dB and move 0.25 pixels." in said
    (said,) = verdict(results_of([near._replace(looks_after=5.1, peak_loss_db=float("nan"))]))
    assert "5 looks become 5.1." in said
    assert "Peaks" not in said


def test_the_verdict_says_whether_bounds_were_kept(rows: list[Row]) -> None:
    bounded = [row for row in rows if row.mode == "bounded"]
    (said,) = verdict(results_of(bounded))
    assert "no pixel is off by more than asked for, the worst by 12.5 % of it" in said
    (said,) = verdict(results_of([row._replace(max_error_db=17.0) for row in bounded]))
    assert "some pixel is off" in said


def test_crops_are_of_the_rate_asked_for(scene: Scene, rows: list[Row]) -> None:
    found = crops(scene, CODECS, rows, 0.3)
    assert [each.codec for each in found] == ["a <b>"]  # the other never takes as much
    assert found[0].bits_per_pixel == pytest.approx(0.3, rel=0.2)
    assert setting_for(CODECS[0], scene, rows, 99.0) is None
    image = Image.open(io.BytesIO(found[0].image))
    assert image.size == (min(264, SIDE), min(200, SIDE))


def test_pictures_are_black_at_the_low_end_and_white_at_the_high_end() -> None:
    content = shown(np.array([[-30, 0, 10, 99, np.nan]], np.float32), 0, 10)
    assert np.asarray(Image.open(io.BytesIO(content))).tolist() == [[0, 0, 255, 255, 0]]


def test_the_middle_of_small_images_is_all() -> None:
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert (middle(image) == image).all()


def test_places_are_shown_once(scene: Scene) -> None:
    others = [Scene("x", band, "there too", scene.decibels, -30, 0) for band in ("VV", "VH")]
    assert one_of_each_place([scene, *others], 3) == [scene, others[0]]
    assert one_of_each_place([*others, scene], 1) == [others[0]]


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1200])
def test_a_browser_shows_it_without_scrolling_sideways(
    scene: Scene, rows: list[Row], tmp_path: Path, width: int
) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    curves = {"rmse_db": plots.png(lambda: plots.picture(rows, "rmse_db"))}
    page = tmp_path / "x.html"
    write_report(page, [scene], CODECS, results_of(rows), curves, [], [], "sar_codec 0")
    # In a frame, as the window itself is never that narrow.
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe src="x.html" width={width} height=900 onload="document.title = '
        "contentDocument.documentElement.scrollWidth + ' ' + "
        '[...contentDocument.images].filter(i => !i.naturalWidth).length"></iframe>'
    )
    browser = [chromium, "--headless", "--no-sandbox", "--disable-gpu"]
    browser += ["--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*browser, "--virtual-time-budget=5000", "--dump-dom", frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.search(r"<title>(\d+) (\d+)</title>", done.stdout)
    assert found, done.stdout[:500] + done.stderr[-500:]
    assert int(found[1]) <= width
    assert int(found[2]) == 0, "some images are not shown"
