"""What users measure, at one rate: medians of rows near it."""

from collections.abc import Sequence

import pytest
from offsetting import Offsetting

from sar_codec.evaluation.measuring import measured
from sar_codec.evaluation.rows import Row
from sar_codec.evaluation.scenes import Scene
from sar_codec.evaluation.usage import averaged_by_kind, usage, usage_cells


@pytest.fixture
def rows(scene: Scene) -> list[Row]:
    other = Scene("elsewhere", "VV", "elsewhere", scene.decibels, -30, 0)
    third = Scene("far", "VV", "far", scene.decibels, -30, 0)
    return list(measured([scene, other, third], [Offsetting("a", 2), Offsetting("b", 1, (8,))]))


def test_rows_nearest_to_the_rate_are_taken(rows: Sequence[Row]) -> None:
    rate = rows[0].bits_per_pixel * 16  # of the setting 32
    found = usage(rows, rate)
    assert list(found) == ["a"]  # the other never takes as much
    assert found["a"]["bits_per_pixel"] == pytest.approx(rate)


def test_figures_are_medians_and_the_largest_loss_is_the_largest(rows: Sequence[Row]) -> None:
    scenes = {"somewhere": 1.0, "elsewhere": 2.0, "far": 9.0}
    lost = [
        row._replace(
            bits_per_pixel=0.5,
            peak_loss_db=scenes[row.scene],
            largest_peak_loss_db=scenes[row.scene],
            water_iou=float("nan") if row.scene != "far" else 0.75,
        )
        for row in rows
        if row.codec == "b"
    ]
    figures = usage(lost)["b"]
    assert figures["peak_loss_db"] == 2
    assert figures["largest_peak_loss_db"] == 9
    assert figures["water_iou"] == 0.75  # of the band that has one
    assert figures["band_ratio_bias_db"] is None


def test_columns_without_any_figure_are_left_out(rows: Sequence[Row]) -> None:
    head, *lines = usage_cells(usage([row._replace(bits_per_pixel=0.5) for row in rows]))
    assert [line[0] for line in lines] == ["a", "b"]
    assert "looks" in head
    assert "co-/cross-polarised: bias" not in head
    assert {len(line) for line in lines} == {len(head)}


def test_bounded_codecs_are_not_of_that_table(rows: Sequence[Row]) -> None:
    assert usage([row._replace(mode="bounded", bits_per_pixel=0.5) for row in rows]) == {}


def test_bands_of_a_kind_are_averaged_setting_by_setting(rows: Sequence[Row]) -> None:
    kinds = [row._replace(kind="even" if row.scene == "far" else "varied") for row in rows]
    kinds = [row._replace(rmse_db=3.0) if row.scene == "elsewhere" else row for row in kinds]
    found = averaged_by_kind(kinds)
    assert [(row.scene, row.band) for row in found if row.codec == "b"] == [
        ("even", "(1 bands)"),
        ("varied", "(2 bands)"),
    ]
    assert [row.rmse_db for row in found if row.codec == "b"] == pytest.approx([1, 2], abs=1e-4)
    assert len(found) == 2 * 5
