"""Whether a cut run ends as one that was not: `python -m sar_codec.verify_resume`."""

import atexit
import logging
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

from annotated_types import Ge
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from sar_codec.config import Experiment, override, plain, top_level
from sar_codec.errors import UserError
from sar_codec.program import program

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT)
_TRAINING_BEGINS = "] Device: "


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Verification(Experiment):
    """The top of verify_resume.yaml: an experiment, and how often to cut it."""

    cuts: Annotated[int, Ge(1)]


@program("verify_resume")
def main(cfg: DictConfig) -> None:
    """Trains once without and once with cuts, and compares; exits with 1 if they differ."""
    from sar_codec.training.sameness import difference_of_runs

    logging.getLogger("tensorboard").setLevel(logging.WARNING)
    settings = top_level(plain(cfg), Verification)
    if settings.resume is not None:
        raise UserError(f"resume={settings.resume}: this program decides that itself, leave it out")
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    whole, cut = Training(run_dir / "whole", settings), Training(run_dir / "cut", settings)
    seconds = whole.run()
    log.info("Trained without a cut in %.1f s: %s", seconds, whole.run_dir)
    rng = random.Random(settings.seed)
    for number in range(settings.cuts):
        after = rng.uniform(0.5, 1.5) * seconds / (settings.cuts + 1)
        log.info("Cut %d: %s", number + 1, cut.cut(SIGNALS[number % len(SIGNALS)], after))
    cut.run()
    difference = difference_of_runs(whole.run_dir, cut.run_dir)
    if difference:
        raise UserError(f"the runs differ: {difference}; they are in {run_dir}")
    log.info("Equal: checkpoints, history and TensorBoard are the same to the last bit")


class Training:
    """`python -m sar_codec.train` with this command's overrides, in a folder of its own."""

    def __init__(self, run_dir: Path, settings: Verification) -> None:
        self.run_dir = run_dir
        self._log = run_dir / "training.log"
        given = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
        self._command = [
            *[sys.executable, "-m", "sar_codec.train"],
            *[str(each.input_line) for each in given if each.key_or_group != "cuts"],
            f"trainer.epochs={settings.trainer['epochs']}",
            f"trainer.checkpoint_every_minutes={settings.trainer['checkpoint_every_minutes']}",
            *[override("hydra.run.dir", run_dir), "resume=auto"],
        ]

    def run(self) -> float:
        """Trains to the end; gives the seconds that it trained.

        Raises:
            UserError: it failed.
        """
        process, began = self._begin()
        self._finish(process, {0})
        return time.monotonic() - began

    def cut(self, number: int, after: float) -> str:
        """Trains for so many seconds until it is sent a signal; gives where that was.

        Raises:
            UserError: it ended otherwise than by that signal.
        """
        process, _ = self._begin()
        time.sleep(after)
        process.send_signal(number)
        self._finish(process, {0, 128 + number, -number})  # 0: it was done already
        return f"{signal.Signals(number).name} after {after:.1f} s, {self._place()}"

    def _begin(self) -> tuple[subprocess.Popen[bytes], float]:
        """The process, and when it began to train."""
        begun = self._times_begun()
        process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        atexit.register(process.kill)
        while self._times_begun() == begun and process.poll() is None:
            time.sleep(0.02)
        return process, time.monotonic()

    def _finish(self, process: subprocess.Popen[bytes], expected: set[int]) -> None:
        error = process.communicate()[1].decode(errors="replace").strip()
        if process.returncode not in expected:
            lines = error.splitlines() or [""]
            raise UserError(f"training ended with {process.returncode}: {lines[-1]}")

    def _times_begun(self) -> int:
        return self._log.read_text().count(_TRAINING_BEGINS) if self._log.exists() else 0

    def _place(self) -> str:
        from sar_codec.training import checkpoint
        from sar_codec.training.resuming import find_checkpoint

        path = find_checkpoint("auto", self.run_dir)
        if path is None:
            return "before the first checkpoint"
        state = checkpoint.load_or_previous(path)[0]
        return f"saved after {state.epoch} epochs and {state.batch} batches"


if __name__ == "__main__":
    main()
