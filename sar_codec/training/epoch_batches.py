"""The batches of an epoch, from any place in it on."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from sar_codec.errors import UserError
from sar_codec.training.progress import Batches
from sar_codec.training.random_states import random_states, restore_random_states


def count_batches(loader: Batches, name: str, limit: int | None) -> int:
    """How many batches an epoch has.

    Args:
        loader: sized iterable of images.
        name: what a message calls it.
        limit: the most to draw.

    Raises:
        UserError: none.
    """
    if not len(loader):
        raise UserError(f"the {name} loader is empty: give it at least one batch")
    return min(len(loader), limit or len(loader))


def batches_after(
    loader: Batches,
    epoch: int,
    done: int,
    count: int,
    began_with: dict[str, Any] | None,
    device: torch.device,
    pause: Callable[[], None],
) -> Iterator[Tensor]:
    """The batches of an epoch of `count` that follow the first `done` ones.

    A loader that has `set_epoch(epoch)` and `skip(batches)` is told; of another one the batches are
    drawn again, with the global generators as they were when the epoch began.

    Args:
        loader: sized iterable of images.
        epoch: its number, from 0.
        done: batches to leave out.
        count: batches in all; where all are done, none is drawn.
        began_with: `random_states` at the epoch's beginning.
        device: whose generator counts too.
        pause: is called between batches that are drawn again; may raise.
    """
    if hasattr(loader, "set_epoch"):
        loader.set_epoch(epoch)
    if done == count:
        return iter(())
    if not done:
        return iter(loader)
    if hasattr(loader, "skip"):
        loader.skip(done)
        return iter(loader)
    now = random_states(device)
    restore_random_states(began_with or now, device)
    try:
        batches = iter(loader)
        for _ in islice(batches, done):
            pause()
    finally:
        restore_random_states(now, device)
    return batches
