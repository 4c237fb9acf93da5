"""What codecs share: latents that are rounded finer or coarser, estimated bits, and real ones."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sar_codec.entropy.coding import LARGEST_SYMBOL, SymbolDecoder, SymbolEncoder
from sar_codec.entropy.gaussian import SCALES, gaussian_bits, gaussian_tables, scale_of
from sar_codec.entropy.integer import FRACTION
from sar_codec.entropy.quantisation import bounded, noisy, round_through
from sar_codec.entropy.tables import IntegerTables
from sar_codec.errors import UserError
from sar_codec.models.autoencoder import BLOCK
from sar_codec.models.transform import (
    LEVELS,
    Analysis,
    Coded,
    Gains,
    Synthesis,
    every_level,
    in_steps,
    level_of,
    padded,
    random_levels,
)

# Symbols, tables, the number of each symbol's table: what `SymbolEncoder.put` takes.
Put = Callable[[Tensor, IntegerTables, Tensor], None]
# Tables, the number of each symbol's table -> symbols: `SymbolDecoder.take`.
Take = Callable[[IntegerTables, Tensor], Tensor]


class Codec(nn.Module, ABC):
    """Image `(B, 1, H, W)` -> reconstruction of the same shape, `Coded`; or bytes, and back.

    In training each image has a level of quality drawn from the global generator, and a formula
    estimates the bits. In evaluation the levels are given by the place in the batch, and the bits
    are those that `compress` spends.

    Args:
        latents: channels.
        width: channels inside analysis and synthesis.
        analysis_depth: residual blocks.
        synthesis_depth: likewise.
    """

    alignment: int  # sides of what is coded are multiples of it

    def __init__(self, latents: int, width: int, analysis_depth: int, synthesis_depth: int) -> None:
        super().__init__()
        self.analysis = Analysis(latents, width, analysis_depth)
        self.synthesis = Synthesis(latents, width, synthesis_depth)
        self.gains = Gains(latents)
        self.scale_tables = gaussian_tables()

    @abstractmethod
    def estimate(self, y: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Rounded latents, and the bits of each image, both with gradients.

        Args:
            y: latents times gains, `(B, latents, h, w)`, float32.
            level: `(B,)`, float32.
        """

    @abstractmethod
    def encode(self, y: Tensor, level: Tensor, put: Put) -> Tensor:
        """Gives all symbols away; what `decode` makes of them.

        Args:
            y: latents times gains, `(B, latents, h, w)`, float32.
            level: `(B,)`, float32, a multiple of 1/64.
            put: takes the symbols.
        """

    @abstractmethod
    def decode(self, shape: tuple[int, int], level: Tensor, take: Take) -> Tensor:
        """Rounded latents `(B, latents, h, w)`, exact: float64 in units of 1/32.

        Args:
            shape: height and width of the latents.
            level: `(B,)`, int64 in units of 1/64.
            take: gives the symbols.
        """

    def forward(self, x: Tensor) -> tuple[Tensor, Coded]:
        if self.training:
            level = random_levels(len(x), x.device)
            y_hat, bits = self.estimate(self._latents(x, level), level)
        else:
            level = every_level(len(x), x.device)
            spent = Spent()
            y_hat = in_units(self.encode(self._latents(x, level), level, spent.put))
            bits = spent.bits()
        x_hat = self.synthesis(self.gains.undo(y_hat, level), level)
        return x_hat[..., : x.shape[-2], : x.shape[-1]], Coded(bits, level / (LEVELS - 1))

    @torch.no_grad()
    def compress(self, x: Tensor, quality: float) -> bytes:
        """One image as bytes.

        Args:
            x: `(1, 1, H, W)`.
            quality: from 1, the smallest, to 8, fractions too.

        Raises:
            UserError: there is no such quality, or pixels are not finite.
        """
        level = level_of(quality, x.device)
        if not x.isfinite().all():
            raise UserError("the image has pixels that are not finite: fill them before coding")
        encoder = SymbolEncoder()
        self.encode(self._latents(x, level), level, encoder.put)
        return encoder.data()

    @torch.no_grad()
    def decompress(self, data: bytes, quality: float, height: int, width: int) -> Tensor:
        """What `compress` made bytes of, `(1, 1, height, width)`, float32.

        Raises:
            UserError: there is no such quality, or the bytes cannot be from `compress`.
        """
        level = level_of(quality, self.scale_tables.frequencies.device)
        y_hat = in_units(self.decompress_latents(data, quality, height, width))
        x_hat = self.synthesis(self.gains.undo(y_hat, level), level)
        return x_hat[..., :height, :width]

    @torch.no_grad()
    def decompress_latents(self, data: bytes, quality: float, height: int, width: int) -> Tensor:
        """The rounded latents of `decompress`: the same integers on every machine, float64."""
        level = level_of(quality, self.scale_tables.frequencies.device)
        decoder = SymbolDecoder(data)
        rows, columns = (-(-side // self.alignment) * self.alignment for side in (height, width))
        return self.decode((rows // BLOCK, columns // BLOCK), in_steps(level), decoder.take)

    def _latents(self, x: Tensor, level: Tensor) -> Tensor:
        return self.gains(self.analysis(padded(x, self.alignment), level), level)


class Spent:
    """Takes symbols like a `SymbolEncoder`, and tells what they would cost."""

    def __init__(self) -> None:
        self._bits: list[Tensor] = []

    def put(self, symbols: Tensor, tables: IntegerTables, which: Tensor) -> None:
        self._bits.append(tables.bits(symbols, which).flatten(1).sum(1))

    def bits(self) -> Tensor:
        """Of each image, `(B,)`, float32."""
        return torch.stack(self._bits).sum(0)


def estimated(y: Tensor, mean: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Latents rounded around their means, and each image's bits; both with gradients.

    Args:
        y: latents.
        mean: of each, predicted.
        index: of each one's scale, not rounded.
    """
    scale = scale_of(bounded(index, 0, SCALES - 1))
    with torch.no_grad():
        rounded = gaussian_bits((y - mean).round(), scale)
    bits = with_gradient_of(gaussian_bits(noisy(y) - mean, scale), rounded)
    return round_through(y - mean) + mean, bits.flatten(1).sum(1)


def with_gradient_of(noisy_bits: Tensor, rounded_bits: Tensor) -> Tensor:
    """The bits of rounded symbols, with the gradient of those of noisy ones.

    Noisy symbols seem to cost several times as much where most are 0: 0.15 bits each at the
    smallest scale instead of 0.0001. Their gradient is the better one all the same: a codec for
    Sentinel-1 that was trained on with rounded symbols' gradient to the scales became 0.5 % worse
    on unseen scenes.
    """
    return noisy_bits + (rounded_bits - noisy_bits).detach()


def encoded(y: Tensor, mean: Tensor, index: Tensor, tables: IntegerTables, put: Put) -> Tensor:
    """Latents rounded around their means, exact, after the symbols were put.

    Args:
        y: latents, in units of 1.
        mean: of each, in units of 1/32.
        index: of each one's scale, likewise.
        tables: of scales.
        put: takes the symbols.
    """
    symbols = (y.double() - mean / FRACTION).round()
    symbols = symbols.nan_to_num(0).clamp(-LARGEST_SYMBOL, LARGEST_SYMBOL)
    put(symbols.long(), tables, _table_of(index))
    return symbols * FRACTION + mean


def decoded(mean: Tensor, index: Tensor, tables: IntegerTables, take: Take) -> Tensor:
    """What `encoded` gave, exactly."""
    return take(tables, _table_of(index)) * FRACTION + mean


def in_units(y_hat: Tensor) -> Tensor:
    """Exact latents as float32 in units of 1."""
    return (y_hat / FRACTION).float()


def _table_of(index: Tensor) -> Tensor:
    return (index / FRACTION + 0.5).floor().long().clamp(0, SCALES - 1)
