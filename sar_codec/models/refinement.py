"""What decoded pixels tell of their errors, at full resolution."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from sar_codec.entropy.integer import between_levels
from sar_codec.models.layers import has_kernels, stacked
from sar_codec.models.refinement_kernel import BLOCK, SIDE, refined

REACH = 3  # pixels around that tell of one, at most
_UNITS = 16.0  # of what enters: speckle is around 1
# Weights are kept a quarter as large as they are. Adam moves each by about the learning rate, at
# which what few pixels' networks are made of would learn little beside that of whole blocks.
_LARGER = 4.0


class Refinement(nn.Module):
    """Image `(B, 1, H, W)`, sides even, float32 -> itself and what its pixels tell of their errors.

    Speckle in decibels has a long tail below, and edges are sharp: neither is what transforms of
    blocks give back best. Here 2x2 pixels are corrected by what 6x6 of them are:

        x -- blocks of 2x2 -- 3x3 -- ReLU -- 1x1 -- ReLU -- 1x1 -- + x

    with biases that depend on the quality level. It begins as the identity.

    Args:
        width: channels inside.
        levels: of quality.
    """

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        enter, inside = torch.empty(width, BLOCK**2, SIDE, SIDE), torch.empty(width, width, 1, 1)
        for weight in (enter, inside):
            nn.init.kaiming_uniform_(weight, math.sqrt(5))  # as torch's convolutions begin
        enter -= enter.mean((1, 2, 3), keepdim=True)  # contrast tells more than brightness
        self.enter = nn.Parameter(enter / _LARGER)
        self.enter_levels = nn.Parameter(torch.zeros(levels, width))
        self.inside = nn.Parameter(inside / _LARGER)
        self.inside_levels = nn.Parameter(torch.zeros(levels, width))
        self.leave = nn.Parameter(torch.zeros(BLOCK**2, width, 1, 1))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        biases = (
            _LARGER * between_levels(self.enter_levels, level),
            _LARGER * between_levels(self.inside_levels, level),
        )
        with torch.autocast(x.device.type, enabled=False):
            if not has_kernels(x):
                return self._refined(x, *biases)
            return stacked([self._refined_one(*each) for each in zip(x, *biases, strict=True)])

    def _refined(self, x: Tensor, enter_bias: Tensor, inside_bias: Tensor) -> Tensor:
        known = _edged(_in_units(x))
        inside = functional.conv2d(known, _LARGER * self.enter) + enter_bias
        inside = functional.conv2d(inside.relu(), _LARGER * self.inside) + inside_bias
        errors = functional.conv2d(inside.relu(), _LARGER / _UNITS * self.leave)
        return x + functional.pixel_shuffle(errors, BLOCK)

    def _refined_one(self, x: Tensor, enter_bias: Tensor, inside_bias: Tensor) -> Tensor:
        """The same of one image, `(1, H, W)`, in less time."""
        enter, inside, leave = (each.flatten(1) for each in (self.enter, self.inside, self.leave))
        enter = _LARGER * _UNITS * enter
        enter_bias = enter_bias.flatten() - enter.sum(1) / 2  # of pixels as they are, not less 1/2
        inside, inside_bias, leave = (
            _LARGER * inside,
            inside_bias.flatten(),
            leave * _LARGER / _UNITS,
        )
        of_all = x[0], enter, enter_bias, inside, inside_bias, leave
        return torch.from_numpy(refined(*(each.numpy() for each in of_all)))[None]


def _edged(blocks: Tensor) -> Tensor:
    """Blocks with their edges repeated; on GPUs the gradient of padding is not always the same."""
    blocks = torch.cat([blocks[..., :1, :], blocks, blocks[..., -1:, :]], -2)
    return torch.cat([blocks[..., :1], blocks, blocks[..., -1:]], -1)


def _in_units(x: Tensor) -> Tensor:
    """Images `(..., 1, H, W)` as blocks of 2x2, `(..., 4, H / 2, W / 2)`."""
    return functional.pixel_unshuffle(x - 0.5, BLOCK).mul(_UNITS)
