"""What every program shares: Hydra around a main function, and errors as one line."""

import functools
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sar_codec import processes
from sar_codec.config import CONF_DIR, no_such_key
from sar_codec.errors import UserError
from sar_codec.job_log import telling_of_crashes
from sar_codec.run_lock import release_held
from sar_codec.signals import STOPPING, Stopped, raise_stopped
from sar_codec.status import FAILED, FINISHED, STOPPED, RunStatus
from sar_codec.sweep import begun_here, forget, sum_up
from sar_codec.sweep_job import run_sweep_job

Main = Callable[[DictConfig], Any]


def program(config_name: str) -> Callable[[Main], Callable[[], None]]:
    """Makes `main(cfg)` a Hydra program configured by `conf/<config_name>.yaml`.

    What the user can mend (`UserError`, a wrong override, an output folder that cannot be written)
    ends as one line on stderr and exit code 1. Anything else is a defect and keeps its traceback,
    in the job's log too.
    """

    def decorate(main: Main) -> Callable[[], None]:
        def run() -> None:
            # Hydra would print errors its own way, over several lines, and exit.
            os.environ["HYDRA_FULL_ERROR"] = "1"
            for number in STOPPING:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves some
                    signal.signal(number, raise_stopped)
            jobs_begun = 0

            @functools.wraps(main)
            def job(cfg: DictConfig) -> Any:
                nonlocal jobs_begun
                jobs_begun += 1
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    return run_sweep_job(config_name, cfg)
                return _run_job(main, cfg)

            launch = hydra.main(
                version_base="1.3", config_path=str(CONF_DIR), config_name=config_name
            )
            try:
                with _summing_up():
                    launch(job)()
            except UserError as error:
                sys.exit(_as_said(f"error: {error}"))
            except (HydraException, OmegaConfBaseException) as error:
                # The same in each of several processes, before they have joined.
                message = f"error: {_explain(error, config_name)}"
                sys.exit(message if processes.is_first() else 1)
            except BrokenPipeError:
                # Whoever read our output has left, as `head` does; there is no one to tell.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                sys.exit(141)
            except (OSError, ValueError, RuntimeError) as error:
                if jobs_begun:
                    raise
                cause = error.__cause__ or error  # logging wraps what keeps its file from opening
                if not isinstance(cause, OSError):
                    sys.exit(f"error: {' '.join(str(error).split())}")
                sys.exit(
                    f"error: the output folder cannot be written: {cause}; "
                    "give another one with hydra.run.dir=FOLDER (or hydra.sweep.dir=FOLDER)"
                )
            except Stopped as stop:
                processes.remember_stop(stop.number)
                sys.exit(128 + stop.number)
            except KeyboardInterrupt:
                sys.exit(130)
            finally:
                release_held()
                processes.leave()

        return run

    return decorate


@contextmanager
def _summing_up() -> Iterator[None]:
    """A context in which a sweep whose launcher fails still says what became of its jobs."""
    try:
        yield
    except (UserError, OSError, RuntimeError) as error:
        sweep = begun_here()
        if sweep is None or not any(sweep.rglob("status.json")):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise UserError("; ".join(filter(None, [reason, sum_up(sweep)]))) from error
    finally:
        forget()


def _run_job(main: Main, cfg: DictConfig) -> Any:
    """Runs `main`, leaving the reason of a failure in the job's log file and its status."""
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    status = RunStatus(run_dir if processes.is_first() else None)
    try:
        with telling_of_crashes():
            result = main(cfg)
    except UserError as error:
        _write_to_log_file(str(error), error=None)
        status.ended(FAILED, str(error))
        sys.exit(_as_said(f"error: {error}"))
    except KeyboardInterrupt as stop:
        status.ended(STOPPED, str(stop) or "SIGINT")
        raise
    except (Exception, SystemExit) as error:  # logged, and raised again
        _write_to_log_file("stopped by a defect", error=error)
        status.ended(FAILED, _told(error))
        if isinstance(error, SystemExit):
            sys.exit(_as_said(f"error: {_told(error)}, instead of returning"))
        raise
    status.ended(FINISHED, result=result)
    return result


def _as_said(message: str) -> str:
    """A message, with the process where it is not the first of several."""
    return message if processes.is_first() else f"process {os.environ['RANK']}: {message}"


def _told(error: BaseException) -> str:
    """An error in one line."""
    lines = traceback.format_exception_only(error)
    return " ".join("".join(lines).split())


def _write_to_log_file(message: str, error: BaseException | None) -> None:
    record = logging.getLogger(__name__).makeRecord(
        __name__,
        logging.ERROR,
        __file__,
        0,
        message,
        (),
        (type(error), error, error.__traceback__) if error else None,
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def _explain(error: Exception, config_name: str) -> str:
    """Hydra's message, which takes several lines, as one."""
    message = str(error)
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override}: not a valid override ({message.splitlines()[0]}); "
            "a value with '=', ',' or spaces needs quotes inside quotes: 'key=\"value\"'"
        )
    if unknown := re.match(r"Could not override '([^']+)'", message):
        key = unknown[1]
        given = next((arg.split("=", 1)[1] for arg in sys.argv if arg.startswith(f"{key}=")), "")
        return no_such_key(key, given, _keys_beside(key, config_name))
    message = " ".join(message.split("\nConfig search path")[0].split())
    if "hydra/launcher/" in message:
        message += "; it may be of an extra: pip install 'sar_codec[joblib,submitit]'"
    return message


def _keys_beside(key: str, config_name: str) -> list[str]:
    """The keys at the place where `key` was looked for, in the default config."""
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = hydra.compose(config_name)
    parent = OmegaConf.select(config, key.rpartition(".")[0]) if "." in key else config
    if not isinstance(parent, DictConfig):
        return []
    return [str(name) for name in parent if name != "_target_"]
