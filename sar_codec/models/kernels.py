"""Predictions of pixels by a sum of those around, fitted to each image."""

from typing import NamedTuple

import torch
from torch import Tensor

from sar_codec.models.interlacing import NEAREST

# Weights are multiples of 2^-7 below 1, the spread a multiple of 1/8 octave.
WEIGHT_STEPS = 128
SPREAD_STEPS = 8
LARGEST_WEIGHT = 127
LARGEST_SPREAD = 40
_PLAIN_SPREAD = -LARGEST_SPREAD / SPREAD_STEPS  # which no fitted kernel has
# Of pixels' variances, where the nearest ones do not differ: dB squared.
_LEAST_VARIANCE = 0.5


class Kernel(NamedTuple):
    """A kernel for each image.

    Attributes:
        weights: of the places around, `(B, places)`; opposite places have the same.
        spread: binary logarithm of how far off predictions are, in dB: `(B,)`.
    """

    weights: Tensor
    spread: Tensor


def plain_kernel(count: int, places: int, device: torch.device) -> Kernel:
    """One that takes pixels for the mean of the nearest ones, for where it is not worth a fit."""
    weights = torch.zeros(count, places, device=device)
    return Kernel(weights, torch.full((count,), _PLAIN_SPREAD, device=device))


def reference(around: Tensor) -> Tensor:
    """The mean of the nearest places: `(B, places, ...)` -> `(B, ...)`."""
    return around[:, :NEAREST].mean(1)


@torch.no_grad()
def fitted(around: Tensor, values: Tensor) -> Kernel:
    """The kernels that predict best what differs from the mean of the nearest places.

    Least squares, in which pixels count the less the more the nearest places differ.

    Args:
        around: decibels, `(B, places, ...)`.
        values: what is to be predicted, `(B, ...)`; NaN does not count.
    """
    around, values = around.flatten(2).double(), values.flatten(1).double()
    near = reference(around)
    nearest = around[:, :NEAREST] - near[:, None]
    counts = values.isfinite() / (nearest.square().mean(1) + _LEAST_VARIANCE)
    pairs = around[:, 0::2] + around[:, 1::2] - 2 * near[:, None]
    wanted = (values - near).nan_to_num(0)
    weighted = pairs * counts[:, None]
    squares = weighted @ pairs.mT
    # The nearest ones' pairs sum to nothing, and where all is even all pairs do.
    ridge = 1e-3 * counts.sum(1) * _LEAST_VARIANCE + 1e-9
    squares = squares + torch.diag_embed(ridge[:, None].expand(-1, squares.shape[1]))
    solved = torch.linalg.solve(squares, weighted @ wanted[..., None])[..., 0]
    steps = (solved * WEIGHT_STEPS).round().clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
    weights = steps.repeat_interleave(2, 1) / WEIGHT_STEPS
    off = wanted - (steps[:, None] / WEIGHT_STEPS @ pairs)[:, 0]
    variance = (counts * off.square()).sum(1) / (counts.sum(1) + 1e-9)
    spread = 0.5 * (variance + 1e-9).log2()
    spread = (spread * SPREAD_STEPS).round().clamp(1 - LARGEST_SPREAD, LARGEST_SPREAD)
    return Kernel(weights.float(), (spread / SPREAD_STEPS).float())
