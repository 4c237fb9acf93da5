"""Image to latents and back, at any quality of a range: what the codecs share."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sar_codec.entropy.gaussian import SCALES, index_of
from sar_codec.entropy.integer import LEVEL_STEPS, between_levels
from sar_codec.errors import UserError
from sar_codec.models.autoencoder import BLOCK, gelu, low_frequencies
from sar_codec.models.lapping import HALF, AcrossBorders, lapping
from sar_codec.models.layers import (
    Pointwise,
    QuickResidualBlock,
    at_places,
    has_kernels,
    in_planes,
)
from sar_codec.models.refinement import REACH, Refinement

LEVELS = 8
_BAND = 8  # the networks work on 8x8 blocks: one vector of 64 pixels a position
# Gains of an untrained codec at both ends of its range: quantisation steps of 1/3 and 1/128.
_LOG_GAINS = 1.6, 7.0
# The order in which images of a batch take the levels: any few of them cover the range.
_SPREAD = 0, 4, 2, 6, 1, 5, 3, 7


class Coded(NamedTuple):
    """What a codec says of a batch besides its reconstruction.

    Attributes:
        bits: of each image, `(B,)`, float32.
        quality: of each image, from 0, the worst, to 1: `(B,)`.
    """

    bits: Tensor
    quality: Tensor


class Analysis(nn.Module):
    """Image `(B, 1, H, W)`, sides multiples of 16 -> latents `(B, latents, H/16, W/16)`.

    The linear path starts as the lowest frequencies of a 16x16 DCT, the other one near zero. If the
    blocks of the first are `lapped`, what lies across their borders is filtered before.

    Attributes:
        reach: how many 16x16 blocks around tell about a latent.
    """

    def __init__(self, latents: int, width: int, depth: int, lapped: bool = False) -> None:
        super().__init__()
        self.across = AcrossBorders(lapping()) if lapped else None
        self.linear = _Linear(low_frequencies(latents))
        self.enter = Pointwise(_BAND**2, width)
        self.levels = nn.Parameter(torch.zeros(LEVELS, width))
        self.blocks = nn.Sequential(*(QuickResidualBlock(width) for _ in range(depth)))
        self.reach = _reach(depth, lapped)
        self.halve = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.leave = Pointwise(2 * width, latents)
        nn.init.normal_(self.leave.weight, std=1e-3)

    def forward(self, x: Tensor, level: Tensor, within: tuple[int, int] | None = None) -> Tensor:
        """Latents; if so many rows and columns are coded, blocks do not overlap with others."""
        centred = x - 0.5
        inside = self.enter(in_blocks(centred, _BAND))
        inside = self.halve(self.blocks(shifted(inside, between_levels(self.levels, level))))
        inside = gelu(inside)
        blocks = in_blocks(centred if self.across is None else self.across(centred, within), BLOCK)
        if has_kernels(x):  # latents are coded one channel after the other
            linear = in_planes(self.linear.matrix(), blocks)
            return in_planes(self.leave.weight.flatten(1), inside, linear)
        return summed(self.linear(blocks), self.leave(inside))


class Synthesis(nn.Module):
    """Latents `(B, latents, h, w)` -> image `(B, 1, 16 h, 16 w)`, float32, not clamped.

    Mirrors `Analysis`; what it gives may be refined.

    Attributes:
        reach: how many latents around tell about a 16x16 block.
    """

    def __init__(
        self,
        latents: int,
        width: int,
        depth: int,
        refinement_width: int = 0,
        lapped: bool = False,
    ) -> None:
        super().__init__()
        self.across = AcrossBorders(lapping().T) if lapped else None
        self.linear = _Linear(low_frequencies(latents).T)
        self.enter = Pointwise(latents, 4 * width)
        self.levels = nn.Parameter(torch.zeros(LEVELS, 4 * width))
        self.blocks = nn.Sequential(*(QuickResidualBlock(width) for _ in range(depth)))
        self.refinement = Refinement(refinement_width, LEVELS) if refinement_width else None
        self.reach = _reach(depth, lapped, REACH if refinement_width else 0)
        self.leave = Pointwise(width, _BAND**2)
        nn.init.normal_(self.leave.weight, std=1e-3)

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        inside = shifted(self.enter(y), between_levels(self.levels, level))
        inside = self.leave(self.blocks(functional.pixel_shuffle(inside, 2)))
        image = out_of_blocks(self.linear(y), BLOCK)
        image = image if self.across is None else self.across(image)
        image = summed(summed(image, out_of_blocks(inside, _BAND)), 0.5)
        return image if self.refinement is None else self.refinement(image, level)


def summed(x: Tensor, other: Tensor | float) -> Tensor:
    """The sum; without gradients it replaces `x`, as new memory takes as long again."""
    return x + other if torch.is_grad_enabled() else x.add_(other)


def shifted(x: Tensor, bias: Tensor) -> Tensor:
    """The sum; without gradients of the type of `x`, as half the memory takes half the time."""
    return summed(x, bias if torch.is_grad_enabled() else bias.to(x.dtype))


def _reach(depth: int, lapped: bool, pixels: int = 0) -> int:
    """In 16x16 blocks, of so many 3x3 convolutions on 8x8 ones, or overlap, and so many pixels."""
    return -(-(max(_BAND * depth, HALF * lapped) + pixels) // BLOCK)


class _Linear(nn.Module):
    """`(B, in, h, w)` -> `(B, out, h, w)`, float32: a matrix at each place.

    Rounding to the 8 bits of bf16 is coarser than the finest quantisation. The weights are kept
    16 times as large as they are: Adam moves each by about the learning rate, which of the entries
    of a DCT would be percents a step, and nothing finer would be learned.
    """

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(BLOCK * matrix[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return at_places(self.matrix(), x.float())  # a convolution takes twice as long

    def matrix(self) -> Tensor:
        """What numbers at each place are multiplied by, `(out, in)`."""
        return self.weight.flatten(1) / BLOCK


class Gains(nn.Module):
    """What latents are multiplied by before they are rounded, and by after that.

    Learned for each level, interpolated geometrically between levels.
    """

    def __init__(self, latents: int) -> None:
        super().__init__()
        start = untrained_log_gains().repeat(1, latents)
        self.log_gain = nn.Parameter(start)
        self.log_inverse = nn.Parameter(-start)

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        """Latents as they are rounded, float32."""
        return y.float() * torch.exp2(between_levels(self.log_gain, level))

    def fixed(self, y: Tensor, level: Tensor) -> Tensor:
        """The same as latents multiplied by what learns nothing."""
        return y.float() * torch.exp2(between_levels(self.log_gain.detach(), level))

    def undo(self, y: Tensor, level: Tensor) -> Tensor:
        """Rounded latents as they were."""
        return y * self.inverse(level)

    def inverse(self, level: Tensor) -> Tensor:
        """What rounded latents are multiplied by: `(B, latents, 1, 1)`."""
        return torch.exp2(between_levels(self.log_inverse, level))


def untrained_log_gains() -> Tensor:
    """Binary logarithms of the gain at each level: `(levels, 1)`."""
    return torch.linspace(*_LOG_GAINS, LEVELS)[:, None]


def untrained_scales(latents: int) -> Tensor:
    """Scale indices of DCT coefficients about as SAR images have them: `(levels, latents)`."""
    frequency = torch.arange(BLOCK).float()
    frequencies = torch.hypot(*torch.meshgrid(frequency, frequency, indexing="ij")).flatten()
    deviation = 0.6 / (1 + frequencies.sort().values[:latents])
    return index_of(torch.exp2(untrained_log_gains()) * deviation).clamp(0, SCALES - 1)


def in_blocks(x: Tensor, side: int) -> Tensor:
    """Image `(B, 1, H, W)` -> `(B, side^2, H / side, W / side)`, channels last in memory.

    It is `pixel_unshuffle`, which would be in another order of memory than networks work in.
    """
    batch, _, height, width = x.shape
    parted = x.reshape(batch, height // side, side, width // side, side)
    blocks = parted.permute(0, 1, 3, 2, 4).reshape(batch, height // side, width // side, -1)
    return blocks.permute(0, 3, 1, 2)


def out_of_blocks(x: Tensor, side: int) -> Tensor:
    """The inverse of `in_blocks`."""
    batch, _, rows, columns = x.shape
    parted = x.permute(0, 2, 3, 1).reshape(batch, rows, columns, side, side)
    return parted.permute(0, 1, 3, 2, 4).reshape(batch, 1, rows * side, columns * side)


def random_levels(count: int, device: torch.device) -> Tensor:
    """A level for each image in training, anywhere from the first, 0, to the last."""
    return torch.rand(count, device=device) * (LEVELS - 1)


def every_level(count: int, device: torch.device) -> Tensor:
    """A level for each image in validation: all in turn, the first few far apart."""
    return torch.tensor(_SPREAD, device=device).repeat(-(-count // LEVELS))[:count].float()


def level_of(quality: float, device: torch.device) -> Tensor:
    """The level, `(1,)`, of a quality from 1 to 8, rounded to the steps that coding knows.

    Raises:
        UserError: there is no such quality.
    """
    if not 1 <= quality <= LEVELS:
        raise UserError(f"quality={quality}: expected a number from 1, the smallest, to {LEVELS}")
    return torch.tensor([round((quality - 1) * LEVEL_STEPS) / LEVEL_STEPS], device=device)


def in_steps(level: Tensor) -> Tensor:
    """Levels as exact layers take them."""
    return (level * LEVEL_STEPS).long()


def padded(x: Tensor, multiple: int) -> Tensor:
    """The image with its last row and column repeated until its sides are multiples."""
    down, right = (-side % multiple for side in x.shape[-2:])
    return functional.pad(x, (0, right, 0, down), "replicate") if down or right else x
