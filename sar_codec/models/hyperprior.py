"""A codec that predicts its latents' densities: from a hyper-latent, and from each other."""

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional

from sar_codec.entropy.coding import LARGEST_SYMBOL
from sar_codec.entropy.factorized import FactorizedDensity
from sar_codec.entropy.integer import (
    FRACTION,
    IntegerLayer,
    between_levels,
    rectified,
    saturated,
)
from sar_codec.entropy.quantisation import noisy, round_through
from sar_codec.models.autoencoder import BLOCK
from sar_codec.models.codec import Codec, Put, Take, decoded, encoded, estimated
from sar_codec.models.transform import LEVELS, in_steps, untrained_scales

Width = Annotated[int, Ge(1), Le(4096)]


class Hyperprior(Codec):
    r"""A mean-scale hyperprior with a two-pass checkerboard context, at any quality of a range.

    Image `(B, 1, H, W)` -> reconstruction of the same shape, `Coded`; or bytes, and back. Any
    height and width: the image is padded inside to multiples of 64, and cropped back.

        x -- analysis -- gain -- y -- round around means -- 1 / gain -- synthesis -- x_hat
                                 |             |
                          hyper-analysis     means and scales: of black places by z_hat alone,
                                 |             |     of white ones also by the black ones around
                                 z -- round -- z_hat -- integer layers

        analysis         x -- blocks of 16x16 -- 1x1 ------------------------------------ + --
                          \- blocks of 8x8 -- 1x1 -- residual x 2 -- 2x2 / 2 -- GELU -- 1x1 /
        synthesis        y -- 1x1 -- blocks of 16x16 ------------------------------------ + --
                          \- 1x1 -- shuffle 2 -- residual x 3 -- 1x1 -- blocks of 8x8 ---/
        hyper-analysis   log(1 + |y|), with sign and without -- 1x1 -- 2x2 / 2 -- 2x2 / 2 --
        integer          z_hat -- 1x1 -- shuffle 2 -- 3x3 -- 1x1 -- shuffle 2 -- hidden
                         black: hidden -- 1x1 --      white: hidden, 4 around -- 1x1 -- 1x1 --

    `y` has `latent_channels` numbers for each 16x16 block: all frequencies of a block DCT to begin
    with. Gains, and a bias in each part, depend on the quality level. A channel of `z` has one
    learned density. What reading the symbols depends on is made of `IntegerLayer`: it is the same
    on every machine.

    1,584,256 parameters by default. 9,987 multiply-adds a pixel: 4,252 for encoding alone, 679 on
    integers for both, 5,056 for decoding alone.

    Ballé et al. 2018, https://arxiv.org/abs/1802.01436; Minnen et al. 2018,
    https://arxiv.org/abs/1809.02736; checkerboard: He et al. 2021,
    https://arxiv.org/abs/2103.15306; gains: Cui et al. 2021, https://arxiv.org/abs/2003.02012.

    Args:
        latent_channels: numbers kept of each 16x16 block; fewer cap the best quality.
        width: channels inside analysis and synthesis.
        analysis_depth: residual blocks of the encoder.
        synthesis_depth: residual blocks of the decoder.
        hyper_channels: numbers kept of each 64x64 block, about scales and means.
        hyper_width: channels of the integer layers up to 1/32 of the resolution.
        context_width: channels of those at 1/16.
    """

    alignment = 4 * BLOCK  # the hyper-latent's stride

    def __init__(
        self,
        latent_channels: Annotated[int, Ge(1), Le(BLOCK**2)] = 256,
        width: Width = 96,
        analysis_depth: Annotated[int, Ge(0), Le(100)] = 2,
        synthesis_depth: Annotated[int, Ge(0), Le(100)] = 3,
        hyper_channels: Width = 64,
        hyper_width: Width = 96,
        context_width: Width = 128,
    ) -> None:
        super().__init__(latent_channels, width, analysis_depth, synthesis_depth)
        self.hyper_analysis = HyperAnalysis(latent_channels, 2 * width, hyper_channels)
        self.hyper_density = FactorizedDensity(hyper_channels)
        self.predictor = Predictor(latent_channels, hyper_channels, hyper_width, context_width)

    def estimate(self, y: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        z = self.hyper_analysis(y, level).float()
        bits = [self.hyper_density.bits(noisy(z)).flatten(1).sum(1)]
        halves = split(y)

        def code(colour: int, mean: Tensor, index: Tensor) -> Tensor:
            y_hat, spent = estimated(halves[colour], mean, index)
            bits.append(spent)
            return y_hat

        return self.predicted(round_through(z), level, code), torch.stack(bits).sum(0)

    def encode(self, y: Tensor, level: Tensor, put: Put) -> Tensor:
        z = self.hyper_analysis(y, level).float().round().nan_to_num(0)
        z = z.clamp(-LARGEST_SYMBOL, LARGEST_SYMBOL).long()
        put(z, self.hyper_density.tables, _channel_of_each(z))
        halves = split(y)

        def code(colour: int, mean: Tensor, index: Tensor) -> Tensor:
            return encoded(halves[colour], mean, index, self.scale_tables, put)

        return self.predicted(z.double() * FRACTION, in_steps(level), code)

    def decode(self, shape: tuple[int, int], level: Tensor, take: Take) -> Tensor:
        tables = self.hyper_density.tables
        numbers = torch.arange(len(tables.lowest), device=level.device)[None, :, None, None]
        z = take(tables, numbers.expand(len(level), -1, shape[0] // 4, shape[1] // 4))

        def code(_: int, mean: Tensor, index: Tensor) -> Tensor:
            return decoded(mean, index, self.scale_tables, take)

        return self.predicted(z.double() * FRACTION, level, code)

    def predicted(
        self, z: Tensor, level: Tensor, code: Callable[[int, Tensor, Tensor], Tensor]
    ) -> Tensor:
        """All latents, one colour of the checkerboard after the other.

        Args:
            z: rounded hyper-latent; float64 in units of 1/32, or float32.
            level: int64 in units of 1/64, or float32.
            code: number of a colour, means and scale indices of its latents -> its latents.
        """
        hidden = split(self.predictor.hyper(saturated(z), level))
        anchors = code(0, *self.predictor.anchors(hidden[0], level))
        others = code(1, *self.predictor.others(saturated(anchors), hidden[1], level))
        return merge(anchors, others)


class HyperAnalysis(nn.Module):
    """Latents `(B, latents, h, w)` -> hyper-latent `(B, hyper, h/4, w/4)`."""

    def __init__(self, latents: int, width: int, hyper: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(2 * latents, width, 1, bias=False)
        self.levels = nn.Parameter(torch.zeros(LEVELS, width))
        self.halve = nn.Conv2d(width, width, 2, stride=2)
        self.leave = nn.Conv2d(width, hyper, 2, stride=2)

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        # Latents are up to a hundred times as large at the last level as at the first.
        size = y.abs().log1p()
        inside = self.enter(torch.cat([size, size.copysign(y)], 1))
        inside = functional.gelu(inside + between_levels(self.levels, level))
        return self.leave(functional.gelu(self.halve(inside)))


class Predictor(nn.Module):
    """What is known of latents -> their means and scale indices; the same on every machine.

    Args:
        latents: channels.
        hyper: channels of the hyper-latent.
        width: channels at its resolution and twice that.
        context: channels at the latents' resolution.
    """

    def __init__(self, latents: int, hyper: int, width: int, context: int) -> None:
        super().__init__()
        self.hyper_enter = IntegerLayer(hyper, 4 * width, LEVELS)
        self.hyper_spread = IntegerLayer(9 * width, width, LEVELS)
        self.hyper_leave = IntegerLayer(width, 4 * context, LEVELS)
        self.anchor_leave = IntegerLayer(context, 2 * latents, LEVELS)
        self.other_enter = IntegerLayer(4 * latents + context, context, LEVELS)
        self.other_leave = IntegerLayer(context, 2 * latents, LEVELS)
        with torch.no_grad():
            for layer in (self.anchor_leave, self.other_leave):
                layer.weight.mul_(0.1)
                layer.bias[:, latents:] = untrained_scales(latents)

    def hyper(self, z: Tensor, level: Tensor) -> Tensor:
        """Hyper-latent `(B, hyper, h/4, w/4)` -> what it tells of each place, `(B, ., h, w)`."""
        inside = functional.pixel_shuffle(rectified(self.hyper_enter(z, level)), 2)
        inside = rectified(self.hyper_spread(with_neighbours(inside), level))
        return functional.pixel_shuffle(rectified(self.hyper_leave(inside, level)), 2)

    def anchors(self, hidden: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Means and scale indices of the first colour, `(B, latents, h, w/2)` each."""
        return _halves(self.anchor_leave(hidden, level))

    def others(self, anchors: Tensor, hidden: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the second colour, when the first is known."""
        known = torch.cat([around(anchors), hidden], 1)
        return _halves(self.other_leave(rectified(self.other_enter(known, level)), level))


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """The two colours of a checkerboard, `(B, C, h, w)` -> twice `(B, C, h, w/2)`.

    The first has the upper left corner.
    """
    even, odd = x[..., 0::2], x[..., 1::2]
    is_odd = _odd_rows(x)
    return torch.where(is_odd, odd, even), torch.where(is_odd, even, odd)


def merge(anchors: Tensor, others: Tensor) -> Tensor:
    """The inverse of `split`."""
    is_odd = _odd_rows(anchors)
    even, odd = torch.where(is_odd, others, anchors), torch.where(is_odd, anchors, others)
    return torch.stack([even, odd], -1).flatten(-2)


def around(anchors: Tensor) -> Tensor:
    """Anchors above, below, left and right of each place of the other colour, 0 outside.

    `(B, C, h, w/2)` -> `(B, 4 C, h, w/2)`.
    """
    rows, columns = anchors.shape[2:]
    edged = functional.pad(anchors, (1, 1, 1, 1))
    above, below = edged[:, :, :rows, 1:-1], edged[:, :, 2:, 1:-1]
    before, after = edged[:, :, 1:-1, :columns], edged[:, :, 1:-1, 2:]
    is_odd = _odd_rows(anchors)
    left, right = torch.where(is_odd, before, anchors), torch.where(is_odd, anchors, after)
    return torch.cat([above, below, left, right], 1)


def with_neighbours(x: Tensor) -> Tensor:
    """Each place with the eight around it, edges repeated: `(B, C, h, w)` -> `(B, 9 C, h, w)`."""
    rows, columns = x.shape[2:]
    edged = functional.pad(x, (1, 1, 1, 1), "replicate")
    shifted = [
        edged[:, :, down : down + rows, right : right + columns]
        for down in range(3)
        for right in range(3)
    ]
    return torch.cat(shifted, 1)


def _odd_rows(x: Tensor) -> Tensor:
    return (torch.arange(x.shape[-2], device=x.device) % 2 == 1)[:, None]


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    first, second = x.chunk(2, 1)
    return first, second


def _channel_of_each(z: Tensor) -> Tensor:
    return torch.arange(z.shape[1], device=z.device)[None, :, None, None].expand_as(z)
