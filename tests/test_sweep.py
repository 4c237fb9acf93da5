"""Sweeps: `python -m sar_codec.train -m`, with jobs that die in all ways."""

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from forked_training import Forked, train_killed
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sar_codec.config import CONF_DIR
from sar_codec.status import read_status, update_status
from sar_codec.train import main
from sar_codec.training import checkpoint

RunProgram = Callable[..., tuple[int, str]]

TINY = (
    "device=cpu",
    "trainer.epochs=2",
    "trainer.limit_batches=2",
    "data.scenes=3",
    "data.size=64",
    "data.patch_size=32",
    "data.batch_size=2",
    "model.width=8",
    "model.depth=1",
)
SWEEP = ("-m", *TINY, "hydra.sweep.dir=sweep")

# What python runs before anything else: jobs of some seeds come to an end of their own.
FAULTS = '''
import os, signal, sys

def out_of_memory():
    bytearray(1 << 46)

def divided_by_zero():
    1 / 0

FAULTS = {
    "seed=1": divided_by_zero,
    "seed=2": lambda: sys.exit(0),
    "seed=3": lambda: sys.exit("had enough"),
    "seed=4": out_of_memory,
    "seed=6": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "seed=7": lambda: os._exit(0),
}

class Fault:
    """Strikes where a job's program begins to import what it trains with."""
    def find_spec(self, name, path=None, target=None):
        if name == "sar_codec.training.checkpoint":
            for argument in sys.argv:
                FAULTS.get(argument, lambda: None)()

sys.meta_path.insert(0, Fault())
'''


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes processes that are started here die as FAULTS says."""
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "sitecustomize.py").write_text(FAULTS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "faults"))


def table(sweep: Path) -> list[dict[str, str]]:
    with (sweep / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_leaves_full_runs_a_table_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", "-m", *TINY, "optimizer.lr=1e-2,1e-4"])
    main()
    (sweep,) = tmp_path.glob("outputs/multirun/*/*")
    rows = table(sweep)
    assert [row["folder"] for row in rows] == ["0", "1"]
    for row, rate in zip(rows, (1e-2, 1e-4), strict=True):
        job = sweep / row["folder"]
        assert {path.name for path in job.iterdir()} == {
            *(".hydra", "training.log", "tensorboard", "history.csv", "checkpoints"),
            *("status.json", "environment.json"),
        }
        config = yaml.safe_load((job / ".hydra" / "config.yaml").read_text())
        assert config["optimizer"]["lr"] == rate
        assert (job / "training.log").read_text().count("Epoch 1/2") == 1
        state = checkpoint.load(job / "checkpoints" / "latest.pth")
        best = state.history[(state.best_epoch or 0) - 1]
        assert row["overrides"].endswith(f"optimizer.lr={rate}")
        assert row["status"] == "finished"
        assert row["best_epoch"] == str(state.best_epoch)
        assert float(row["best_val_loss"]) == state.best_val_loss
        assert float(row["psnr"]) == best["val_psnr"]
        assert float(row["ssim"]) == best["val_ssim"]
        assert row["epochs"] == "2"
        assert float(row["seconds"]) == sum(each["seconds"] for each in state.history)
    said = capsys.readouterr().out.splitlines()
    named = [line.split()[0] for line in said if line.startswith("lr=")]
    order = sorted(rows, key=lambda row: float(row["best_val_loss"]))
    assert named == [f"lr={row['overrides'].rpartition('=')[2]}" for row in order]
    assert (sweep / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_tensorboards_hparams_are_in_the_runs_own_events(
    run_program: RunProgram, tmp_path: Path
) -> None:
    keys = "hparams=[optimizer.lr,optimizer,trainer.compile,optimizer.betas]"
    assert run_program(main, *TINY, keys, "trainer.profile=true", "hydra.run.dir=run")[0] == 0
    assert len(list((tmp_path / "run" / "profile").glob("*.pt.trace.json"))) == 1
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    shown = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    for part in (b"optimizer.lr", b"adam", b"trainer.compile", b"[0.9, 0.999]"):
        assert part in shown
    state = checkpoint.load(tmp_path / "run" / "checkpoints" / "best.pth")
    for name in ("loss", "psnr", "ssim"):
        wanted = torch.tensor(state.history[-1][f"val_{name}"])  # as TensorBoard keeps it
        assert events.Scalars(f"best/{name}")[-1].value == float(wanted)


def test_hparams_of_no_key_are_refused(run_program: RunProgram) -> None:
    code, message = run_program(main, *TINY, "hparams=[optimizer.lrr]")
    assert (code, message) == (
        1,
        "error: hparams: optimizer.lrr is no key of the config; give keys as optimizer.lr",
    )


@pytest.mark.usefixtures("faults")
def test_jobs_that_die_are_told_of(run_program: RunProgram, tmp_path: Path) -> None:
    code, message = run_program(main, *SWEEP, "seed=1,2,3,4,6,7")
    assert code == 1
    assert message.startswith("error: 6 of 6 jobs did not finish: 0: ZeroDivisionError")
    assert message.endswith(f"the same command with hydra.sweep.dir={tmp_path}/sweep")
    assert "\n" not in message
    expected = [
        (1, "failed", "ZeroDivisionError: division by zero", "divided_by_zero"),
        (2, "failed", "SystemExit: 0", "sys.exit(0)"),
        (3, "failed", "SystemExit: had enough", "sys.exit"),
        (4, "failed", "MemoryError", "bytearray"),
        (6, "killed", "killed by SIGSEGV", "Fault"),
        (7, "failed", "ended with exit code 0 before it had finished", ""),
    ]
    for job, (seed, status, reason, trace) in enumerate(expected):
        assert_told(tmp_path / "sweep", job, seed, status, reason)
        log = (tmp_path / "sweep" / str(job) / "training.log").read_text()
        assert ("File " in log) == bool(trace)
        assert trace in log or job == 4  # killed by SIGSEGV: its trace is of C


class ForkedJob:
    """`subprocess.Popen` of a job, three seconds sooner, which may be killed."""

    def __init__(self, command: list[str], cwd: str) -> None:
        assert command[:3] == [sys.executable, "-m", "sar_codec.train"]
        self._forked = Forked(Path(cwd), train_killed, *command[3:])
        self.send_signal = self._forked.send

    def wait(self) -> int:
        return self._forked.end()[0]


def test_the_others_run_and_a_second_time_go_on(
    run_program: RunProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sar_codec.sweep_job.subprocess", SimpleNamespace(Popen=ForkedJob))
    killed = "killed by SIGKILL, perhaps for want of memory"
    command = [*SWEEP, "seed=0,5,8"]  # that of 8 is killed after an epoch
    code, message = run_program(main, *command)
    assert code == 1
    assert "2 of 3 jobs did not finish: 1, 2: killed by SIGKILL" in message
    sweep = tmp_path / "sweep"
    for job, seed, status, reason in ((0, 0, "finished", ""), (1, 5, "killed", killed)):
        assert_told(sweep, job, seed, status, reason)
    assert_told(sweep, 2, 8, "killed", killed)
    kept = (sweep / "0" / "checkpoints" / "latest.pth").stat()
    log = (sweep / "0" / "training.log").read_bytes()

    code, message = run_program(main, *command)
    assert code == 1
    assert "1 of 3 jobs did not finish: 1: " in message
    assert (sweep / "0" / "checkpoints" / "latest.pth").stat() == kept
    assert (sweep / "0" / "training.log").read_bytes() == log
    assert "Resumed from" in (sweep / "2" / "training.log").read_text()
    assert [row["status"] for row in table(sweep)][-1] == "finished"
    assert table(sweep)[-1]["epochs"] == "2"


def assert_told(sweep: Path, job: int, seed: int, status: str, reason: str) -> None:
    """In the table, in the job's folder and in its log."""
    row = table(sweep)[job]
    assert (row["status"], row["reason"]) == (status, reason)
    told = json.loads((sweep / str(job) / "status.json").read_text())
    assert (told["status"], told["reason"] or "") == (status, reason)
    assert told["overrides"][-1] == f"seed={seed}"
    assert reason in (sweep / str(job) / "training.log").read_text()


