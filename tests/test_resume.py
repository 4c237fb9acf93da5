"""Runs of `python -m sar_codec.train` that are cut, gone on with, and stood in each other's way."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from forked_training import Forked, training
from omegaconf import OmegaConf

from sar_codec.train import main
from sar_codec.training import checkpoint
from sar_codec.training.sameness import difference_of_runs

RunProgram = Callable[..., tuple[int, str]]
TINY = (
    "device=cpu",
    "data.scenes=6",
    "data.size=64",
    "data.patch_size=32",
    "data.batch_size=2",
    "model.width=8",
    "model.depth=1",
)
TWO_EPOCHS = (*TINY, "trainer.epochs=2")


def saved_config(run: Path) -> dict[str, dict[str, object]]:
    return torch.load(run / "checkpoints" / "latest.pth")["config"]


def test_the_checkpoints_config_is_the_base_and_what_is_given_now_lies_over_it(
    run_program: RunProgram, tmp_path: Path
) -> None:
    first = ["optimizer.lr=0.003", "trainer.lr_patience=7", "hydra.run.dir=first"]
    assert run_program(main, *TWO_EPOCHS, *first)[0] == 0
    more = ["trainer.epochs=3", "trainer.lr_patience=10", "hydra.run.dir=second"]
    assert run_program(main, "resume=first", *more)[0] == 0
    config = saved_config(tmp_path / "second")
    assert config["optimizer"]["lr"] == 0.003
    assert config["data"]["scenes"] == 6
    assert config["trainer"]["lr_patience"] == 10  # the default, but given
    log = (tmp_path / "second" / "training.log").read_text()
    assert "another trainer.epochs: 3 now, 2 in the checkpoint" in log
    assert "another trainer.lr_patience: 10 now, 7 in the checkpoint" in log
    assert "another optimizer" not in log
    recorded = OmegaConf.load(tmp_path / "second" / ".hydra" / "config.yaml")
    assert recorded == config


@pytest.mark.parametrize(
    ("given", "now", "before"),
    [
        ("model.width=16", "model.width: 16 now", "8 in the checkpoint"),
        ("seed=5", "seed: 5 now", "0 in the checkpoint"),
        ("train_only=analyse", "train_only: analyse now", "None in the checkpoint"),
        ("optimizer=adamw", "optimizers.adamw now", "optimizers.adam in the checkpoint"),
        ("data.vmin=-20", "vmin=-35.0", "-20"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_both_values(
    run_program: RunProgram, tmp_path: Path, given: str, now: str, before: str
) -> None:
    assert run_program(main, *TWO_EPOCHS, "hydra.run.dir=first")[0] == 0
    code, message = run_program(main, "resume=first", given, "hydra.run.dir=second")
    assert code == 1
    assert "\n" not in message
    assert now in message
    assert before in message


def test_inside_an_epoch_its_batches_cannot_be_changed(
    run_program: RunProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sar_codec.training.trainer import Trainer

    step = Trainer._step

    def stopped(self: Trainer, x: torch.Tensor) -> None:
        step(self, x)
        if self.batch == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_step", stopped)
        assert run_program(main, *TWO_EPOCHS, "hydra.run.dir=first")[0] == 143
    code, message = run_program(main, "resume=first", "data.batch_size=4", "hydra.run.dir=second")
    assert code == 1
    assert "data.batch_size: 4 now, 2 in the checkpoint" in message
    assert run_program(main, "resume=first", "data.num_workers=1", "hydra.run.dir=third")[0] == 0


def test_auto_begins_and_then_goes_on_in_place(run_program: RunProgram, tmp_path: Path) -> None:
    again = [*TINY, "hydra.run.dir=run", "resume=auto"]
    for epochs in (2, 4, 4):
        assert run_program(main, *again, f"trainer.epochs={epochs}")[0] == 0
    run = tmp_path / "run"
    log = (run / "training.log").read_text()
    assert log.count("Resumed from") == 2
    assert "Epoch 2/2" in log
    assert "Epoch 4/4" in log
    assert "Nothing left to train" in log
    assert sorted(path.name for path in run.glob(".hydra*")) == [".hydra", ".hydra.1", ".hydra.2"]
    assert "trainer.epochs=2" in (run / ".hydra.1" / "overrides.yaml").read_text()
    assert len((run / "history.csv").read_text().splitlines()) == 1 + 4
    assert not list(run.glob(".*.tmp")) + list(run.glob(".lock"))


def test_a_folder_with_a_run_is_left_as_it_is_without_resume(
    run_program: RunProgram, tmp_path: Path
) -> None:
    assert run_program(main, *TWO_EPOCHS, "hydra.run.dir=run")[0] == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, message = run_program(main, *TWO_EPOCHS, "seed=3", "hydra.run.dir=run")
    assert (code, message) == (
        1,
        "error: run: holds a run already; give another folder, or go on with it by resume=auto",
    )
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_folder_with_a_run_is_left_as_it_is_by_one_that_goes_on_from_another(
    run_program: RunProgram, tmp_path: Path
) -> None:
    assert run_program(main, *TWO_EPOCHS, "hydra.run.dir=old")[0] == 0
    again = ["resume=old", "trainer.epochs=4", "hydra.run.dir=new"]
    assert run_program(main, *again)[0] == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, message = run_program(main, *again)
    assert (code, "new: holds a run already" in message) == (1, True)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_auto_begins_where_a_first_save_never_came_to_its_end(
    run_program: RunProgram, tmp_path: Path
) -> None:
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / ".latest.pth.1.tmp").write_bytes(b"half")
    assert run_program(main, *TWO_EPOCHS, "hydra.run.dir=run", "resume=auto")[0] == 0
    assert not list(checkpoints.glob(".*"))


def test_an_experiments_run_goes_on_with_its_own_command(
    run_program: RunProgram, tmp_path: Path
) -> None:
    # An experiment that takes another group, whose keys the default one does not have.
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    experiment = """# @package _global_
defaults:
  - override /data: raster
  - override /optimizer: adamw
