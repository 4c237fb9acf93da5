import csv
import io
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sar_codec.comparison.runs import Epoch, Run, find_runs, read_run
from sar_codec.comparison.table import (
    COLUMNS,
    as_csv,
    as_text,
    differences,
    differences_as_text,
    labels,
    write_csv,
)
from sar_codec.errors import UserError

MakeRun = Callable[..., Path]


def run_of(folder: str, *overrides: str, losses: Sequence[float] = (), status: str = "x") -> Run:
    history = tuple(Epoch(number, loss, 20.123, 0.5, 61.4) for number, loss in enumerate(losses, 1))
    return Run(Path(folder), overrides, status, None, history)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_csv_has_all_digits_in_the_order_of_jobs(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("2", [0.5, 0.1 + 0.2], overrides=["b.a=1", "c=[1, 2]"])
    make_run("10", [1e-320], overrides=[], status="failed", reason='no "luck", none')
    rows = rows_of(as_csv(find_runs(tmp_path), tmp_path))
    assert tuple(rows[0]) == COLUMNS
    assert list(rows[0].values()) == [
        *("b.a=1 'c=[1, 2]'", "finished", "2", "0.30000000000000004", "22.5", "0.2", "2", "5.0"),
        *("2", ""),
    ]
    assert float(rows[1]["best_val_loss"]) == 1e-320
    assert (rows[1]["status"], rows[1]["reason"]) == ("failed", 'no "luck", none')


def test_what_is_not_known_is_empty_in_a_csv(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(losses=["nan", "-inf"], status="killed")
    make_run("none", status=None, config={})
    (folder / "x").mkdir()
    row, other = rows_of(as_csv(find_runs(folder, tmp_path / "none"), folder / "x"))
    unknown = {key for key, value in row.items() if value == ""}
    assert unknown == {"overrides", "best_epoch", "best_val_loss", "psnr", "ssim", "reason"}
    assert (row["epochs"], row["folder"]) == ("2", "..")
    assert (other["epochs"], other["seconds"], other["status"]) == ("0", "", "unknown")


def test_a_csv_on_disk_is_whole_and_keeps_any_name(make_run: MakeRun, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9, \xc3\xa9")
    make_run(f"s/{name}", [1])
    path = tmp_path / "new" / "t.csv"
    write_csv(path, find_runs(tmp_path / "s"), tmp_path / "s")
    assert b'"caf\xe9, \xc3\xa9"' in path.read_bytes()
    assert os.listdir(path.parent) == ["t.csv"]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_csv(tmp_path / "file" / "t.csv", [], tmp_path)


def test_a_table_puts_the_best_first_and_those_without_a_loss_last() -> None:
    losses: list[Sequence[float]] = [[math.inf], [3.0], [], [2.0, 1.0], [2.0]]
    runs = [run_of(f"/s/{name}", losses=each) for name, each in zip("abcde", losses, strict=True)]
    header, *lines, below = as_text(runs).splitlines()
    assert [line.split()[0] for line in lines] == list("debac")
    header, first, last = (" ".join(each.split()) for each in (header, lines[0], lines[-1]))
    assert header == "run loss PSNR SSIM at epoch epochs min:s status folder"
    assert first == "d 1.0000 20.12 0.5000 2 2 2:03 x d"
    assert last == "c - - - - 0 - x c"
    assert below == "folders below /s"


def test_a_table_of_a_sweep_fits_the_screen_and_is_aligned() -> None:
    names = [(f"trainer.lr_patience={p}", f"optimizer.lr={lr}") for p in (5, 20) for lr in (1, 0.1)]
    folder = "outputs/multirun/2025-01-31/12-00-00-123456"
    runs = [
        run_of(f"{folder}/{number}", *each, losses=[0.0123456 / 10**number], status="finished")
        for number, each in enumerate(names)
    ]
    lines = as_text(runs).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[-1] == f"folders below {folder}"
    assert {line.index("finished") for line in lines[1:-1]} == {lines[0].index("status")}
    ends = {line.index(" 20.12") for line in lines[1:-1]}
    assert len(ends) == 1
    assert "1.2346e-05" in lines[1]


def test_a_table_holds_any_text_in_its_line() -> None:
    runs = [
        run_of("/s/試験", "x=a\nb", losses=[1]),
        run_of("/s/" + "long" * 60, "x=" + "y" * 300, losses=[1]),
        run_of(f"/s/{os.fsdecode(b'caf')}\udce9", "x=é", losses=[1e-300], status="odd\x1b[31m"),
    ]
    lines = as_text(runs).splitlines()
    assert len(lines) == 5
    assert max(map(len, lines)) <= 170
    assert all(line.isprintable() for line in lines)
    assert "試験" in as_text(runs)
    assert "..." in lines[-2]


def test_columns_are_aligned_beside_characters_of_double_width() -> None:
    first, second = as_text(
        [run_of("/s/0", "x=試験", losses=[12345]), run_of("/s/1", "x=abcde\u0301", losses=[12346])]
    ).splitlines()[1:3]
    assert first.startswith("x=試験   12345  ")
    assert second.startswith("x=abcde\u0301  12346  ")


def test_folders_that_share_only_the_root_are_told_whole() -> None:
    lines = as_text([run_of("/a/0", "x=1"), run_of("/b/0", "x=2")]).splitlines()
    assert [line.split()[-1] for line in lines] == ["folder", "/a/0", "/b/0"]


def test_no_runs_are_an_empty_table() -> None:
    assert as_text([]).split()[0] == "run"
    assert as_csv([], Path()) == ",".join(COLUMNS) + "\n"
    assert labels([]) == []
    assert differences([]) == {}
    assert differences_as_text([]) == ""


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["a.lr=1 b.p=5 s=0", "a.lr=2 b.p=5 s=0"], ["lr=1", "lr=2"]),
        (["t.lr_p=5 o.lr=1e-4", "t.lr_p=6"], ["lr_p=5 lr=1e-4", "lr_p=6"]),
        (["a.width=1", "b.width=1"], ["a.width=1", "b.width=1"]),
        (["x.a.lr=1", "x.b.lr=1 seed=2"], ["a.lr=1", "b.lr=1 seed=2"]),
        (["lr=1", "a.lr=1"], ["lr=1", "a.lr=1"]),
        (["model=m model.width=3", "model=n"], ["model=m width=3", "model=n"]),
        (["+a.new=1", "~a.old", "a.b/c=3"], ["new=1", "~old", "c=3"]),
        (["+x=1 y=1", "x=1 y=2"], ["y=1", "y=2"]),
        (["p='a.b=c'", "p=d/e.f"], ["p='a.b=c'", "p=d/e.f"]),
        (["x=1", "", "x=2"], ["x=1", "f1", "x=2"]),
        (["x=1", "x=1", "x=2"], ["f0", "f1", "x=2"]),
        (["x=1"], ["f0"]),
        (["x=1", "x=1"], ["f0", "f1"]),
        (["", "1=f0", "f0"], ["s/f0", "1=f0", "f0"]),
    ],
)
def test_labels_are_what_tells_runs_apart(overrides: list[str], expected: list[str]) -> None:
    runs = [run_of(f"/s/f{number}", *each.split()) for number, each in enumerate(overrides)]
    assert labels(runs) == expected


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["/a/0", "/b/0", "/b/1"], ["a/0", "b/0", "1"]),
        (["/0", "/a/0"], ["/0", "a/0"]),
        (["/x/a/0", "/y/a/0", "/a/10"], ["x/a/0", "y/a/0", "10"]),
        (["/s/lr=1, ü", "/s/a b"], ["lr=1, ü", "a b"]),
        (["/s/a\nb", "/s/\udce9"], [r"a\nb", r"\udce9"]),
    ],
)
def test_runs_without_overrides_of_their_own_are_called_by_their_folders(
    folders: list[str], expected: list[str]
) -> None:
    assert labels([run_of(each) for each in folders]) == expected


