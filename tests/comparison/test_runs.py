import math
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sar_codec.comparison.runs import Epoch, find_runs, read_config, read_history, read_run
from sar_codec.errors import UserError

MakeRun = Callable[..., Path]


def write_history(folder: Path, text: str | bytes) -> Path:
    path = folder / "history.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_run_is_what_its_folder_says(make_run: MakeRun) -> None:
    folder = make_run(losses=[0.5, 0.25, 0.3], overrides=["a=1"], status="killed", reason="by\n me")
    run = read_run(folder)
    assert (run.folder, run.overrides, run.status) == (folder, ("a=1",), "killed")
    assert run.reason == "by me"
    assert run.best == Epoch(2, 0.25, 22.5, 0.2, 2.5)
    assert (run.best_loss, len(run.history), run.seconds) == (0.25, 3, 7.5)


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        (["nan", "inf", "-inf"], None),
        (["nan", 2, "-inf", 1, 3], 4),
        ([1, 1, 1], 1),
        ([0, -1, 1], 2),
        ([1e-320, 1e-321], 2),
        (["", 1], 2),
        ([], None),
    ],
)
def test_the_best_epoch_is_the_first_of_the_lowest_finite_loss(
    losses: list[object], best: int | None, make_run: MakeRun
) -> None:
    run = read_run(make_run(losses=losses))
    assert (run.best and run.best.number) == best
    assert len(run.history) == len(losses)


def test_two_readings_of_a_run_are_equal_with_bad_numbers_too(make_run: MakeRun) -> None:
    folder = make_run(losses=["nan", "inf", 1])
    assert read_run(folder) == read_run(folder)
    assert find_runs(folder) == find_runs(folder)


def test_what_was_given_is_taken_from_the_status_or_else_from_hydra(make_run: MakeRun) -> None:
    written = ["seed=1", "resume=auto", "+hparams=[seed]", "~data", "++resume='a=b'"]
    for name, overrides in (("told", ["x=2", "resume=last"]), ("not told", None)):
        folder = make_run(name, overrides=overrides)
        (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(written))
    told, not_told = find_runs(folder.parent / "told", folder)
    assert told.overrides == ("x=2",)
    assert not_told.overrides == ("seed=1", "~data")


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"status": null}', "\xff\x00"])
def test_a_damaged_status_is_unknown(text: str, make_run: MakeRun) -> None:
    folder = make_run(losses=[1])
    (folder / "status.json").write_bytes(text.encode("latin-1"))
    run = read_run(folder)
    assert (run.status, run.reason, run.overrides) == ("unknown", None, ())
    assert run.best_loss == 1


@pytest.mark.parametrize("text", ["", "a: [", "- a", "\xff", "\x00"])
def test_damaged_yaml_says_nothing(text: str, make_run: MakeRun) -> None:
    folder = make_run()
    for name in ("config", "overrides"):
        (folder / ".hydra" / f"{name}.yaml").write_bytes(text.encode("latin-1"))
    assert read_config(folder) == {}
    assert read_run(folder).overrides in ((), ("a",))


def test_a_config_is_dotted_keys_and_lists_are_values(make_run: MakeRun) -> None:
    config = {"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": {}, "resume": "x", "hparams": ["a.d"]}
    expected = {"a.b.c": 1, "a.d": [1, {"e": 2}], "f": {}}
    assert read_config(make_run(config=config)) == expected


def test_runs_without_a_history_are_runs(make_run: MakeRun) -> None:
    for number, losses in enumerate([None, []]):
        run = read_run(make_run(str(number), losses=losses))
        assert (run.history, run.best, run.seconds) == ((), None, None)
    folder = make_run("2", config={"a": 1}, status=None)
    assert read_run(folder).status == "unknown"
    write_history(folder, "")
    assert read_run(folder).history == ()


def test_a_metric_that_a_loss_does_not_give_is_not_known(tmp_path: Path) -> None:
    path = write_history(tmp_path, "epoch,val_loss,val_psnr\r\n1,0.5,nan\r\n2,0.4,inf\r\n")
    assert read_history(path) == (
        Epoch(1, 0.5, None, None, None),
        Epoch(2, 0.4, math.inf, None, None),
    )


def test_a_history_that_is_cut_anywhere_gives_the_epochs_before(tmp_path: Path) -> None:
    text = "epoch,train_loss,val_loss,seconds\r\n1,3,0.5,2.5\r\n2,3,0.25,2.5\r\n"
    whole = read_history(write_history(tmp_path, text))
    for length in range(len("epoch"), len(text)):
        cut = read_history(write_history(tmp_path, text[:length]))
        # Of the last one, the last number may lack digits.
        assert [each[:2] for each in cut] == [each[:2] for each in whole[: len(cut)]]
        assert len(cut) >= text[:length].count("\n") - 1


