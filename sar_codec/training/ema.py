"""A moving average of a model's weights."""

import copy

import torch
from torch import Tensor, nn


class EMA:
    """An exponential moving average of a model's weights, which often validates better than they.

    It begins as the weights are, and its decay rises with the updates, so that the first weights do
    not weigh for long. Modules that have `weights_changed()` are told of each update.

    Args:
        model: whose weights.
        decay: how much of the average stays at an update, in the long run.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay = decay
        told = (getattr(each, "weights_changed", None) for each in self.model.modules())
        self._told = [each for each in told if callable(each)]

    @torch.no_grad()
    def update(self, model: nn.Module, updates: int, good: Tensor) -> None:
        """Takes in the weights that an update left; statistics are taken as they are.

        Args:
            model: the one averaged.
            updates: how many there were, this one included.
            good: a boolean scalar on the device; an update that is not good does not count.
        """
        decay = min(self.decay, (1 + updates) / (10 + updates))
        weight = torch.where(good, 1 - decay, 0.0)
        for average, current in zip(self.model.parameters(), model.parameters(), strict=True):
            average.lerp_(current, weight.to(average.dtype))
        for kept, now in zip(self.model.buffers(), model.buffers(), strict=True):
            kept.copy_(now)
        for tell in self._told:
            tell()
