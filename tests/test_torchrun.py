"""`torchrun -m sar_codec.train`, as people type it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sar_codec import benchmark
from sar_codec.processes import agree_on_run_dir
from sar_codec.status import read_status
from sar_codec.train import main
from sar_codec.training import checkpoint

RunProgram = Callable[..., tuple[int, str]]

TINY = (
    "device=cpu",
    "data.scenes=6",
    "data.size=64",
    "data.patch_size=32",
    "data.batch_size=3",
    "model.width=8",
    "model.depth=1",
)


def torchrun(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def children(process: int) -> list[int]:
    listed = subprocess.run(
        ["pgrep", "-P", str(process)], capture_output=True, text=True, check=False
    )
    return [int(each) for each in listed.stdout.split()]


def test_one_folder_through_a_kill_a_restart_and_a_signal_and_one_process_goes_on(
    run_program: RunProgram, tmp_path: Path
) -> None:
    endless = ("trainer.epochs=5000", "trainer.early_stopping_patience=5000")
    process = torchrun(tmp_path, "--max-restarts=2", "-m", "sar_codec.train", *TINY, *endless)

    def wait_for(text: str) -> Path:
        while process.poll() is None:
            for log in tmp_path.glob("outputs/*/*/training.log"):
                if text in log.read_text():
                    return log.parent
            time.sleep(0.02)
        raise AssertionError(process.communicate())

    run = wait_for("] Epoch 1/")
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    assert wait_for("Resumed from ") == run
    epoch = checkpoint.load(run / "checkpoints" / "latest.pth").epoch
    wait_for(f"] Epoch {epoch + 1}/")
    os.kill(children(process.pid)[-1], signal.SIGUSR2)  # for torchrun, another fault
    said, complained = process.communicate(timeout=60)
    assert said.count("Stopped by SIGUSR2") == 1
    assert "Gloo" not in complained
    assert list(tmp_path.glob("outputs/*/*")) == [run], "a folder for each process or restart"
    assert read_status(run)["status"] == "stopped"
    log = (run / "training.log").read_text()
    assert log.count("Config:") == 2, "once for each start"
    assert len({line for line in log.splitlines() if "] Epoch 1/" in line}) == 1
    rows = (run / "history.csv").read_text().splitlines()
    state = checkpoint.load(run / "checkpoints" / "latest.pth")
    assert [row.split(",")[0] for row in rows[1:]] == [str(each + 1) for each in range(state.epoch)]
    assert state.made_with["processes"] == 2

    more = [f"trainer.epochs={state.epoch + 1}", f"hydra.run.dir={run}", "resume=auto"]
    assert run_program(main, *more)[0] == 0
    log = (run / "training.log").read_text()
    assert "processes 1 (was 2): results will not be the same to the last bit" in log


@pytest.mark.slow
def test_what_is_wrong_is_told_without_a_traceback(tmp_path: Path) -> None:
    process = torchrun(tmp_path, "-m", "sar_codec.train", *TINY, "trainer.epochs=many")
    complained = process.communicate(timeout=100)[1]
    assert process.returncode == 1
    lines = complained.splitlines()
    assert len([line for line in lines if line.startswith("error: trainer.epochs=many: ")]) == 1
    # torchrun's own account follows, which shows where in torchrun it ended.
    ours = complained.partition("torch/distributed/elastic")[0]
    assert "Traceback" not in ours


def test_other_programs_are_for_one_process(
    run_program: RunProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "RANK": "0",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "x",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    code, message = run_program(benchmark.main, *TINY, "hydra.job.name=mine")
    assert code == 1
    assert message == "error: benchmark is for one process: start it without torchrun"
    assert not list(tmp_path.iterdir())


def test_the_folder_of_one_process_is_its_own() -> None:
    assert agree_on_run_dir("mine") == ("mine", False)