def test_a_history_that_a_spreadsheet_saved_is_read(tmp_path: Path) -> None:
    path = write_history(tmp_path, b'\xef\xbb\xbf"epoch","val_loss"\n\n1.0,"0.5"\n')
    assert read_history(path) == (Epoch(1, 0.5, None, None, None),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "no columns epoch and val_loss"),
        ("epoch,loss\n", "no columns epoch and val_loss"),
        ("val_loss\n1\n", "no columns epoch and val_loss"),
        ("epoch;val_loss\n1;2\n", "no columns epoch and val_loss"),
        ("epoch,val_loss\n1,x\n2,1\n", "row 1: could not convert string to float: 'x'"),
        ("epoch,val_loss\n1,1\n2\n3,1\n", "row 2: "),
        ("epoch,val_loss\n1,1\n2,1,1\n", "row 2: "),
        ("epoch,val_loss\n1.5,1\n", "row 1: epoch '1.5' is no whole number"),
        ("epoch,val_loss\nnan,1\n", "row 1: epoch 'nan' is no whole number"),
        ("epoch,val_loss\ninf,1\n", "row 1: epoch 'inf' is no whole number"),
        (b"epoch,val_loss\n1,\xff\n", "'utf-8' codec can't decode byte 0xff"),
        (b"epoch,val_loss\n" + 9 * b"\x00" + b"\n", "row 1: "),
    ],
)
def test_what_is_no_history_is_one_line(text: str | bytes, said: str, tmp_path: Path) -> None:
    path = write_history(tmp_path, text)
    with pytest.raises(UserError) as raised:
        read_run(tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{path}: not readable as a run's history ({said}")
    assert "\n" not in message
    assert "move it away" in message


def test_a_history_that_is_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "history.csv").mkdir()
    with pytest.raises(UserError, match=r"history\.csv: not readable .*Is a directory"):
        read_run(tmp_path)


def test_a_sweep_is_its_runs_at_any_depth_in_natural_order(make_run: MakeRun) -> None:
    names = ["s/2", "s/10", "s/a/lr=1e-4, ü 試", "s/a/b9", "s/a/b10", "s/x"]
    for name in reversed(names):
        folder = make_run(name)
    make_run("s/2/inside")  # is the run's own affair
    (folder.parent / "a file").touch()
    sweep = folder.parent
    expected = ["2", "10", "a/b9", "a/b10", "a/lr=1e-4, ü 試", "x"]
    assert [str(run.folder.relative_to(sweep)) for run in find_runs(sweep)] == expected
    assert [run.folder for run in find_runs(sweep / "10")] == [sweep / "10"]


@pytest.mark.parametrize("mark", ["history.csv", "status.json", ".hydra/config.yaml"])
def test_any_of_its_files_makes_a_run(mark: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep" / "0" / mark
    path.parent.mkdir(parents=True)
    path.touch()
    assert len(find_runs(tmp_path)) == 1


def test_a_run_counts_once_however_often_it_is_given(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("s/0", "s/1"):
        make_run(name)
    (tmp_path / "link").symlink_to(tmp_path / "s" / "0")
    monkeypatch.chdir(tmp_path)
    paths = [Path("s/1"), Path("s"), tmp_path / "s", Path("s/../s/0"), Path("link"), Path()]
    assert [run.folder for run in find_runs(*paths)] == [Path("s/1"), Path("s/0")]


def test_links_to_runs_are_followed_and_loops_are_not(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run("elsewhere/0")
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    (sweep / "run").symlink_to(folder)
    (sweep / "loop").symlink_to(sweep)
    (sweep / "dangling").symlink_to(tmp_path / "none")
    assert [run.folder for run in find_runs(sweep)] == [sweep / "run"]


def test_a_path_without_a_run_is_one_line(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("full/0", losses=[1])
    (tmp_path / "empty").mkdir()
    for name, said in (
        ("none", "does not exist"),
        ("empty", "holds no run (none of history.csv, status.json, .hydra/config.yaml)"),
        ("full/0/history.csv", "is not a folder"),
        ("x" * 300, "cannot be read (File name too long)"),
    ):
        with pytest.raises(UserError) as raised:
            find_runs(tmp_path / "full", tmp_path / name)
        assert str(raised.value).startswith(f"{tmp_path / name}: {said}; ")
        assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="empty: holds no run"):
        read_run(tmp_path / "empty")
