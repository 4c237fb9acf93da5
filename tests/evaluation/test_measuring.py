"""Rows and what they come to, of codecs whose rate and error are known."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from offsetting import Offsetting

from sar_codec.errors import UserError
from sar_codec.evaluation import plots
from sar_codec.evaluation.measuring import measured
from sar_codec.evaluation.rows import Row, write_rows
from sar_codec.evaluation.scenes import Scene
from sar_codec.evaluation.summary import cells, curves_of, summarise


class Forgetful(Offsetting):
    def decode(self, data: bytes, scene: Scene) -> NDArray[np.float32]:
        return np.full_like(scene.decibels, np.nan)


@pytest.fixture
def rows(scene: Scene) -> list[Row]:
    codecs = [Offsetting("a", 2), Offsetting("b", 1, (8, 16, 32)), Offsetting("c", 1, (200, 250))]
    return list(measured([scene], codecs))


def test_codecs_take_turns_at_their_settings(rows: Sequence[Row]) -> None:
    assert "".join(row.codec for row in rows) == "abcabcaba"
    assert [row.setting for row in rows if row.codec == "b"] == [8, 16, 32]


def test_a_row_says_what_was_measured(rows: Sequence[Row], scene: Scene) -> None:
    row = rows[0]
    assert (row.size, row.pixels) == (128, scene.pixels)
    assert row.bits_per_pixel == 8 * 128 / scene.pixels
    assert row.rmse_db == pytest.approx(1)
    assert row.bias_db == pytest.approx(1, abs=1e-5)
    assert row.looks_after == pytest.approx(row.looks_before, rel=1e-4)
    assert row.encoding_seconds > 0


def test_missing_pixels_are_noticed(scene: Scene) -> None:
    with pytest.raises(UserError, match="valid pixels are missing"):
        list(measured([scene], [Forgetful("x", 1)]))


def test_lines_of_the_file_are_rows(rows: Sequence[Row], tmp_path: Path) -> None:
    write_rows(rows, tmp_path / "metrics.csv")
    with (tmp_path / "metrics.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == list(Row._fields)
    assert [line["codec"] for line in lines] == [row.codec for row in rows]
    assert float(lines[3]["rmse_db"]) == pytest.approx(rows[3].rmse_db, rel=1e-5)


def test_half_of_the_rate_is_minus_a_half(rows: Sequence[Row]) -> None:
    by_name = {each.codec: each for each in summarise(rows, "a", seed=0)}
    assert list(by_name) == ["a", "b", "c"]
    assert by_name["b"].bd_rate == pytest.approx(-0.5, abs=0.01)
    low, high = by_name["b"].bd_interval or (0, 0)
    assert low <= by_name["b"].bd_rate <= high
    assert by_name["a"].bd_rate == pytest.approx(0)
    assert by_name["c"].bd_rate is None  # no quality in common
    assert by_name["c"].images == 0
    assert by_name["b"].bd_rate_of_all is None  # nor all three


def test_codecs_are_compared_where_all_of_them_reach(rows: Sequence[Row]) -> None:
    two = [row for row in rows if row.codec != "c"]
    by_name = {each.codec: each for each in summarise(two, "a", seed=0)}
    assert by_name["b"].bd_rate_of_all == by_name["b"].bd_rate


def test_biases_are_of_half_a_bit_and_more(rows: Sequence[Row], scene: Scene) -> None:
    (found,) = [each for each in summarise(rows, "a", seed=0) if each.codec == "a"]
    # 64 ** 2 * 2 bytes on these pixels are more than half a bit, and 8 / 64 dB off.
    assert found.bias_db == pytest.approx(8 / 64, abs=1e-3)
    assert found.largest_block_bias_db == pytest.approx(8 / 64, abs=1e-3)


def test_the_table_has_a_line_a_codec(rows: Sequence[Row]) -> None:
    lines = cells(summarise(rows, "a", seed=0), "a", 1)
    assert len(lines) == 1 + 3
    assert len({len(line) for line in lines}) == 1
    assert lines[1][1] == "+0.0 %"
    assert lines[2][1].startswith(("-50.", "-49."))
    assert lines[3][1].endswith("0 of 1 bands")


def test_without_the_anchor_nothing_is_compared(rows: Sequence[Row]) -> None:
    (found, *_) = summarise(rows, "of another mode", seed=0)
    assert found.bd_rate is None
    assert found.bias_db is not None
    lines = cells([found], "of another mode", 1)
    assert lines[0] == ["codec", "block bias", "largest", "encode / decode"]
    assert len(lines[1]) == 4


def test_two_bands_of_a_scene_have_a_ratio(scene: Scene) -> None:
    cross = Scene(scene.name, "VH", scene.place, scene.decibels - 7, -40, 0)
    elsewhere = Scene("elsewhere", "VV", scene.place, scene.decibels, -40, 0)
    twice = [Scene("twice", "VV", scene.place, scene.decibels, -40, 0) for _ in range(2)]

    class Uneven(Offsetting):
        def decode(self, data: bytes, scene: Scene) -> NDArray[np.float32]:
            return scene.decibels + np.float32(0.3 if scene.band == "VV" else -0.2)

    rows = list(measured([cross, scene, elsewhere, *twice], [Uneven("a", 1, (8,))]))
    assert [(row.scene, row.band) for row in rows[:3]] == [
        ("somewhere", "VH"),
        ("somewhere", "VV"),
        ("elsewhere", "VV"),
    ]
    assert [row.band_ratio_bias_db for row in rows[:2]] == pytest.approx([0.5, 0.5], abs=1e-4)
    assert np.isnan([row.band_ratio_bias_db for row in rows[2:]]).all()
    assert {row.kind for row in rows} == {"strongly varied"}


def test_curves_are_of_bands(rows: Sequence[Row]) -> None:
    assert list(curves_of(rows)["a"]) == [("there", "somewhere", "VV")]


@pytest.mark.parametrize("field", plots.FIELDS)
def test_a_picture_has_a_panel_a_band_and_a_line_a_codec(rows: Sequence[Row], field: str) -> None:
    more = [row._replace(band=band) for band in ("VV", "VH") for row in rows]
    figure = plots.picture(more, field)
    assert len(figure.axes) == 2
    assert all(len(axes.get_lines()) == 3 for axes in figure.axes)


def test_savings_are_drawn_over_the_rate_of_the_anchor(rows: Sequence[Row]) -> None:
    # 64 bits for 64 ** 2 pixels at a setting of 64, and so on: some of the rates are reached.
    (panel,) = plots.savings(rows, "a").axes
    by_name = {line.get_label(): line for line in panel.get_lines()}
    assert np.asarray(by_name["a"].get_ydata()) == pytest.approx(0, abs=1e-6)
    assert np.asarray(by_name["b"].get_ydata()) == pytest.approx(-50, abs=1)
    assert len(by_name["b"].get_ydata()) > 3
    assert len(by_name["c"].get_ydata()) == 0


def test_pictures_are_drawn(rows: Sequence[Row]) -> None:
    found = plots.pngs(rows, "a")
    assert list(found) == ["savings", "rmse_db_by_kind", *plots.FIELDS]
    assert all(each.startswith(b"\x89PNG") for each in found.values())
    assert list(plots.pngs(rows, "of another mode")) == ["rmse_db_by_kind", *plots.FIELDS]
    assert plots.pngs([], "a") == {}
