"""The program that tells users whether their own experiment resumes exactly."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sar_codec.training import checkpoint
from sar_codec.training.sameness import difference_of_runs, difference_of_states
from sar_codec.verify_resume import Training, main

RunProgram = Callable[..., tuple[int, str]]
SMALL = (
    "data.scenes=6",
    "data.size=64",
    "data.patch_size=32",
    "data.batch_size=2",
    "model.width=8",
    "model.depth=1",
    "trainer.epochs=4",
    "cuts=2",
)


def test_it_cuts_and_finds_the_runs_equal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sar_codec.verify_resume", *SMALL, 'hydra.run.dir="a, b=c"']
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    for part in ("Trained without a cut in", "Cut 1: SIGTERM", "Cut 2: SIGKILL", "Equal: "):
        assert part in ended.stdout
    assert "watcher" not in ended.stdout  # TensorBoard's
    assert difference_of_runs(tmp_path / "a, b=c" / "whole", tmp_path / "a, b=c" / "cut") is None


@pytest.mark.slow  # another run of the test above
def test_it_names_what_differs(
    run_program: RunProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Training, "cut", lambda *_: "not cut")
    run = Training.run

    def run_and_change(self: Training) -> float:
        seconds = run(self)
        if self.run_dir.name == "cut":
            latest = self.run_dir / "checkpoints" / "latest.pth"
            state = checkpoint.load(latest)
            state.model_state_dict["analyse.1.bias"][0] += 1e-6
            checkpoint.save(state, latest)
        return seconds

    monkeypatch.setattr(Training, "run", run_and_change)
    code, message = run_program(main, *SMALL, "trainer.epochs=1", "hydra.run.dir=x")
    assert code == 1
    assert "model_state_dict.analyse.1.bias: 1 of 8 values differ, by up to " in message


@pytest.mark.slow  # a run that must begin, to fail
def test_a_training_that_fails_is_told(run_program: RunProgram) -> None:
    code, message = run_program(main, "data=raster", "data.root=nowhere", "data.quantity=db")
    assert code == 1
    assert "nowhere: no such folder" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("entry", "value", "told"),
    [
        ("best_val_loss", 2.0, "best_val_loss: 1.0 and 2.0"),
        ("best_epoch", None, "best_epoch: int and NoneType"),
        ("model_state_dict", {"w": torch.tensor([0.0, -0.0])}, "w: 0 of 2 values differ"),
        (
            "model_state_dict",
            {"w": torch.zeros(2, dtype=torch.float64)},
            r"torch.float32 \[2\] and",
        ),
        ("model_state_dict", {"v": torch.zeros(2)}, "model_state_dict: only one has"),
        ("history", [{"val_loss": 1.0, "seconds": 9.0}] * 2, "history: 1 and 2 entries"),
        ("random_states", {"numpy": b"acd"}, "random_states.numpy: 2 bytes and 3 others"),
        (
            "history",
            [{"val_loss": float("nan"), "seconds": 9.0}],
            "history.0.val_loss: 1.0 and nan",
        ),
    ],
)
def test_states_are_compared_to_the_last_bit(entry: str, value: object, told: str) -> None:
    first, second = a_state(), a_state()
    assert difference_of_states(first, second) is None
    setattr(second, entry, value)
    difference = difference_of_states(first, second)
    assert difference
    assert re.search(told, difference)


def test_times_and_places_are_left_out() -> None:
    first, second = a_state(), a_state()
    second.history = [{"val_loss": 1.0, "seconds": 9.0}]
    second.config = {"resume": "auto"}
    second.made_with = {"torch": "3"}
    assert difference_of_states(first, second) is None


def a_state() -> checkpoint.State:
    return checkpoint.State(
        epoch=1,
        batch=0,
        global_step=4,
        model_state_dict={"w": torch.zeros(2)},
        optimizer="Adam",
        optimizer_state_dict={},
        given_learning_rate=0.1,
        scheduler_state_dict={},
        best_val_loss=1.0,
        best_epoch=1,
        epochs_without_improvement=0,
        train_sums={},
        gradients=None,
        bad_steps_in_row=0,
        ema_state_dict=None,
        random_states_of_others=[],
        random_states={"numpy": b"ab"},
        epoch_random_states=None,
        config={"resume": None},
        preprocessing_params={},
        history=[{"val_loss": 1.0, "seconds": 1.0}],
        made_with={"torch": "2"},
    )