def test_another_sweep_in_its_folder_is_refused_and_so_is_a_second_at_once(
    run_program: RunProgram, tmp_path: Path
) -> None:
    (tmp_path / "sweep").mkdir()
    given = [*TINY, "seed=1,2"]
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps({"given": given, "swept": ["seed"]}))
    code, message = run_program(main, *SWEEP, "seed=1,2,3")
    assert code == 1
    assert "seed=1,2, which is not" in message
    assert "\n" not in message
    assert os.listdir(tmp_path / "sweep") == ["sweep.json"]
    holder = subprocess.Popen(
        [
            *[sys.executable, "-c"],
            "from pathlib import Path; from sar_codec.run_lock import hold; "
            "hold(Path('sweep')); print(flush=True); input()",
        ],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout and holder.stdin
    holder.stdout.readline()
    code, message = run_program(main, *SWEEP, "seed=1,2")
    holder.communicate(b"\n")
    assert code == 1
    assert f"process {holder.pid} on " in message


@pytest.mark.usefixtures("faults")
def test_a_folder_that_is_another_jobs_is_not_taken_for_this_ones(
    run_program: RunProgram, tmp_path: Path
) -> None:
    code, message = run_program(main, *SWEEP, "hydra.sweep.subdir=same", "seed=1,2")
    assert code == 1
    assert "same: holds the job " in message
    assert "seed=1, which is not " in message
    assert "1 of 1 jobs did not finish: same: ZeroDivisionError" in message
    assert "\n" not in message
    assert [row["overrides"].rpartition(" ")[2] for row in table(tmp_path / "sweep")] == ["seed=1"]


@pytest.mark.usefixtures("faults")
@pytest.mark.parametrize("given", ["hydra.job.chdir=true", "hydra/job_logging=disabled"])
def test_hydras_own_settings_reach_the_jobs(
    given: str, run_program: RunProgram, tmp_path: Path
) -> None:
    code, message = run_program(main, *SWEEP, given, "seed=1,2")
    assert code == 1
    assert "0: ZeroDivisionError: division by zero; 1: SystemExit: 0; to run these" in message
    for job in ("0", "1"):
        config = yaml.safe_load((tmp_path / "sweep" / job / ".hydra" / "hydra.yaml").read_text())
        assert given in config["hydra"]["overrides"]["hydra"]
        assert config["hydra"]["job"]["num"] == int(job)


@pytest.mark.usefixtures("faults")
def test_the_same_command_is_quoted_for_a_shell(run_program: RunProgram, tmp_path: Path) -> None:
    given = 'hydra.sweep.dir="a b, c=d"'
    code, message = run_program(main, "-m", *TINY, given, "hparams=[optimizer.lr]", "seed=1,2")
    assert code == 1
    (again,) = shlex.split(message.partition("the same command with ")[2])
    assert again == f'hydra.sweep.dir="{tmp_path}/a b, c=d"'
    recorded = yaml.safe_load((tmp_path / "a b, c=d" / "0" / ".hydra" / "config.yaml").read_text())
    assert recorded["hparams"] == ["optimizer.lr", "seed"]


def test_a_launcher_that_fails_does_not_hide_what_became_of_the_jobs(
    run_program: RunProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        update_status(Path(HydraConfig.get().runtime.output_dir), status="running")
        raise RuntimeError("Job 3 did not come back\nwith a log of many lines")

    monkeypatch.setattr("sar_codec.program.run_sweep_job", lost)
    code, message = run_program(main, *SWEEP, "seed=1,2")
    assert code == 1
    assert message.startswith("error: Job 3 did not come back; 2 of 2 jobs did not finish: 0, 1: ")
    assert "\n" not in message
    assert [row["status"] for row in table(tmp_path / "sweep")] == ["running", "running"]


@pytest.mark.usefixtures("faults")
def test_a_picture_that_fails_does_not_hide_which_jobs_did(
    run_program: RunProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sar_codec.sweep.draw", lambda *_: 1 / 0)
    code, message = run_program(main, *SWEEP, "seed=1,2")
    assert code == 1
    assert "2 of 2 jobs did not finish" in message


@pytest.mark.usefixtures("faults")
@pytest.mark.slow  # twelve jobs
def test_failing_jobs_leave_no_memory_behind(tmp_path: Path) -> None:
    """Hydra alone keeps what a failed job held: 300 MB each, where it holds that much."""
    (tmp_path / "faults" / "sitecustomize.py").write_text(
        FAULTS
        + """
def after_a_job():
    with open(f"/proc/{os.getppid()}/statm") as memory, open("resident.txt", "a") as file:
        print(int(memory.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"), file=file)
    divided_by_zero()
FAULTS = {f"seed={number}": after_a_job for number in range(11)}
"""
    )
    done = subprocess.run(
        [sys.executable, "-m", "sar_codec.train", *SWEEP, "seed=range(11)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "error: 11 of 11 jobs did not finish: 0, 1, 2, 3, 4, 5, 6" in done.stderr
    resident = [int(line) for line in (tmp_path / "resident.txt").read_text().splitlines()]
    assert len(resident) == 11
    assert resident[-1] - resident[1] < 20e6, resident


class Sweep:
    """`python -m sar_codec.train -m` in a process of its own, of jobs that take long."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.folder = folder / "sweep"
        endless = ("trainer.epochs=5000", "trainer.early_stopping_patience=5000")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sar_codec.train", *SWEEP, *endless, *arguments],
            cwd=folder,
            env=os.environ | environment,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, name: str) -> None:
        while not (self.folder / name).exists() and self.process.poll() is None:
            time.sleep(0.01)

    def end(self) -> tuple[int, str, str]:
        said = self.process.communicate(timeout=100)
        return self.process.returncode, *said


@pytest.mark.parametrize(
    ("send", "launcher", "running"),
    [
        (os.killpg, "basic", 1),
        pytest.param(os.kill, "joblib", 2, marks=pytest.mark.slow),  # a quarter of a minute
    ],
)
def test_a_signal_stops_the_jobs_and_the_sweep(
    send: Callable[[int, int], None],
    launcher: str,
    running: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Joblib's jobs are two at once, each with its share of the cores."""
    n_jobs = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="extra joblib")
        monkeypatch.delenv("OMP_NUM_THREADS")
    sweep = Sweep(tmp_path, "seed=1,2,3", f"hydra/launcher={launcher}", *n_jobs)
    for job in range(running):
        sweep.wait_for(f"{job}/history.csv")
    send(sweep.process.pid, signal.SIGTERM)
    code, said, complained = sweep.end()
    assert (code, complained) == (143, "")
    assert said.count(f"To go on: the same command with hydra.sweep.dir={sweep.folder}") == 1
    assert [row["status"] for row in table(sweep.folder)] == ["stopped"] * running
    for job in range(running if launcher == "joblib" else 0):
        told: dict[str, Any] = json.loads(
            (sweep.folder / str(job) / "environment.json").read_text()
        )
        assert told["threads"] == max(1, told["cores"] // 2)
    state = checkpoint.load(sweep.folder / "0" / "checkpoints" / "latest.pth")
    assert f"Stopped by SIGTERM in epoch {state.epoch + 1}" in said
    ends_at = time.monotonic() + 20  # joblib's own processes take a moment
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < ends_at:
            os.killpg(sweep.process.pid, 0)
            time.sleep(0.1)


@pytest.mark.slow
def test_submitit_puts_a_preempted_job_back_and_it_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="extra submitit")
    sweep = Sweep(
        tmp_path, "hydra/launcher=submitit_local", "seed=1", "trainer.epochs=60"
    )  # the last of two values counts
    sweep.wait_for("0/history.csv")
    (job,) = (tmp_path / "sweep" / ".submitit").glob("[0-9]*")
    started = subprocess.run(
        ["pgrep", "-P", job.name], capture_output=True, text=True, check=True
    ).stdout
    os.kill(int(started), signal.SIGUSR2)
    code, _, complained = sweep.end()
    assert (code, complained) == (0, "")
    log = (sweep.folder / "0" / "training.log").read_text()
    assert "Stopped by SIGUSR2 in epoch" in log
    assert "Resumed from" in log
    assert read_status(sweep.folder / "0")["status"] == "finished"
    assert table(sweep.folder)[0]["epochs"] == "60"


def test_slurm_jobs_go_on_after_running_out_of_time(
    run_program: RunProgram, tmp_path: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="extra submitit")
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("train", ["hydra/launcher=slurm"], return_hydra_config=True)
    launcher = config.hydra.launcher
    assert launcher._target_.endswith(".SlurmLauncher")
    assert launcher.max_num_timeout > 0
    assert launcher.gpus_per_node == 1
    code, message = run_program(main, *SWEEP, "hydra/launcher=slurm", "seed=1,2")
    assert code == 1
    assert "srun" in message and "\n" not in message, "there is no Slurm here"


def test_a_launcher_that_is_not_there_is_one_line(run_program: RunProgram) -> None:
    code, message = run_program(main, *SWEEP, "hydra/launcher=loky", "seed=1,2")
    assert code == 1
    assert "'hydra/launcher/loky'" in message and "\n" not in message
    assert message.endswith("pip install 'sar_codec[joblib,submitit]'")


def test_a_sweep_under_torchrun_is_refused_once(
    run_program: RunProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    for rank, expected in ((0, "error: a sweep under torchrun: "), (1, "")):
        monkeypatch.setenv("RANK", str(rank))
        code, message = run_program(main, *SWEEP, "seed=1,2")
        assert code == 1
        assert message.startswith(expected) and "\n" not in message
        assert bool(message) == (rank == 0)
    assert not (tmp_path / "sweep").exists()
