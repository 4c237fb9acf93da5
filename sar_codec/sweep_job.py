"""A job of a sweep: a run in a process of its own, which can die without ending the sweep."""

import logging
import math
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig

from sar_codec.config import override
from sar_codec.errors import UserError
from sar_codec.run_lock import locked
from sar_codec.signals import noting_signals
from sar_codec.status import FAILED, FINISHED, KILLED, RUNNING, STOPPED, read_status, update_status
from sar_codec.sweep import JOB_NUMBER, LEFT_TO_THE_JOB, Plan, write_table

log = logging.getLogger(__name__)

_OF_THE_SWEEP = (
    *("hydra.mode", "hydra.sweep.", "hydra.run.dir", "hydra/sweeper", "hydra.sweeper"),
    *("hydra/launcher", "hydra.launcher"),
)


def run_sweep_job(program: str) -> float:
    """Runs the job that Hydra has just begun; what happens to it is left in its status.json.

    One that has finished already is not run again; one that was cut goes on.

    Args:
        program: `"train"` for `python -m sar_codec.train`.

    Returns:
        The job's result; infinity if it has none: the worst that there is to minimise.

    Raises:
        Stopped: a signal came; the job has saved.
    """
    job = HydraConfig.get()
    number, folder, sweep = job.job.num, Path(job.runtime.output_dir), Path(job.sweep.dir)
    if read_status(folder).get("status") == FINISHED:
        print(f"Job {number} has finished already: {folder}")
        return _result(folder)
    try:
        with locked(folder):
            update_status(folder, overrides=list(job.overrides.task))
        _run(_command(program, job, folder, Plan.read(sweep).swept), folder)
    except UserError as error:
        print(f"error in job {number}: {error}", file=sys.stderr)
    finally:
        write_table(sweep)
    return _result(folder)


def _result(folder: Path) -> float:
    result = read_status(folder).get("result")
    return math.inf if result is None else float(result)


def _command(program: str, job: HydraConf, folder: Path, swept: Sequence[str]) -> list[str]:
    """The job as a command of its own, which goes on in its folder if it had begun there."""
    configs = [each.path for each in job.runtime.config_sources if each.provider == "command-line"]
    given = [
        each
        for each in job.overrides.hydra
        if each not in LEFT_TO_THE_JOB and not each.lstrip("+~").startswith(_OF_THE_SWEEP)
    ]
    task = [each for each in job.overrides.task if not each.lstrip("+").startswith("hparams=")]
    begun = any((folder / "checkpoints").glob("*.pth"))
    if begun:
        task = [each for each in task if not each.lstrip("+").startswith("resume=")]
    return [
        *[sys.executable, "-m", f"sar_codec.{program}"],
        *[f"--config-name={job.job.config_name}"],
        *[f"--config-dir={path}" for path in configs],
        *[
            *given,
            "hydra.mode=RUN",
            f"{JOB_NUMBER}{job.job.num}",
            override("hydra.run.dir", folder),
        ],
        *[*task, f"hparams=[{','.join(swept)}]"],
        *(["resume=auto"] if begun else []),
    ]


def _run(command: list[str], folder: Path) -> None:
    """Waits for the process and passes signals on to it; a death that it did not tell of is told.

    Raises:
        UserError: its status cannot be written.
        Stopped: a signal came, which the process was told.
    """
    update_status(folder, status=RUNNING, reason=None, result=None)
    with noting_signals() as stop:
        process = subprocess.Popen(command)
        stop.pass_on_to(process.send_signal)
        code = process.wait()
        if read_status(folder).get("status") != RUNNING:
            return
        if stop.number is not None:  # before it could do anything
            update_status(folder, status=STOPPED, reason=signal.Signals(stop.number).name)
            return
        status, reason = _manner_of_death(code)
        update_status(folder, status=status, reason=reason)
        # By logging: into the job's training.log too.
        log.error("%s: %s", folder, reason)


def _manner_of_death(code: int) -> tuple[str, str]:
    if code >= 0:
        return FAILED, f"ended with exit code {code} before it had finished"
    name = signal.Signals(-code).name
    perhaps = ", perhaps for want of memory" if code == -signal.SIGKILL else ""
    return KILLED, f"killed by {name}{perhaps}"
