"""What Hydra would do to a run's folder before the run can say no: guarded here."""

import atexit
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sar_codec.errors import UserError
from sar_codec.run_lock import is_inside, locked, refuse_to_train_over

_claims = ExitStack()  # until the program ends
atexit.register(_claims.close)


class RunFolderGuard(Callback):
    """Before Hydra writes into a run's folder, refuses one in use and keeps older configs aside.

    Hydra's own way is to write over `.hydra/` and to append to `training.log`, also where another
    process is at work, and where a run lies that was not to be gone on with.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        run_dir = Path(config.hydra.run.dir)
        try:
            _claims.enter_context(locked(run_dir))
            resume = config.get("resume")
            # What "last" is, takes long to find out; the program itself looks at it.
            if resume not in ("auto", "last") and not is_inside(resume, run_dir):
                refuse_to_train_over(run_dir)
            keep_aside(run_dir / ".hydra")
        except UserError as error:
            sys.exit(f"error: {error}")  # Hydra turns a callback's exceptions into warnings


def keep_aside(folder: Path) -> None:
    """Renames a folder, where there is one, to the first of folder.1, folder.2 ... that is free."""
    if folder.exists():
        numbers = range(1, 1 + len(list(folder.parent.glob(f"{folder.name}.*"))) + 1)
        names = [folder.with_name(f"{folder.name}.{number}") for number in numbers]
        folder.rename(next(name for name in names if not name.exists()))


def release_folders() -> None:
    """Lets others have the folders that this process was given."""
    _claims.close()
