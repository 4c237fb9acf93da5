"""The command line, as people type it."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sar_codec import compare
from sar_codec.errors import UserError

RunProgram = Callable[..., tuple[int, str]]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep of three jobs, one of which failed before its first epoch."""
    folder = tmp_path / "a sweep, lr=é"
    for number in range(3):
        job = folder / str(number)
        (job / ".hydra").mkdir(parents=True)
        failed = {"status": "failed", "reason": "no luck"}
        status = failed if number == 1 else {"status": "finished", "reason": None}
        overrides = [f"optimizer.lr={number}", "seed=3"]
        (job / "status.json").write_text(json.dumps(status | {"overrides": overrides}))
        (job / ".hydra" / "config.yaml").write_text(f"optimizer: {{lr: {number}}}\nseed: 3\n")
        if number != 1:
            (job / "history.csv").write_text(f"epoch,val_loss\n1,{3 - number}\n")
    return folder


def test_it_prints_and_writes_what_runs_came_to(
    run_program: RunProgram, sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path)
        compare.main([str(sweep)])
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[:4]] == ["run", "lr=2", "lr=0", "lr=1"]
    assert "What their configs differ in:\nkey           lr=0  lr=1  lr=2\noptimizer.lr " in said
    found = re.search(r"^Comparison: (outputs/compare/\d{4}-\d\d-\d\d/[\d-]+)$", said, re.M)
    assert found
    output = tmp_path / found[1]
    assert sorted(os.listdir(output)) == ["compare.csv", "compare.png"]
    with (output / "compare.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["folder"] for row in rows] == [f"{sweep.name}/{number}" for number in range(3)]
    assert [row["best_val_loss"] for row in rows] == ["3.0", "", "1.0"]
    assert rows[1]["reason"] == "no luck"
    # Once more: another folder.
    assert run_program(compare.main, str(sweep)) == (0, "")
    assert len(list(tmp_path.glob("outputs/compare/*/*"))) == 2
    # A comparison is no run.
    with pytest.raises(UserError, match="outputs: holds no run"):
        compare.compare([tmp_path / "outputs"], tmp_path / "new")


def test_a_run_counts_once(
    run_program: RunProgram, sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare.main(["--output", str(sweep / "out"), *map(str, (sweep / "2", sweep, sweep / "2"))])
    assert capsys.readouterr().out.count("optimizer.lr") == 1
    assert (sweep / "out" / "compare.csv").read_text().count("optimizer.lr") == 3


def test_one_run_and_equal_runs_have_no_differences(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare.compare([sweep / "0"], tmp_path / "one")
    assert "config" not in capsys.readouterr().out
    (sweep / "1" / ".hydra" / "config.yaml").unlink()
    compare.compare([sweep / "0", sweep / "1"], tmp_path / "two")
    assert "Their configs do not differ." in capsys.readouterr().out


@pytest.mark.parametrize("there", ["compare.csv", "compare.png"])
def test_nothing_is_written_over_a_comparison(
    there: str, run_program: RunProgram, sweep: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / there).write_text("mine")
    code, message = run_program(compare.main, str(sweep), "--output", "out")
    said = f"error: out/{there}: is there already; choose another --output"
    assert (code, message) == (1, said)
    assert os.listdir(output) == [there]
    assert (output / there).read_text() == "mine"


def test_what_cannot_be_compared_is_one_line(
    run_program: RunProgram, sweep: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (sweep / "2" / "history.csv").write_text("x\n")
    for given, said in (
        (["none"], "none: does not exist; give a run's folder or one above runs"),
        ([str(sweep / "0"), "empty"], "empty: holds no run (none of "),
        ([str(sweep)], f"{sweep}/2/history.csv: not readable as a run's history "),
        (
            [str(sweep / "0"), "--output", str(sweep / "0" / "status.json")],
            f"{sweep}/0/status.json",
        ),
    ):
        code, message = run_program(compare.main, *given)
        assert (code, "\n" in message) == (1, False)
        assert message.startswith(f"error: {said}")
    assert not (tmp_path / "outputs").exists()


def test_wrong_arguments_are_told_with_the_usage(run_program: RunProgram) -> None:
    code, message = run_program(compare.main)
    assert code == 2
    assert message.startswith("usage: python -m sar_codec.compare")


def test_help_names_everything_and_waits_for_nothing_heavy() -> None:
    script = (
        "import sys; from sar_codec import compare\n"
        "try: compare.main(['--help'])\n"
        "finally: print(sorted({'torch', 'matplotlib', 'hydra', 'numpy'} & {*sys.modules}))"
    )
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    for part in ("RUN_OR_SWEEP", "--output FOLDER", "outputs/compare/DATE/TIME", "compare.png"):
        assert part in ended.stdout
    assert ended.stdout.endswith("\n[]\n")


def test_a_reader_that_leaves_early_is_no_error_and_misses_no_file(
    sweep: Path, tmp_path: Path
) -> None:
    name = os.fsdecode(b"\xe9")  # no text in any encoding of today
    (sweep / "0").rename(sweep / name)
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        ended = subprocess.run(
            [sys.executable, "-m", "sar_codec.compare", str(sweep), "--output", "out"],
            cwd=tmp_path,
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (141, b"")
    assert sorted(os.listdir(tmp_path / "out")) == ["compare.csv", "compare.png"]
    assert b"\xe9" in (tmp_path / "out" / "compare.csv").read_bytes()


def test_names_that_the_screen_cannot_show_are_escaped(sweep: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "sar_codec.compare", sweep, "--output", os.fsdecode(b"out\xe9")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"folders below a sweep, lr=\\xe9\n" in ended.stdout
    assert ended.stdout.endswith(b"Comparison: out\\udce9\n")
