"""What a run's folder says became of it."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from sar_codec.status import FINISHED, RunStatus, read_status, update_status
from sar_codec.train import main

RunProgram = Callable[..., tuple[int, str]]

TINY = (
    *("trainer=smoke", "device=cpu", "data.scenes=3", "data.size=64", "data.patch_size=32"),
    *("data.batch_size=2", "model.width=8", "model.depth=1", "hydra.run.dir=run"),
)


def test_a_run_tells_from_its_first_moment_to_its_last(
    run_program: RunProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sar_codec.training.trainer import Trainer

    train_epoch = Trainer.train_epoch
    during = []

    def looked_at(self: Trainer) -> dict[str, float]:
        during.append(read_status(tmp_path / "run"))
        return train_epoch(self)

    monkeypatch.setattr(Trainer, "train_epoch", looked_at)
    assert run_program(main, *TINY)[0] == 0
    assert during[0]["status"] == "running"
    assert during[0]["process"] == os.getpid()
    status = read_status(tmp_path / "run")
    assert status["status"] == "finished"
    assert status["began"] <= status["ended"]
    assert 0 < status["result"] < 1


@pytest.mark.parametrize(
    ("ending", "status", "reason", "code"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "stopped", "SIGTERM", 143),
        (lambda: exit(0), "failed", "SystemExit: 0", 1),
        (lambda: 1 / 0, "failed", "ZeroDivisionError: division by zero", None),
    ],
)
def test_an_end_before_its_time_is_told_with_its_reason(
    ending: Callable[[], object],
    status: str,
    reason: str,
    code: int | None,
    run_program: RunProgram,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sar_codec.training.trainer import Trainer

    step = Trainer._step

    def ended(self: Trainer, batches: list[object]) -> None:
        ending()
        step(self, batches)  # type: ignore[arg-type]  # they are tensors

    monkeypatch.setattr(Trainer, "_step", ended)
    if code is None:
        with pytest.raises(ZeroDivisionError):
            run_program(main, *TINY)
    else:
        assert run_program(main, *TINY)[0] == code
    told = read_status(tmp_path / "run")
    assert (told["status"], told["reason"]) == (status, reason)
    if code == 1:
        assert "exit(0)" in (tmp_path / "run" / "training.log").read_text()


def test_entries_are_written_over_those_that_are_there(tmp_path: Path) -> None:
    update_status(tmp_path, status="running", overrides=["seed=1"])
    RunStatus(tmp_path).ended(FINISHED, result=0.5)
    status = read_status(tmp_path)
    assert status["overrides"] == ["seed=1"]
    assert (status["status"], status["result"]) == ("finished", 0.5)


@pytest.mark.parametrize("content", ["", "{", "[1]", "\ud800".encode("utf-8", "surrogatepass")])
def test_a_damaged_status_says_nothing(tmp_path: Path, content: str | bytes) -> None:
    is_bytes = isinstance(content, bytes)
    (tmp_path / "status.json").write_bytes(content if is_bytes else content.encode())
    assert read_status(tmp_path) == {}


def test_a_status_that_cannot_be_written_ends_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    RunStatus(tmp_path / "file").ended(FINISHED)


def test_a_process_that_is_not_the_first_writes_none(tmp_path: Path) -> None:
    RunStatus(None).ended(FINISHED)
    assert not list(tmp_path.iterdir())


def test_what_is_no_number_is_no_result(tmp_path: Path) -> None:
    RunStatus(tmp_path).ended(FINISHED, result="much")
    assert json.loads((tmp_path / "status.json").read_text())["result"] is None
