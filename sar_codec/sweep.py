"""A sweep as a whole: what it is to run, and what became of its jobs."""

import functools
import json
import os
import shlex
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

# So that Hydra, which begins each job in its own process, leaves the job's folder to the job.
_NO_CONFIG = "hydra.output_subdir=null"
_NO_LOG = "+hydra.job_logging.handlers.file.delay=true"

_begun_here: Path | None = None


@dataclass(frozen=True)
class Plan:
    """sweep.json: what was given, and the keys that have several values."""

    given: list[str]
    swept: list[str]

    @classmethod
    def of(cls, config: DictConfig) -> "Plan":
        """The plan of a sweep that Hydra is about to begin."""
        parser = OverridesParser.create()
        searched = OmegaConf.select(config, "hydra.sweeper.params") or {}
        of_config = [f"{key}={value}" for key, value in searched.items()]
        typed = [str(each) for each in config.hydra.overrides.task]
        swept = [
            each.key_or_group for each in parser.parse_overrides(typed) if each.is_sweep_override()
        ]
        return cls([*of_config, *typed], [*map(str, searched), *swept])

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
        # Hydra turns a callback's exceptions into warnings.
        try:
            begin(config)
        except UserError as error:
            sys.exit(f"error: {error}" if processes.is_first() else 1)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if verdict := sum_up(Path(config.hydra.sweep.dir)):
            sys.exit(f"error: {verdict}")


def begin(config: DictConfig) -> None:
    """Takes a sweep's folder and makes its jobs leave theirs to the jobs' own processes.

    Raises:
        UserError: the folder is another sweep's, in use, or cannot be written; or torchrun's
            processes would each run all jobs.
    """
    global _begun_here
    if processes.are_several():
        raise UserError(
            "a sweep under torchrun: its processes would each run all jobs; start torchrun once "
            "for each job, or the sweep without it"
        )
    sweep = Path(config.hydra.sweep.dir).absolute()
    hold(sweep)
    Plan.of(config).write(sweep)
    _mark_of_stop(sweep).unlink(missing_ok=True)
    has_log = OmegaConf.select(config, "hydra.job_logging.handlers.file") is not None
    with read_write(config):
        config.hydra.overrides.hydra += [
            override("hydra.sweep.dir", sweep),  # for jobs that work in another folder
            *[_NO_CONFIG, *([_NO_LOG] if has_log else [])],
        ]
        config.hydra.sweep.dir = str(sweep)
    _begun_here = sweep
    for number in STOPPING:
        if signal.getsignal(number) is raise_stopped:
            signal.signal(number, functools.partial(stop, sweep))


def begun_here() -> Path | None:
    """The folder of the sweep that this process began; a launcher's own processes began none."""
    return _begun_here


def forget() -> None:
    """Says that the sweep which this process began is over."""
    global _begun_here
    _begun_here = None


def is_ours(hydra_override: str) -> bool:
    """Whether it is one that `begin` gave to the jobs, not the user."""
    return hydra_override in (_NO_CONFIG, _NO_LOG)


def stop(sweep: Path, number: int, frame: FrameType | None) -> None:
    """The handler of a sweep's signals: passes them on to its jobs and waits until they have saved.

    Jobs of which other processes are the parents, as joblib's are, would else be killed at once.

    Raises:
        Stopped: always.
    """
    with suppress(OSError):
        _mark_of_stop(sweep).touch()
    signal.signal(number, signal.SIG_DFL)  # whoever insists need not wait
    ends_at = time.monotonic() + SECONDS_TO_SAVE
    told: set[int] = set()
    while (jobs := _jobs_of(os.getpid())) and time.monotonic() < ends_at:
        for job in set(jobs) - told:
            with suppress(ProcessLookupError):
                os.kill(job, number)
        told |= set(jobs)
        time.sleep(0.05)
    write_table(sweep)
    print(f"To go on: {_the_same_command(sweep)}")
    raise_stopped(number, frame)


def is_stopped(sweep: Path) -> bool:
    """Whether no more jobs are to begin."""
    return _mark_of_stop(sweep).exists()


def _mark_of_stop(sweep: Path) -> Path:
    return sweep / ".stop"


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


def sum_up(sweep: Path) -> str | None:
    """Says, on the screen and in `sweep.csv` and `sweep.png`, what became of a sweep's jobs.

    Returns:
        Which of them did not finish, and why; None if all did. Nothing is raised.
    """
    try:
        runs = find_runs(sweep)
        print(f"\n{as_text(runs)}\n\nSweep: {sweep}")
        print(f"To look at it: tensorboard --logdir {shlex.quote(str(sweep))}")
        write_csv(sweep / "sweep.csv", runs, sweep)
    except UserError as error:
        return str(error)
    try:
        draw(runs, sweep / "sweep.png")
    except Exception as error:  # a picture must not hide the rest
        print(f"warning: {sweep / 'sweep.png'}: not drawn ({error})", file=sys.stderr)
    why: dict[str, list[str]] = {}
    for run in runs:
        if run.status != FINISHED:
            why.setdefault(run.reason or run.status, []).append(os.path.relpath(run.folder, sweep))
    if not why:
        return None
    return (
        f"{sum(map(len, why.values()))} of {len(runs)} jobs did not finish: "
        + "; ".join(f"{', '.join(jobs)}: {reason}" for reason, jobs in why.items())
        + f"; to run these again: {_the_same_command(sweep)}"
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


def _the_same_command(sweep: Path) -> str:
    return f"the same command with {shlex.quote(override('hydra.sweep.dir', sweep))}"


def _path(sweep: Path) -> Path:
    return sweep / "sweep.json"
