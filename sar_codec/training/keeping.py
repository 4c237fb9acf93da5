"""Which checkpoints a run keeps: the latest, the one before it, and the best."""

import logging
from pathlib import Path

from sar_codec.errors import UserError
from sar_codec.files import give_same_content, sweep_temporaries
from sar_codec.training import checkpoint
from sar_codec.training.checkpoint import State

log = logging.getLogger(__name__)


class KeptCheckpoints:
    """`checkpoints/{latest,previous,best}.pth` of a run directory."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.folder = run_dir / "checkpoints"
        self.latest = self.folder / "latest.pth"
        self.previous = self.folder / "previous.pth"
        self.best = self.folder / "best.pth"

    def keep(self, state: State, is_best: bool) -> None:
        """Makes `state` the latest, what was the latest the previous.

        Raises:
            UserError: it cannot be written; what was there is intact.
        """
        if self.latest.exists():
            give_same_content(self.latest, self.previous)
        checkpoint.save(state, self.latest)
        if is_best:
            give_same_content(self.latest, self.best)

    def begin(self) -> None:
        """Removes what a killed run left half written."""
        for path in sweep_temporaries(self.run_dir) + sweep_temporaries(self.folder):
            log.info("Removed %s, which an earlier run left half written", path)

    def go_on_from(self, state: State, source: Path) -> None:
        """Brings this folder into the state that a run needs which goes on from `source`."""
        if source.resolve() == self.previous.resolve():
            # The next save must not put a damaged file in the place of the last good one.
            if self.latest.exists():
                self.latest.replace(self.folder / "damaged.pth")
            give_same_content(self.previous, self.latest)
        if state.best_epoch is None:
            return
        # A run killed between two saves has its best epoch in latest.pth only.
        is_best = state.batch == 0 and state.best_epoch == state.epoch
        best = source if is_best else source.with_name("best.pth")
        if not is_best and (fault := _fault_of_best(best, state.best_epoch)):
            log.warning("%s; the best epoch so far, %d, is lost", fault, state.best_epoch)
            if self.best.exists():
                self.best.replace(self.folder / "other_best.pth")
        elif best.resolve() != self.best.resolve():
            give_same_content(best, self.best)


def _fault_of_best(best: Path, epoch: int) -> str | None:
    """Why a best checkpoint is not that of an epoch, None if it is."""
    try:
        state = checkpoint.load(best)
    except UserError as error:
        return str(error)
    return None if state.epoch == epoch else f"{best}: is of epoch {state.epoch}"