def test_a_run_given_as_a_point_has_a_name(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_run("here", [1]))
    assert labels(find_runs(Path())) == ["here"]
    assert as_text(find_runs(Path())).splitlines()[1].split()[-1] == "here"


def test_labels_of_thirty_random_runs_differ() -> None:
    runs = [run_of(f"/s/{i}", f"a.lr={i % 5}", f"b.lr={i % 6}", f"c={i % 2}") for i in range(30)]
    assert len(set(labels(runs))) == 30


def test_differences_are_the_keys_that_runs_do_not_share(make_run: MakeRun, tmp_path: Path) -> None:
    same = {"model": {"width": 8}, "betas": [0.9, 0.99]}
    make_run("0", config=same | {"lr": 1e-3, "max": 1, "p": None, "resume": "a", "hparams": ["lr"]})
    make_run("1", config=same | {"lr": 1e-4, "max": 1.0, "p": True, "only": {"here": [1, 2.5]}})
    make_run("2", config=same | {"lr": 1e-4, "max": 1, "p": "", "betas": [0.9, math.nan]})
    runs = find_runs(tmp_path)
    assert differences(runs) == {
        "lr": ["0.001", "0.0001", "0.0001"],
        "p": ["null", "true", "''"],
        "betas": ["[0.9,0.99]", "[0.9,0.99]", "[0.9,nan]"],
        "only.here": ["-", "[1,2.5]", "-"],
    }
    shown = differences_as_text(runs).splitlines()
    assert shown[0] == "key        0           1           2"
    assert "lr         0.001       0.0001      0.0001" in shown
    assert differences(runs[:1]) == {}
    assert differences([runs[0], runs[0]]) == {}


def test_a_run_without_a_config_makes_no_differences(make_run: MakeRun) -> None:
    paths = [make_run("0", config={"a": 1, "b": 2}), make_run("1"), make_run("2", config={"a": 3})]
    runs = [read_run(path) for path in paths]
    assert differences(runs) == {"a": ["1", "-", "3"], "b": ["2", "-", "-"]}
    assert differences(runs[:2]) == {}


def test_differences_of_many_runs_are_a_line_a_key(make_run: MakeRun, tmp_path: Path) -> None:
    for number in range(30):
        make_run(str(number), config={"seed": number, "text": "y" * 90 + str(number % 2), "a": 0})
    seed, text = differences_as_text(find_runs(tmp_path)).splitlines()
    assert " ".join(seed.split()) == "seed 0 1 2 3 4 5 6 7 ... (30 values)"
    assert text.split()[0] == "text"
    assert len(text.split()) == 3
    assert max(len(seed), len(text)) <= 110
