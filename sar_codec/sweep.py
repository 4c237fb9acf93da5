"""A sweep as a whole: what it is to run, and what became of its jobs."""

import functools
import json
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from sar_codec import processes
from sar_codec.comparison.plot import draw
from sar_codec.comparison.runs import Run, find_runs
from sar_codec.comparison.table import as_text, write_csv
from sar_codec.config import override
from sar_codec.errors import UserError
from sar_codec.files import write_whole
from sar_codec.run_lock import hold
from sar_codec.signals import STOPPING, raise_stopped
from sar_codec.status import FINISHED

SECONDS_TO_SAVE = 60.0
JOB_NUMBER = "hydra.job.num="  # by which a job's command is known

# So that Hydra, which begins each job in this process, leaves the job's folder to its own process.
LEFT_TO_THE_JOB = ("hydra.output_subdir=null", "+hydra.job_logging.handlers.file.delay=true")


@dataclass(frozen=True)
class Plan:
    """sweep.json: what was given on the command line, and the keys that have several values."""

    given: list[str]
    swept: list[str]

    @classmethod
    def of(cls, config: DictConfig) -> "Plan":
        """The plan of a sweep that Hydra is about to begin."""
        given = [str(each) for each in config.hydra.overrides.task]
        parsed = OverridesParser.create().parse_overrides(given)
        searched = OmegaConf.select(config, "hydra.sweeper.params") or {}
        swept = [each.key_or_group for each in parsed if each.is_sweep_override()]
        return cls(given, [*map(str, searched), *swept])

    @classmethod
    def read(cls, sweep: Path) -> "Plan":
        """The plan in a sweep's folder.

        Raises:
            UserError: it cannot be read.
        """
        path = _path(sweep)
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path}: cannot be read ({error}); begin the sweep anew") from None

    def write(self, sweep: Path) -> None:
        """Writes it into a sweep's folder.

        Raises:
            UserError: it cannot be written, or another plan is there already.
        """
        if _path(sweep).exists() and (there := Plan.read(sweep)).given != self.given:
            raise UserError(
                f"{sweep}: holds the sweep of {' '.join(there.given)}, which is not "
                f"{' '.join(self.given)}: give the former to go on with it, or another folder"
            )
        write_whole(_path(sweep), [f"{json.dumps(asdict(self), indent=2)}\n".encode()])


class SweepGuard(Callback):
    """Before a sweep, makes sure that its folder is its own; after it, sums up."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        sweep = Path(config.hydra.sweep.dir)
        try:
            if processes.are_several():
                raise UserError(
                    "a sweep under torchrun: its processes would each run all jobs; start torchrun "
                    "once for each job, or the sweep without it"
                )
            hold(sweep)
            Plan.of(config).write(sweep)
        except UserError as error:
            # Hydra turns a callback's exceptions into warnings.
            sys.exit(f"error: {error}" if processes.is_first() else 1)
        with read_write(config):
            config.hydra.overrides.hydra += LEFT_TO_THE_JOB
        for number in STOPPING:
            if signal.getsignal(number) is raise_stopped:
                signal.signal(number, functools.partial(stop, sweep))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            sum_up(Path(config.hydra.sweep.dir))
        except UserError as error:
            sys.exit(f"error: {error}")


def stop(sweep: Path, number: int, frame: FrameType | None) -> None:
    """The handler of a sweep's signals: passes them on to its jobs and waits until they have saved.

    Jobs of which other processes are the parents, as joblib's are, would else be killed at once.

    Raises:
        Stopped: always.
    """
    ends_at = time.monotonic() + SECONDS_TO_SAVE
    for job in _jobs_of(os.getpid()):
        with suppress(ProcessLookupError):
            os.kill(job, number)
    signal.signal(number, signal.SIG_DFL)  # whoever insists need not wait
    while _jobs_of(os.getpid()) and time.monotonic() < ends_at:
        time.sleep(0.05)
    write_table(sweep)
    print(f"To go on: the same command with {override('hydra.sweep.dir', sweep)}")
    raise_stopped(number, frame)


def _jobs_of(process: int) -> list[int]:
    """The processes below one, on this machine, that are jobs; none where there is no /proc."""
    parents, jobs = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The name before it, in parentheses, may hold anything.
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1]) if fields[0] != "Z" else 0
            if JOB_NUMBER.encode() in (folder / "cmdline").read_bytes():
                jobs.append(int(folder.name))

    def is_below(number: int) -> bool:
        return number == process or (number in parents and is_below(parents[number]))

    return [job for job in jobs if job != process and is_below(job)]


def sum_up(sweep: Path) -> None:
    """Says, on the screen and in `sweep.csv` and `sweep.png`, what became of a sweep's jobs.

    Raises:
        UserError: not all of them have finished; names the others, and why.
    """
    runs = find_runs(sweep)
    write_csv(sweep / "sweep.csv", runs, sweep)
    draw(runs, sweep / "sweep.png")
    print(f"\n{as_text(runs)}\n\nSweep: {sweep}")
    print(f"To look at it: tensorboard --logdir {sweep}")
    failed = [run for run in runs if run.status != FINISHED]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(runs)} jobs did not finish: "
            + "; ".join(f"{_name(run, sweep)}: {run.reason or run.status}" for run in failed)
            + f"; to run these again: the same command with {override('hydra.sweep.dir', sweep)}"
        )


def write_table(sweep: Path) -> None:
    """Writes `sweep.csv` of the jobs as they are now.

    Where several processes do so at once, the last one to end has seen all that there is.
    """
    try:
        written: list[Run] = []
        while (runs := find_runs(sweep)) != written:
            write_csv(sweep / "sweep.csv", runs, sweep)
            written = runs
    except UserError as error:
        print(f"warning: {error}", file=sys.stderr)


def _name(run: Run, sweep: Path) -> str:
    return os.path.relpath(run.folder, sweep)


def _path(sweep: Path) -> Path:
    return sweep / "sweep.json"
