"""Steps whose loss or gradient is not finite: kept from the weights, named and counted."""

import logging
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from sar_codec.errors import UserError

log = logging.getLogger(__name__)


class BadSteps:
    """Counts steps that were skipped; looks at the flags without making a GPU wait each step.

    Args:
        limit: so many in a row end the run.
        name_of: what the batches of these numbers were, for people.
        device: where the flags are.
    """

    def __init__(self, limit: int, name_of: Callable[[range], str], device: torch.device) -> None:
        self.limit = limit
        self.name_of = name_of
        self.in_row = 0
        # On a CPU a flag is known at once; a GPU is asked for several together.
        self._look_every = limit if device.type == "cuda" else 1
        self._unseen: list[tuple[range, Tensor]] = []

    def add(self, batches: range, good: Tensor) -> None:
        """Takes note of a step.

        Args:
            batches: the numbers of its batches in their epoch.
            good: a boolean scalar on the device.

        Raises:
            UserError: too many in a row were bad.
        """
        self._unseen.append((batches, good))
        if len(self._unseen) >= self._look_every:
            self.look()

    def look(self) -> None:
        """Reads the flags not yet looked at, and says what was skipped.

        Raises:
            UserError: too many in a row were bad.
        """
        if not self._unseen:
            return
        flags = torch.stack([good for _, good in self._unseen]).tolist()
        steps = [batches for batches, _ in self._unseen]
        self._unseen.clear()
        for batches, good in zip(steps, flags, strict=True):
            self.in_row = 0 if good else self.in_row + 1
            if good:
                continue
            name = self.name_of(batches)
            log.warning("Step skipped, its loss or gradient is not finite: %s", name)
            if self.in_row >= self.limit:
                raise UserError(
                    f"{self.in_row} steps in a row gave a loss or gradient that is not finite, the "
                    f"last in {name}; none of them touched the weights, and the checkpoints are of "
                    "before; look at that data, or lower optimizer.lr"
                )


def step_if(good: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """An optimizer's step that does nothing unless `good`, a boolean scalar on its device.

    On a GPU a fused optimizer looks at the flag itself, which makes no one wait; for the others,
    and for the very first step, the GPU is waited for.
    """
    # Fused SGD that skips its first step leaves its momentum uninitialised.
    if good.is_cuda and optimizer.defaults.get("fused") and optimizer.state:
        step_by_flag(good, optimizer)
    elif bool(good):
        optimizer.step()


def step_by_flag(good: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """A step of a fused optimizer, which does nothing unless `good`; no one waits for the flag."""
    optimizer.found_inf = (~good).float()  # type: ignore[attr-defined]  # as torch's GradScaler does
    optimizer.step()
    del optimizer.found_inf  # type: ignore[attr-defined]  # likewise


def restore_unless(good: Tensor, buffers: Iterable[Tensor], before: Iterable[Tensor]) -> None:
    """Undoes what a bad step did to a model's buffers, such as the statistics of a batch norm."""
    for buffer, old in zip(buffers, before, strict=True):
        buffer.copy_(torch.where(good, buffer, old))
