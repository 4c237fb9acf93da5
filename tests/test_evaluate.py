import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sar_codec.evaluate import as_json, main, seen_in_training
from sar_codec.networks import BOUNDED, QUALITY

RunProgram = Callable[..., tuple[int, str]]
OWN = ["codecs=[ours,ours_least_db]", "anchor=ours_least_db"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a small image of speckle, in decibels."""
    (tmp_path / "rasters").mkdir()
    power = np.random.default_rng(0).gamma(5, 0.02, (70, 90))
    np.save(tmp_path / "rasters" / "town_VV.npy", 10 * np.log10(power))
    return tmp_path / "rasters"


def test_the_whole_command_leaves_figures_tables_and_curves(
    run_program: RunProgram, folder: Path, tmp_path: Path
) -> None:
    data = [f"data.root={folder}", "data.quantity=db"]
    code, said = run_program(main, *OWN, *data, "hydra.run.dir=run")
    assert code == 0, said
    run = tmp_path / "run"
    lines = (run / "metrics.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 8
    summary = json.loads((run / "summary.json").read_text())
    assert [each["codec"] for each in summary["codecs"]] == ["ours", "ours, least dB error"]
    assert summary["codecs"][0]["images"] == 1
    assert summary["left_out"] == summary["seen_in_training"] == []
    assert (run / "table.md").read_text() in (run / "training.log").read_text()
    assert "<html" in (run / "report.html").read_text()
    assert (run / "rmse_db.png").read_bytes().startswith(b"\x89PNG")


def test_json_has_null_for_what_it_does_not_know() -> None:
    found = json.loads(as_json({"a": [float("inf"), 1.5], "b": float("nan")}))
    assert found == {"a": [None, 1.5], "b": None}


def test_codecs_of_all_kinds_have_tables_in_one_report(
    run_program: RunProgram, folder: Path, tmp_path: Path
) -> None:
    data = [f"data.root={folder}", "data.quantity=db"]
    codecs = ["codecs=[ours_bounded,lerc_zstd,ours_lossless,deflate]", "anchor=lerc_zstd"]
    code, said = run_program(main, *codecs, *data, "hydra.run.dir=run")
    assert code == 0, said
    run = tmp_path / "run"
    summary = json.loads((run / "summary.json").read_text())
    ours, lerc = summary["bounded"]
    assert ours["change"] is not None
    assert lerc["change"] == 0
    assert all(error <= float(bound) * 1.0005 for bound, error in ours["max_error_db"].items())
    assert [each["codec"] for each in summary["lossless"]] == [
        "ours, lossless",
        "GeoTIFF, DEFLATE, lossless",
    ]
    assert summary["codecs"] == []
    table = (run / "table.md").read_text()
    assert "Within a largest error" in table
    assert "Without loss" in table
    assert "Side by side" not in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        ([*OWN, "data=synthetic"], "data=synthetic"),
        (["codecs=[jpeg]"], "codecs="),
        (["codecs=[]"], "codecs="),
        (["codecs=[ours]"], "anchor=jpeg2000"),
        (["codecs=[ours]", "anchor=ours", f"checkpoint={BOUNDED}"], "checkpoint="),
        ([*OWN, "checkpoint=nowhere.pth"], "nowhere.pth"),
        (["threads=0"], "threads="),
        ([*OWN, "data.quantity=db"], "data.root is not set"),
        (["checkpont=x"], "checkpont"),
        ([*OWN, "data.root=.", "data.quantity=watts"], "data.quantity=watts"),
    ],
)
def test_wrong_settings_are_one_line(
    run_program: RunProgram, overrides: list[str], word: str
) -> None:
    code, message = run_program(main, *overrides)
    assert code == 1
    assert message.startswith(f"error: {word}")
    assert "\n" not in message


def test_an_anchor_that_is_not_installed_says_how_it_can_be(
    run_program: RunProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    code, message = run_program(main, "codecs=[ours,jpeg2000]")
    assert code == 1
    assert message.startswith("error: anchor=jpeg2000: ")
    assert "pip install 'sar_codec[baselines]'" in message


def test_what_the_model_was_trained_on_is_told() -> None:
    bands = [
        SimpleNamespace(name=path, path=path)
        for path in ("/a/s1sigma0_ghana/x.tif", "/a/s1rtc_1_2/deep/y.tif", "/a/s1grd_berlin/z.img")
    ]
    assert seen_in_training([QUALITY, BOUNDED], bands) == [bands[0].name, bands[1].name]
    assert seen_in_training([], bands) == []
