"""A disk that is full, read-only or failing ends a run with one line, and takes nothing with it."""

import csv
import errno
import io
import logging
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cuts
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_train import TINY

from sar_codec.errors import UserError
from sar_codec.train import main
from sar_codec.training import checkpoint, tracking
from sar_codec.training.tracking import Tracker
from sar_codec.training.trainer import Trainer

RunProgram = Callable[..., tuple[int, str]]

# Where a run writes: what is called, with what name of a file, and which file is told.
PLACES = {
    "the checkpoint's temporary": ("open", r"\.latest\.pth\..*\.tmp", "checkpoints/latest.pth"),
    "the checkpoint's bytes": ("fsync", r"\.latest\.pth\..*\.tmp", "checkpoints/latest.pth"),
    "the checkpoint's renaming": ("replace", r"\.latest\.pth\..*\.tmp", "checkpoints/latest.pth"),
    "the previous checkpoint": ("link", r"\.previous\.pth\..*\.tmp", "checkpoints/previous.pth"),
    "the folder of checkpoints": ("fsync", "checkpoints", "checkpoints/best.pth"),
    "the history": ("open", r"\.history\.csv\..*\.tmp", "history.csv"),
    "the history's renaming": ("replace", r"\.history\.csv\..*\.tmp", "history.csv"),
    "the event file": ("event", r"events\.out\.tfevents.*", "tensorboard"),
}
CODES = [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EROFS]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Gives a folder on a disk of its own, of a given size."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount")
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Event files are in order here, as all are of one process, which numbers them."""
    monkeypatch.setattr(tracking, "_wait_to_come_last", lambda folder: None)


def fail(monkeypatch: pytest.MonkeyPatch, place: str, code: int) -> None:
    """Makes all calls fail that write there."""
    operation, name, _ = PLACES[place]

    def failing(owner: Any, attribute: str, which: int = 0) -> None:
        real = getattr(owner, attribute)

        def call(*arguments: Any, **settings: Any) -> Any:
            given = arguments[which]
            path = os.readlink(f"/proc/self/fd/{given}") if isinstance(given, int) else str(given)
            if re.fullmatch(name, os.path.basename(path)):
                raise OSError(code, os.strerror(code), path)
            return real(*arguments, **settings)

        monkeypatch.setattr(owner, attribute, call)

    if operation == "link":
        failing(Path, "hardlink_to")
        failing(shutil, "copyfile", 1)
    else:
        owners = {"fsync": (os, "fsync"), "event": (io, "open")}
        failing(*owners.get(operation, (Path, operation)))


def trainer_for(run_dir: Path, **settings: Any) -> Trainer:
    return cuts.trainer_for(run_dir, **({"checkpoint_every_minutes": 10.0} | settings))


def check_what_is_left(run: Path, log: str) -> None:
    """All that a failed run leaves is whole, and is what its log says that it is."""
    assert not list(run.rglob("*.tmp"))
    saved = [int(epoch) for epoch in re.findall(r"Epoch (\d+)/.*saved latest\.pth", log)]
    latest = run / "checkpoints" / "latest.pth"
    assert latest.exists() or not saved
    for path in run.glob("checkpoints/*.pth"):
        state = checkpoint.load(path)
        assert [row["epoch"] for row in state.history] == list(range(1, state.epoch + 1))
    if saved:
        # What failed after the file was in place is not said to be saved.
        assert checkpoint.load(latest).epoch - max(saved) in (0, 1)
    if (run / "history.csv").exists():
        with (run / "history.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["epoch"]) for row in rows] == list(range(1, len(rows) + 1))
        assert len(rows) >= len(saved)
    for path in run.glob("tensorboard/*"):
        EventAccumulator(str(path)).Reload()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run of two epochs, and its log."""
    folder, log = tmp_path_factory.mktemp("begun"), io.StringIO()
    root, handler = logging.getLogger(), logging.StreamHandler(log)
    root.addHandler(handler)
    root.setLevel("INFO")
    trainer_for(folder).train(2)
    root.removeHandler(handler)
    return folder, log.getvalue()


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("place", PLACES)
def test_a_run_ends_with_one_line_wherever_the_disk_fails(
    place: str,
    code: int,
    begun: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("INFO")
    shutil.copytree(begun[0], tmp_path, dirs_exist_ok=True)
    latest = tmp_path / "checkpoints" / "latest.pth"
    with monkeypatch.context() as patched:
        trainer = trainer_for(tmp_path)
        trainer.load_checkpoint(latest)
        fail(patched, place, code)
        with pytest.raises(UserError) as caught:
            trainer.train(4)
    message = str(caught.value)
    assert "\n" not in message
    told = tmp_path / PLACES[place][2]
    assert message.startswith(f"{told}: cannot be written ({os.strerror(code)}")
    if code == errno.ENOSPC:
        needed = "" if place == "the event file" else r"[0-9,]+ bytes needed, "
        assert re.search(rf"device, {needed}[0-9,]+ (bytes )?free\)", message)
    assert "Epoch 3/4: " not in caplog.text
    assert "Traceback" not in capsys.readouterr().err
    check_what_is_left(tmp_path, begun[1] + caplog.text)
    assert checkpoint.load(latest).epoch == 2
    resumed = trainer_for(tmp_path)
    resumed.load_checkpoint(latest)
    assert [row["epoch"] for row in resumed.train(4)] == [1, 2, 3, 4]


@pytest.mark.parametrize("operation", ["scalars", "flush", "close"])
def test_an_event_file_that_fails_is_told_once_and_without_a_threads_traceback(
    operation: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tracker = Tracker(tmp_path)
    tracker.scalars({"x": 1.0}, 1)
    tracker.flush()
    fail(monkeypatch, "the event file", errno.EIO)
    with pytest.raises(UserError, match=r"tensorboard: cannot be written \(Input/output error\)"):
        if operation == "scalars":
            while True:  # until the thread has come to write
                tracker.scalars({"x": 1.0}, 1)
        tracker.scalars({"x": 2.0}, 2)
        getattr(tracker, operation)()
    tracker.close()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("left", [0, 1, 3, 6, 9, 12, 15, 20])
def test_a_disk_that_fills_up_takes_nothing_with_it(
    left: int, disk: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = disk("300k")
    run = folder / "run"
    trainer_for(run).train(2)
    ballast = folder / "ballast"
    free = shutil.disk_usage(folder).free
    ballast.write_bytes(bytes(free - left * resource.getpagesize()))
    latest = run / "checkpoints" / "latest.pth"
    trainer = trainer_for(run, checkpoint_every_minutes=0.0)
    trainer.load_checkpoint(latest)
    with pytest.raises(UserError) as caught:
        trainer.train(9)
    message = str(caught.value)
    assert re.fullmatch(
        rf"{run}/?.*: cannot be written \(No space left on device, .*free\); [^\n]*", message
    )
    check_what_is_left(run, caplog.text)
    ballast.unlink()
    resumed = trainer_for(run)
    resumed.load_checkpoint(latest)
    resumed.train(4)
    assert checkpoint.load(latest).epoch >= 4


@pytest.mark.parametrize(
    ("size", "at"),
    [
        ("4k", ""),  # Hydra's own files do not fit
        ("12k", ""),
        ("16k", "environment.json"),
        ("24k", "environment.json"),
        ("32k", "tensorboard"),
        ("100k", "checkpoints/latest.pth"),
        ("300k", "checkpoints/latest.pth"),
        ("400k", "checkpoints/latest.pth"),
        ("550k", "checkpoints/latest.pth"),
    ],
)
def test_the_program_on_a_small_disk(
    size: str, at: str, disk: Callable[[str], Path], run_program: RunProgram, capsys: Any
) -> None:
    folder = disk(size)
    code, message = run_program(main, *TINY, "trainer.epochs=9", f"hydra.run.dir={folder}/run")
    assert code == 1
    told = f"{folder}/run/{at}:" if at else "the output folder"
    assert message.startswith(f"error: {told} cannot be written")
    assert "No space left on device" in message
    assert "\n" not in message
    output = capsys.readouterr()
    assert "Traceback" not in output.out + output.err
    if at:
        check_what_is_left(folder / "run", output.out)


def test_resuming_on_a_full_disk(disk: Callable[[str], Path], run_program: RunProgram) -> None:
    folder = disk("2m")
    run = folder / "run"
    assert run_program(main, *TINY, f"hydra.run.dir={run}")[0] == 0
    before = {path: path.read_bytes() for path in run.glob("checkpoints/*")}
    ballast = folder / "ballast"
    more = ["trainer.epochs=3", "resume=auto", f"hydra.run.dir={run}"]
    for left in (0, 2, 6):
        ballast.write_bytes(b"")
        free = shutil.disk_usage(folder).free
        ballast.write_bytes(bytes(free - left * resource.getpagesize()))
        code, message = run_program(main, *TINY, *more)
        assert code == 1
        assert "cannot be written" in message
        assert "No space left on device" in message
        assert "\n" not in message
        assert {path: path.read_bytes() for path in run.glob("checkpoints/*")} == before
    ballast.unlink()
    assert run_program(main, *TINY, *more)[0] == 0
    assert checkpoint.load(run / "checkpoints" / "latest.pth").epoch == 3


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (
            20_000,
            r"/checkpoints/latest\.pth: .*\(File too large, [0-9,]+ bytes needed, [0-9,]+ free",
        ),
        (4_000, r"/tensorboard: cannot be written \(File too large, [0-9,]+ bytes free"),
        (1, r"/environment\.json: cannot be written \(File too large, [0-9,]+ bytes needed, "),
        (0, r"run: cannot be written \(File too large"),
    ],
)
def test_files_that_may_not_grow_are_told(limit: int, said: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert cuts.in_process(train_with_small_files, run, limit, tmp_path / "message") == 0
    assert re.search(said, (tmp_path / "message").read_text())
    check_what_is_left(run, "Epoch 1/1: saved latest.pth")
    assert checkpoint.load(run / "checkpoints" / "latest.pth").epoch == 1


def train_with_small_files(run_dir: Path, limit: int, said: Path) -> None:
    trainer_for(run_dir).train(1)
    trainer = trainer_for(run_dir)
    trainer.load_checkpoint(run_dir / "checkpoints" / "latest.pth")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        trainer.train(3)
    except UserError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        said.write_text(str(error))


@pytest.mark.parametrize("name", ["", "checkpoints", "tensorboard"])
def test_a_folder_without_permission_is_told(name: str, tmp_path: Path) -> None:
    trainer_for(tmp_path).train(1)
    trainer = trainer_for(tmp_path)
    trainer.load_checkpoint(tmp_path / "checkpoints" / "latest.pth")
    folder = tmp_path / name
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):
        pytest.skip("root may write everywhere")
    try:
        with pytest.raises(UserError, match=f"{folder}.*: cannot be written .Permission denied"):
            trainer.train(2)
    finally:
        folder.chmod(0o755)
    assert checkpoint.load(tmp_path / "checkpoints" / "latest.pth").epoch == 1


def test_a_disk_that_becomes_read_only_is_told_before_anything_is_trained(
    disk: Callable[[str], Path],
) -> None:
    folder = disk("300k")
    trainer_for(folder / "run").train(1)
    latest = folder / "run" / "checkpoints" / "latest.pth"
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    trainer = trainer_for(folder / "run")
    trainer.load_checkpoint(latest)
    with pytest.raises(UserError, match=r"run: cannot be written .Read-only file system"):
        trainer.train(2)
    assert trainer.global_step == checkpoint.load(latest).global_step


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_that_cannot_be_written_is_told_once_and_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "training.log").symlink_to("/dev/full")
    done = subprocess.run(
        [sys.executable, "-m", "sar_codec.train", *TINY, "hydra.run.dir=run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == (
        f"warning: {tmp_path}/run/training.log: cannot be written "
        "([Errno 28] No space left on device)\n"
    )
    assert "2 of 2 epochs done" in done.stdout
    check_what_is_left(tmp_path / "run", done.stdout)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_run_that_fails_is_told_though_its_log_cannot_be(
    run_program: RunProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "training.log").symlink_to("/dev/full")
    with monkeypatch.context() as patched:
        fail(patched, "the checkpoint's bytes", errno.ENOSPC)
        code, message = run_program(main, *TINY, "hydra.run.dir=run")
    assert code == 1
    assert re.match(r"error: \S+/run/checkpoints/latest\.pth: cannot be written .No sp", message)
    assert "\n" not in message
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.rglob("*.pth"))
