"""A codec that predicts its latents' densities: from a hyper-latent, and from each other."""

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Le, Lt
from torch import Tensor, nn
from torch.nn import functional

from sar_codec.entropy.coding import SymbolDecoder
from sar_codec.entropy.factorized import FactorizedDensity
from sar_codec.entropy.integer import (
    FRACTION,
    IntegerLayer,
    between_levels,
    log_size,
    rectified,
    saturated,
)
from sar_codec.entropy.quantisation import noisy, round_through
from sar_codec.entropy.tables import LARGEST_SYMBOL
from sar_codec.errors import UserError
from sar_codec.models.autoencoder import BLOCK, gelu
from sar_codec.models.codec import Codec, Put, decoded, encoded, estimated, with_gradient_of
from sar_codec.models.layers import has_kernels, in_planes
from sar_codec.models.transform import LEVELS, in_steps, shifted, untrained_scales

Width = Annotated[int, Ge(1), Le(4096)]


class Hyperprior(Codec):
    r"""A mean-scale hyperprior with a checkerboard context, at any quality of a range.

    Image `(B, 1, H, W)` -> reconstruction of the same shape, `Coded`; or bytes, and back. Any
    height and width: the image is padded inside to multiples of 64, and cropped back.

        x -- analysis -- gain -- y -- trellis around means -- 1 / gain -- synthesis -- x_hat
                                 |             |
                          hyper-analysis     means and scales, told by z_hat and by what was coded
                                 |             |     before: coarse black, coarse white, fine
                                 z -- round -- z_hat -- integer layers

        analysis         x -- blocks of 16x16 -- 1x1 ------------------------------------ + --
                           \- blocks of 8x8 -- 1x1 -- residual x 2 -- 2x2 / 2 -- GELU -- 1x1 /
        synthesis        y -- 1x1 -- blocks of 16x16 ------------------------------------ + --
                           \- 1x1 -- shuffle 2 -- residual x 3 -- 1x1 -- blocks of 8x8 ---/
        hyper-analysis   log(1 + |y|), with sign and without -- 1x1 -- 2x2 / 2 -- 2x2 / 2 --
        integer layers   z_hat -- 1x1 -- shuffle 2 -- 3x3 -- 1x1 -- shuffle 2 -- h
                         coarse black   h -- 1x1 --
                         coarse white   h, 4 black ones around -- 1x1 -- 1x1 --
                         fine           h, the coarse ones there and sizes of 4 around -- 1x1 -- 1x1

    `y` has `latent_channels` numbers for each 16x16 block: all frequencies of a block DCT to begin
    with, the lowest of which are the coarse ones. Those are coded in two passes, as the colours of
    a checkerboard, the others in a third. At high rates the coarse latents of a block tell best
    how much there is in the fine ones; what is around tells little.

    Latents are quantised less their means, by a trellis that runs along 512 of them at a time: see
    `entropy.trellis`. Gains, and a bias in each part, depend on the quality level. A channel of `z`
    has one learned density. What reading the symbols depends on is made of `IntegerLayer`: it is
    the same on every machine.

    1,016,512 parameters by default. 5,407 multiply-adds a pixel: 2,184 for encoding alone, 727 on
    integers for both, 2,496 for decoding alone. What is decoded may be refined at full resolution,
    see `models.refinement`: with 32 channels for another 2,816 parameters and 576 multiply-adds.
    Blocks of 16x16 may overlap, see `models.lapping`: for another 512 parameters and 32
    multiply-adds on either side. With a residual block less on either side that takes fewer bits
    than without, for three quarters of the multiply-adds.

    Ballé et al. 2018, https://arxiv.org/abs/1802.01436; Minnen et al. 2018,
    https://arxiv.org/abs/1809.02736; checkerboard: He et al. 2021,
    https://arxiv.org/abs/2103.15306; gains: Cui et al. 2021, https://arxiv.org/abs/2003.02012.

    Args:
        latent_channels: numbers kept of each 16x16 block; fewer cap the best quality.
        width: channels inside analysis and synthesis.
        analysis_depth: residual blocks of the encoder.
        synthesis_depth: residual blocks of the decoder.
        coarse_channels: those of the latents that are coded first.
        hyper_channels: numbers kept of each 64x64 block, about scales and means.
        hyper_width: channels of the integer layers up to 1/32 of the resolution.
        context_width: channels of those at 1/16.
        refinement_width: channels of what refines the image at the end; 0: nothing does.
        lapped: whether the blocks of 16x16 overlap, by half.
    """

    alignment = 4 * BLOCK  # the hyper-latent's stride

    def __init__(
        self,
        latent_channels: Annotated[int, Ge(1), Le(BLOCK**2)] = 256,
        width: Width = 64,
        analysis_depth: Annotated[int, Ge(0), Le(100)] = 2,
        synthesis_depth: Annotated[int, Ge(0), Le(100)] = 3,
        coarse_channels: Annotated[int, Ge(1), Lt(BLOCK**2)] = 48,
        hyper_channels: Width = 64,
        hyper_width: Width = 96,
        context_width: Width = 128,
        refinement_width: Annotated[int, Ge(0), Le(4096)] = 0,
        lapped: bool = False,
    ) -> None:
        if coarse_channels >= latent_channels:
            raise UserError(
                f"model.coarse_channels={coarse_channels}: expected fewer than "
                f"model.latent_channels, which is {latent_channels}"
            )
        super().__init__(
            latent_channels, width, analysis_depth, synthesis_depth, refinement_width, lapped
        )
        self.hyper_analysis = HyperAnalysis(latent_channels, 2 * width, hyper_channels)
        self.hyper_density = FactorizedDensity(hyper_channels)
        self.coarse = coarse_channels
        self.predictor = Predictor(
            coarse_channels,
            latent_channels - coarse_channels,
            hyper_channels,
            hyper_width,
            context_width,
        )

    def estimate(self, y: Tensor, fixed: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        z = self.hyper_analysis(y, level).float()
        density = self.hyper_density
        z_bits = with_gradient_of(density.bits(noisy(z)), density.bits(z.detach().round()))
        bits = [z_bits.flatten(1).sum(1)]
        parts = list(zip(self.parts(y), self.parts(fixed), strict=True))

        def code(part: int, mean: Tensor, index: Tensor) -> Tensor:
            y_hat, spent = estimated(*parts[part], mean, index, self.scale_tables)
            bits.append(spent)
            return y_hat

        return self.predicted(round_through(z), level, code), torch.stack(bits).sum(0)

    def encode(
        self, y: Tensor, level: Tensor, put: Put, within: tuple[int, int] | None = None
    ) -> Tensor:
        z = self.hyper_analysis(y, level).float().round().nan_to_num(0)
        z = z.clamp(-LARGEST_SYMBOL, LARGEST_SYMBOL).long()
        put(z.reshape(1, -1), self.hyper_density.tables, _channel_of_each(z).reshape(1, -1))
        parts = self.parts(y)
        are_coded = _of_parts(y.shape[2:], within, y.device)

        def code(part: int, mean: Tensor, index: Tensor) -> Tensor:
            return encoded(parts[part], mean, index, self.scale_tables, put, are_coded[part])

        return self.predicted(z.double() * FRACTION, in_steps(level), code)

    def decode(
        self,
        shape: tuple[int, int],
        level: Tensor,
        decoder: SymbolDecoder,
        within: tuple[int, int] | None = None,
    ) -> Tensor:
        tables = self.hyper_density.tables
        numbers = torch.arange(len(tables.lowest), device=level.device)[None, :, None, None]
        z = decoder.take(tables, numbers.expand(len(level), -1, shape[0] // 4, shape[1] // 4))

        are_coded = _of_parts(shape, within, level.device)

        def code(part: int, mean: Tensor, index: Tensor) -> Tensor:
            return decoded(mean, index, self.scale_tables, decoder, are_coded[part])

        return self.predicted(z.double() * FRACTION, level, code)

    def parts(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latents in the order of coding: coarse black ones, coarse white ones, fine ones."""
        return *split(y[:, : self.coarse]), y[:, self.coarse :]

    def predicted(
        self, z: Tensor, level: Tensor, code: Callable[[int, Tensor, Tensor], Tensor]
    ) -> Tensor:
        """All latents, one part after the other.

        Args:
            z: rounded hyper-latent; float64 in units of 1/32, or float32.
            level: int64 in units of 1/64, or float32.
            code: number of a part, means and scale indices of its latents -> its latents.
        """
        hidden = self.predictor.hyper(saturated(z), level)
        of_black, of_white = split(hidden)
        black = code(0, *self.predictor.black(of_black, level))
        white = code(1, *self.predictor.white(saturated(black), of_white, level))
        coarse = merge(black, white)
        fine = code(2, *self.predictor.fine(saturated(coarse), hidden, level))
        return torch.cat([coarse, fine], 1)


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
        # In place, as new memory takes as long again; log1p takes ten times as long.
        size = _as_multiplied(y.abs().add_(1).log_())
        signed = size.copysign(y.to(size.dtype))
        if has_kernels(y):
            of_size, of_signed = self.enter.weight.flatten(1).chunk(2, 1)
            inside = in_planes(of_signed, signed, in_planes(of_size, size))
        else:
            inside = self.enter(torch.cat([size, signed], 1))
        inside = gelu(shifted(inside, between_levels(self.levels, level)))
        return self.leave(gelu(self.halve(inside)))


class Predictor(nn.Module):
    """What is known of latents -> their means and scale indices; the same on every machine.

    Args:
        coarse: channels that are coded first.
        fine: the other channels of the latents.
        hyper: channels of the hyper-latent.
        width: channels at its resolution and twice that.
        context: channels at the latents' resolution.
    """

    def __init__(self, coarse: int, fine: int, hyper: int, width: int, context: int) -> None:
        super().__init__()
        self.hyper_enter = IntegerLayer(hyper, 4 * width, LEVELS)
        self.hyper_spread = IntegerLayer(9 * width, width, LEVELS)
        self.hyper_leave = IntegerLayer(width, 4 * context, LEVELS)
        self.black_leave = IntegerLayer(context, 2 * coarse, LEVELS)
        self.white_enter = IntegerLayer(context + 8 * coarse, context, LEVELS)
        self.white_leave = IntegerLayer(context, 2 * coarse, LEVELS)
        self.fine_enter = IntegerLayer(context + 6 * coarse, context, LEVELS)
        self.fine_leave = IntegerLayer(context, 2 * fine, LEVELS)
        scales = untrained_scales(coarse + fine)
        with torch.no_grad():
            for leave in (self.black_leave, self.white_leave, self.fine_leave):
                leave.weight.mul_(0.1)
            for enter in (self.white_enter, self.fine_enter):
                enter.weight[:, context:].mul_(0.1)
            self.black_leave.bias[:, coarse:] = scales[:, :coarse]
            self.white_leave.bias[:, coarse:] = scales[:, :coarse]
            self.fine_leave.bias[:, fine:] = scales[:, coarse:]

    def hyper(self, z: Tensor, level: Tensor) -> Tensor:
        """Hyper-latent `(B, hyper, h/4, w/4)` -> what it tells of each place, `(B, ., h, w)`."""
        inside = functional.pixel_shuffle(rectified(self.hyper_enter(z, level)), 2)
        inside = rectified(self.hyper_spread(window(inside), level))
        return functional.pixel_shuffle(rectified(self.hyper_leave(inside, level)), 2)

    def black(self, hidden: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Means and scale indices of one colour's coarse channels, `(B, coarse, h, w/2)` each."""
        return _halves(self.black_leave(hidden, level))

    def white(self, black: Tensor, hidden: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the other colour, by the four around each."""
        known = hidden, *around(black), *around(log_size(black))
        return _halves(self.white_leave(rectified(self.white_enter(known, level)), level))

    def fine(self, coarse: Tensor, hidden: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the fine channels, `(B, fine, h, w)`, by the coarse ones there and around."""
        known = hidden, coarse, *cross(log_size(coarse))
        return _halves(self.fine_leave(rectified(self.fine_enter(known, level)), level))


def _of_parts(
    shape: Sequence[int], within: tuple[int, int] | None, device: torch.device
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Places of each part that are coded, in as many rows and columns; None where all are."""
    if within is None or within == tuple(shape):
        return None, None, None
    is_coded = torch.zeros(*shape, dtype=torch.bool, device=device)
    is_coded[: within[0], : within[1]] = True
    black, white = split(is_coded[None, None])
    return black[0, 0], white[0, 0], is_coded


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """The two colours of a checkerboard, `(B, C, h, w)` -> twice `(B, C, h, w/2)`.

    The first has the upper left corner.
    """
    even, odd = x[..., 0::2], x[..., 1::2]
    is_odd = _odd_rows(x)
    return torch.where(is_odd, odd, even), torch.where(is_odd, even, odd)


def merge(black: Tensor, white: Tensor) -> Tensor:
    """The inverse of `split`."""
    is_odd = _odd_rows(black)
    even, odd = torch.where(is_odd, white, black), torch.where(is_odd, black, white)
    return torch.stack([even, odd], -1).flatten(-2)


def around(black: Tensor) -> list[Tensor]:
    """Black places above, below, left and right of each white one, 0 outside.

    Those of `(B, C, h, w/2)`, each of the same shape.
    """
    rows, columns = black.shape[2:]
    edged = functional.pad(black, (1, 1, 1, 1))
    above, below = edged[:, :, :rows, 1:-1], edged[:, :, 2:, 1:-1]
    before, after = edged[:, :, 1:-1, :columns], edged[:, :, 1:-1, 2:]
    is_odd = _odd_rows(black)
    left, right = torch.where(is_odd, before, black), torch.where(is_odd, black, after)
    return [above, below, left, right]


def cross(x: Tensor) -> list[Tensor]:
    """Each place, and those above, below, left and right, 0 outside: each of the same shape."""
    edged = functional.pad(x, (1, 1, 1, 1))
    above, below = edged[:, :, :-2, 1:-1], edged[:, :, 2:, 1:-1]
    left, right = edged[:, :, 1:-1, :-2], edged[:, :, 1:-1, 2:]
    return [x, above, below, left, right]


def window(x: Tensor) -> Tensor:
    """Each place with the eight around it, edges repeated: `(B, C, h, w)` -> `(B, 9 C, h, w)`."""
    rows, columns = x.shape[2:]
    down, across = (
        torch.arange(-1, side + 1, device=x.device).clamp(0, side - 1) for side in (rows, columns)
    )
    edged = x[:, :, down][..., across]  # pad repeats no integers
    shifted = [
        edged[:, :, down : down + rows, right : right + columns]
        for down in range(3)
        for right in range(3)
    ]
    return torch.cat(shifted, 1)


def _as_multiplied(x: Tensor) -> Tensor:
    """Of the type that convolutions would make it; half the memory takes half the time."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def _odd_rows(x: Tensor) -> Tensor:
    return (torch.arange(x.shape[-2], device=x.device) % 2 == 1)[:, None]


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    first, second = x.chunk(2, 1)
    return first, second


def _channel_of_each(z: Tensor) -> Tensor:
    return torch.arange(z.shape[1], device=z.device)[None, :, None, None].expand_as(z)
