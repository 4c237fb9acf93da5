"""Layers of codecs: without gradients, on a CPU, they take a fraction of the time."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sar_codec.models import residual_kernel
from sar_codec.models.autoencoder import ResidualBlock


def has_kernels(x: Tensor) -> bool:
    """Whether nothing but the result is wanted, in float32 on a CPU."""
    is_recorded = torch.is_grad_enabled() or torch.compiler.is_compiling()
    is_plain = x.device.type == "cpu" and x.dtype == torch.float32
    return is_plain and not is_recorded and not torch.is_autocast_enabled("cpu")


class Pointwise(nn.Conv2d):
    """`(B, inputs, h, w)` -> `(B, outputs, h, w)`: a 1x1 convolution without a bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return at_places(self.weight.flatten(1), x) if has_kernels(x) else super().forward(x)


class QuickResidualBlock(ResidualBlock):
    """The same, for threads that have no others to share it with."""

    def forward(self, x: Tensor) -> Tensor:
        is_alone = torch.get_num_threads() == 1
        if not (is_alone and has_kernels(x)) or x.shape[1] % residual_kernel.MULTIPLE:
            return super().forward(x)
        weights = list(self.parameters())
        images = [residual_kernel.residual(each, *weights) for each in x.permute(0, 2, 3, 1)]
        return stacked(images).permute(0, 3, 1, 2)


def at_places(weight: Tensor, x: Tensor) -> Tensor:
    """`(out, in)` times `(B, in, h, w)` at each place; what it gives is channels last in memory."""
    places = x.permute(0, 2, 3, 1).flatten(1, 2)
    return functional.linear(places, weight).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


def in_planes(weight: Tensor, x: Tensor, other: Tensor | None = None) -> Tensor:
    """The same, one channel after the other in memory; added to `other`, which is overwritten."""
    places = x.permute(0, 2, 3, 1).flatten(1, 2).mT
    weights = weight.expand(len(x), -1, -1)
    if other is not None:
        return other.flatten(2).baddbmm_(weights, places).reshape(other.shape)
    return torch.bmm(weights, places).reshape(len(x), -1, *x.shape[2:])


def stacked(images: list[Tensor]) -> Tensor:
    """Images as a batch; one alone is not copied."""
    return torch.stack(images) if len(images) > 1 else images[0][None]
