"""What every program shares: Hydra around a main function, and errors as one line."""

import functools
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sar_codec.config import CONF_DIR, no_such_key
from sar_codec.errors import UserError
from sar_codec.run_folder import release_folders
from sar_codec.signals import STOPPING, Stopped, raise_stopped

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
                return _run_job(main, cfg)

            launch = hydra.main(
                version_base="1.3", config_path=str(CONF_DIR), config_name=config_name
            )
            try:
                launch(job)()
            except UserError as error:
                sys.exit(f"error: {error}")
            except (HydraException, OmegaConfBaseException) as error:
                sys.exit(f"error: {_explain(error, config_name)}")
            except BrokenPipeError:
                # Whoever read our output has left, as `head` does; there is no one to tell.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                sys.exit(141)
            except (OSError, ValueError) as error:
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
                sys.exit(128 + stop.number)
            except KeyboardInterrupt:
                sys.exit(130)
            finally:
                release_folders()

        return run

    return decorate


def _run_job(main: Main, cfg: DictConfig) -> Any:
    """Runs `main`, leaving the reason of a failure in the job's log file."""
    try:
        return main(cfg)
    except UserError as error:
        reason = str(error)
    except Exception as error:  # logged, and raised again
        _write_to_log_file("stopped by a defect", error=error)
        raise
    _write_to_log_file(reason, error=None)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        # The sweep's other jobs run. A fresh error: Hydra keeps it, with all its frames hold.
        number = HydraConfig.get().job.num
        print(f"error in job {number}: {reason}", file=sys.stderr)
        raise UserError(f"job {number} failed: {reason}")
    sys.exit(f"error: {reason}")


def _write_to_log_file(message: str, error: Exception | None) -> None:
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
    message = message.split("\nConfig search path")[0]
    return " ".join(message.split())


def _keys_beside(key: str, config_name: str) -> list[str]:
    """The keys at the place where `key` was looked for, in the default config."""
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = hydra.compose(config_name)
    parent = OmegaConf.select(config, key.rpartition(".")[0]) if "." in key else config
    if not isinstance(parent, DictConfig):
        return []
    return [str(name) for name in parent if name != "_target_"]
