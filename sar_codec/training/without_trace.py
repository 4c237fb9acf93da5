"""Looking at a model without changing anything."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def without_trace(model: nn.Module, device: torch.device) -> Iterator[None]:
    """A context for evaluation: no gradients, evaluation mode, and afterwards all is as it was.

    Each module is back in its own mode, and so are the generators of python, numpy and torch.
    """
    modes = {module: module.training for module in model.modules()}
    python, legacy_numpy = random.getstate(), np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy_numpy)
        for module, mode in modes.items():
            module.training = mode