data: {patch_size: 32, batch_size: 2, quantity: db}
optimizer: {lr: 1e-3}
trainer: {epochs: 2, limit_batches: 2}
"""
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(experiment)
    generator = np.random.default_rng(0)
    for number in range(3):
        (tmp_path / "scenes").mkdir(exist_ok=True)
        scene = generator.normal(-10, 3, (64, 64)).astype(np.float32)
        np.save(tmp_path / "scenes" / f"{number}.npy", scene)
    model = ["device=cpu", "model.width=8", "model.depth=1"]
    mine = ["--config-dir=conf", "experiment=mine", "data.root=scenes", *model]
    auto = [*mine, "hydra.run.dir=run", "resume=auto"]
    assert run_program(main, *auto, "optimizer.lr=0.002")[0] == 0
    assert run_program(main, *auto, "trainer.epochs=3")[0] == 0
    config = saved_config(tmp_path / "run")
    assert config["data"]["root"] == "scenes"
    assert config["trainer"]["epochs"] == 3
    assert config["optimizer"]["lr"] == 1e-3  # the experiment is given again, and says so

    # Over a run of other groups it counts as a whole; its data is of another scale, so is refused.
    assert run_program(main, *TWO_EPOCHS, "hydra.run.dir=other")[0] == 0
    code, message = run_program(main, *mine, "resume=other", "optimizer=adam")
    assert code == 1
    assert "vmin" in message


def in_place(arguments: tuple[str, ...]) -> tuple[str, ...]:
    return (*TINY, *arguments, "hydra.run.dir=run", "resume=auto")


class Running:
    """`python -m sar_codec.train` in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log = folder / "run" / "training.log"
        self._begun = self._times("Device: ")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sar_codec.train", *in_place(arguments)],
            cwd=folder,
            start_new_session=True,  # a process group, as a terminal or Slurm makes one
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _times(self, text: str) -> int:
        return self.log.read_text().count(text) if self.log.exists() else 0

    def wait_until_it_trains(self) -> None:
        while self._times("Device: ") == self._begun and self.process.poll() is None:
            time.sleep(0.01)

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Its exit code and what it said on stderr."""
        said = self.process.communicate(timeout=300)[1]
        return self.process.returncode, said


def test_a_second_process_is_kept_from_a_folder_in_use(tmp_path: Path) -> None:
    endless = ("trainer.epochs=5000", "trainer.early_stopping_patience=5000")
    first, log = training(tmp_path, *in_place(endless)), tmp_path / "run" / "training.log"
    while first.code is None and not (log.exists() and "Device: " in log.read_text()):
        time.sleep(0.01)
    assert first.code is None, first.said
    hydra_config = (tmp_path / "run" / ".hydra" / "config.yaml").read_bytes()
    code, said = training(tmp_path, *in_place(("seed=9",))).end()
    assert code == 1
    assert f"process {first.pid} on " in said
    assert "Traceback" not in said
    assert (tmp_path / "run" / ".hydra" / "config.yaml").read_bytes() == hydra_config
    first.send(signal.SIGTERM)
    assert first.end()[0] == 143
    assert log.read_text().count("Config:") == 1


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR2, marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_all_processes_of_a_run_stops_it_and_leaves_no_worker(
    number: int, tmp_path: Path
) -> None:
    endless = ("trainer.epochs=5000", "trainer.early_stopping_patience=5000")
    running = Running(tmp_path, "data.num_workers=2", *endless)
    running.wait_until_it_trains()
    while not (tmp_path / "run" / "history.csv").exists() and running.process.poll() is None:
        time.sleep(0.01)
    os.killpg(running.process.pid, number)
    began = time.monotonic()
    assert running.end() == (128 + number, "")
    assert time.monotonic() - began < 10
    with pytest.raises(ProcessLookupError):
        os.killpg(running.process.pid, 0)
    log = running.log.read_text()
    assert "DataLoader" not in log
    assert f"Stopped by {signal.Signals(number).name} in epoch" in log
    checkpoint.load(tmp_path / "run" / "checkpoints" / "latest.pth")


# Before python has begun to run the program, a signal ends the process in its own way.
EXIT_CODES = {
    signal.SIGTERM: {143, -signal.SIGTERM},
    signal.SIGINT: {130, -signal.SIGINT},
    signal.SIGUSR2: {128 + signal.SIGUSR2, -signal.SIGUSR2},
    signal.SIGKILL: {-signal.SIGKILL},
}


def cut_at_random(
    folder: Path, whole: Path, numbers: list[int], seconds: float, is_forked: bool = False
) -> list[float]:
    """Sends signals at random instants, going on each time; gives how long each took to act."""
    rng = random.Random(len(numbers))
    times = []

    def begun() -> Forked | Running:
        return training(folder, *in_place(LONG)) if is_forked else Running(folder, *LONG)

    for number in numbers:
        running = begun()
        time.sleep(rng.uniform(0.0, seconds))
        began = time.monotonic()
        running.send(number)
        code, said = running.end()
        times.append(time.monotonic() - began)
        assert code in {0, *EXIT_CODES[signal.Signals(number)]}, said
        if number != signal.SIGINT:  # which, early on, shows where in the imports it came
            assert "Traceback" not in said
        kept = folder / "run" / "checkpoints"
        for path in kept.glob("*.pth"):
            checkpoint.load(path)  # none is unreadable
    assert begun().end() == (0, "")
    assert difference_of_runs(whole, folder / "run") is None
    return times


LONG = (
    "trainer.epochs=60",
    "trainer.early_stopping_patience=5000",
    "trainer.checkpoint_every_minutes=0.002",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 60 epochs, a few seconds, that was never cut."""
    folder = tmp_path_factory.mktemp("whole")
    assert training(folder, *in_place(LONG)).end() == (0, "")
    return folder / "run"


def test_twenty_kills_at_random_instants_change_nothing(whole: Path, tmp_path: Path) -> None:
    """Of processes that need not import anything, so that most are cut in their training."""
    cut_at_random(tmp_path, whole, [signal.SIGKILL] * 20, 1.0, is_forked=True)


@pytest.mark.slow
def test_two_hundred_kills_at_random_instants_change_nothing(whole: Path, tmp_path: Path) -> None:
    for part in range(10):
        (tmp_path / str(part)).mkdir()
        cut_at_random(tmp_path / str(part), whole, [signal.SIGKILL] * 20, 4.5)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
def test_fifty_signals_at_random_instants_are_obeyed_in_time_and_change_nothing(
    number: int, whole: Path, tmp_path: Path
) -> None:
    for part in range(5):
        (tmp_path / str(part)).mkdir()
        assert max(cut_at_random(tmp_path / str(part), whole, [number] * 10, 4.5)) < 10
