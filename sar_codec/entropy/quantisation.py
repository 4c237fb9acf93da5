"""Rounding that training can see through."""

from typing import Any

import torch
from torch import Tensor


def round_through(x: Tensor) -> Tensor:
    """`x` rounded to integers; the gradient is that of `x`."""
    return x + (x.round() - x).detach()


def noisy(x: Tensor) -> Tensor:
    """`x` plus noise as large as rounding's, uniform in [-1/2, 1/2), from the global generator."""
    return x + torch.rand_like(x) - 0.5


def bounded(x: Tensor, low: float, high: float) -> Tensor:
    """`x` clamped to `[low, high]`; outside, only gradients that lead back inside pass."""
    return _Bounded.apply(x, low, high)


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        low, high = ctx.bounds
        gradient = gradients[0]
        # A step goes against the gradient.
        leads_away = ((x < low) & (gradient > 0)) | ((x > high) & (gradient < 0))
        return gradient.masked_fill(leads_away, 0), None, None
