"""Looking at a model without changing anything."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from sar_codec.training.random_states import random_states, restore_random_states


@contextmanager
def without_trace(model: nn.Module, device: torch.device) -> Iterator[None]:
    """A context for evaluation: no gradients, evaluation mode, and afterwards all is as it was.

    Each module is back in its own mode, and so are the generators of python, numpy and torch.
    """
    modes = {module: module.training for module in model.modules()}
    states = random_states(device)
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        restore_random_states(states, device)
        for module, mode in modes.items():
            module.training = mode
