"""A job of a sweep: a run in a process of its own, which can die without ending the sweep."""

import logging
import math
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sar_codec.config import override
from sar_codec.errors import UserError
from sar_codec.run_lock import locked
from sar_codec.signals import Stopped, noting_signals
from sar_codec.status import FAILED, FINISHED, KILLED, RUNNING, STOPPED, read_status, update_status
from sar_codec.sweep import JOB_NUMBER, Plan, begun_here, is_ours, is_stopped, write_table

log = logging.getLogger(__name__)

_OF_THE_SWEEP = (
    *("hydra.mode", "hydra.sweep.", "hydra.run.dir", "hydra/sweeper", "hydra.sweeper"),
    *("hydra/launcher", "hydra.launcher"),
)


def run_sweep_job(program: str, cfg: DictConfig) -> float:
    """Runs the job that Hydra has just begun; what happens to it is left in its status.json.

    One that has finished already is not run again; one that was cut goes on.

    Args:
        program: `"train"` for `python -m sar_codec.train`.
        cfg: the job's config.

    Returns:
        The job's result; infinity if it has none: the worst that there is to minimise.

    Raises:
        UserError: the folder is another job's, in use, or cannot be written.
        Stopped: a signal came to the process that began the sweep; the job has saved.
    """
    job = HydraConfig.get()
    folder, sweep, given = (
        Path(job.runtime.output_dir),
        Path(job.sweep.dir),
        list(job.overrides.task),
    )
    status = read_status(folder)
    if (before := status.get("overrides", given)) != given:
        raise UserError(
            f"{folder}: holds the job {' '.join(before)}, which is not {' '.join(given)}; give "
            "another folder, or each job one of its own by hydra.sweep.subdir"
        )
    if status.get("status") == FINISHED:
        print(f"Job {job.job.num} has finished already: {folder}")
    elif not is_stopped(sweep):
        shown = dict.fromkeys([*cfg.get("hparams", []), *Plan.read(sweep).swept])
        try:
            with locked(folder):
                update_status(folder, overrides=given)
            _run(_command(program, job, folder, shown), job.runtime.cwd, folder)
        except Stopped:
            # A launcher's own process goes on as the launcher wants it to.
            if begun_here():
                raise
        finally:
            write_table(sweep)
    result = read_status(folder).get("result")
    return math.inf if result is None else float(result)


def _command(program: str, job: HydraConf, folder: Path, shown: Iterable[str]) -> list[str]:
    """The job as a command of its own, which goes on in its folder if it had begun there."""
    configs = [each.path for each in job.runtime.config_sources if each.provider == "command-line"]
    given = [
        each
        for each in job.overrides.hydra
        if not is_ours(each) and not each.lstrip("+~").startswith(_OF_THE_SWEEP)
    ]
    begun = any((folder / "checkpoints").glob("*.pth"))
    left_out = ("hparams=", "resume=") if begun else ("hparams=",)
    task = [each for each in job.overrides.task if not each.lstrip("+").startswith(left_out)]
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
        *[*task, f"hparams=[{','.join(shown)}]"],
        *(["resume=auto"] if begun else []),
    ]


def _run(command: list[str], cwd: str, folder: Path) -> None:
    """Waits for the process and passes signals on to it; a death that it did not tell of is told.

    Raises:
        UserError: its status cannot be written.
        Stopped: a signal came, which the process was told.
    """
    update_status(folder, status=RUNNING, reason=None, result=None)
    with noting_signals() as stop:
        process = subprocess.Popen(command, cwd=cwd)
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
