"""What Hydra would do to a run's folder before the run can say no: guarded here."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from sar_codec import processes
from sar_codec.errors import UserError
from sar_codec.files import keep_aside
from sar_codec.run_lock import hold, is_inside, refuse_to_train_over

_SILENCE = {"version": 1, "disable_existing_loggers": False, "root": {"level": "CRITICAL"}}


class RunFolderGuard(Callback):
    """Before Hydra writes into a run's folder, refuses one in use and keeps older configs aside.

    Hydra's own way is to write over `.hydra/` and to append to `training.log`, also where another
    process is at work, and where a run lies that was not to be gone on with; and each process of
    torchrun would open a folder of its own.
    """

    def on_run_start(self, config: DictConfig, config_name: str = "", **kwargs: Any) -> None:
        try:
            if processes.are_several():
                if (number := processes.stopped_by()) is not None:
                    sys.exit(128 + number)
                share_folder(config, config_name)
            if processes.is_first():
                claim(config)
        except UserError as error:
            # Hydra turns a callback's exceptions into warnings.
            sys.exit(f"error: {error}" if processes.is_first() else 1)


def share_folder(config: DictConfig, program: str) -> None:
    """Makes one folder of those of several processes, in which only the first writes.

    Raises:
        UserError: the program is not for several.
    """
    if program != "train":
        raise UserError(f"{program} is for one process: start it without torchrun")
    processes.join()
    run_dir, is_restart = processes.agree_on_run_dir(str(config.hydra.run.dir))
    with read_write(config), open_dict(config):
        config.hydra.run.dir = run_dir
        if is_restart and any((Path(run_dir) / "checkpoints").glob("*.pth")):
            config.resume = "auto"
        if not processes.is_first():
            config.hydra.output_subdir = None
            config.hydra.job_logging = _SILENCE


def claim(config: DictConfig) -> None:
    """Takes the folder for this process until it ends.

    Raises:
        UserError: another process is at work there, or it holds a run that is not gone on with.
    """
    run_dir = Path(config.hydra.run.dir)
    hold(run_dir)
    resume = config.get("resume")
    # What "last" is, takes long to find out; the program itself looks at it.
    if resume not in ("auto", "last") and not is_inside(resume, run_dir):
        refuse_to_train_over(run_dir)
    keep_aside(run_dir / ".hydra")
