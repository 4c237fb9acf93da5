"""What codecs share: latents that are rounded finer or coarser, estimated bits, and real ones."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sar_codec.entropy.coding import SymbolDecoder, SymbolEncoder
from sar_codec.entropy.counted import CountedTables
from sar_codec.entropy.gaussian import SCALES, gaussian_bits, scale_of
from sar_codec.entropy.integer import FRACTION
from sar_codec.entropy.quantisation import bounded, noisy
from sar_codec.entropy.search import quantised_around, quantised_in_training
from sar_codec.entropy.tables import IntegerTables
from sar_codec.entropy.trellis import LONG, Trellis, followed
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

# Symbols, tables, the number of each symbol's table: what `SymbolEncoder.put_lanes` takes.
Put = Callable[[Tensor, IntegerTables, Tensor], None]


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
        refinement_width: channels of what refines the image; 0: nothing does.
        lapped: whether the blocks of the linear transform overlap.
    """

    alignment: int  # sides of what is coded are multiples of it
    optional_part = "synthesis.refinement"  # that weights to begin with may lack, or have too many

    def __init__(
        self,
        latents: int,
        width: int,
        analysis_depth: int,
        synthesis_depth: int,
        refinement_width: int = 0,
        lapped: bool = False,
    ) -> None:
        super().__init__()
        self.analysis = Analysis(latents, width, analysis_depth, lapped)
        self.synthesis = Synthesis(latents, width, synthesis_depth, refinement_width, lapped)
        self.gains = Gains(latents)
        self.scale_tables = CountedTables()

    @abstractmethod
    def estimate(self, y: Tensor, fixed: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Rounded latents, and the bits of each image, both with gradients.

        Args:
            y: latents times gains, `(B, latents, h, w)`, float32.
            fixed: the same; where gains learn alone, with no gradient to them.
            level: `(B,)`, float32.
        """

    @abstractmethod
    def encode(
        self, y: Tensor, level: Tensor, put: Put, within: tuple[int, int] | None = None
    ) -> Tensor:
        """Gives all symbols away; what `decode` makes of them.

        Args:
            y: latents times gains, `(B, latents, h, w)`, float32.
            level: `(B,)`, float32, a multiple of 1/64.
            put: takes the symbols.
            within: so many rows and columns of places have symbols, the others are what is
                predicted of them; None: all.
        """

    @abstractmethod
    def decode(
        self,
        shape: tuple[int, int],
        level: Tensor,
        decoder: SymbolDecoder,
        within: tuple[int, int] | None = None,
    ) -> Tensor:
        """Rounded latents `(B, latents, h, w)`, exact: float64 in units of 1/32.

        Args:
            shape: height and width of the latents.
            level: `(B,)`, int64 in units of 1/64.
            decoder: gives the symbols.
            within: as in `encode`.
        """

    def forward(self, x: Tensor) -> tuple[Tensor, Coded]:
        aligned = padded(x, self.alignment)
        if self.training:
            level = random_levels(len(x), x.device)
            latents = self.analysis(aligned, level)
            y = fixed = self.gains(latents, level)
            if not any(each.requires_grad for each in self.analysis.parameters()):
                fixed = self.gains.fixed(latents, level)
            y_hat, bits = self.estimate(y, fixed, level)
        else:
            level = every_level(len(x), x.device)
            spent, within = Spent(len(x)), places_of(*x.shape[-2:])
            y = self._latents(aligned, level, within)
            y_hat = _coded(in_units(self.encode(y, level, spent.put_lanes, within)), within)
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
        within = places_of(*x.shape[-2:])
        y = self.latents(padded(x, self.alignment), quality, within)
        return self.compress_latents(y, quality, within)[0]

    @torch.no_grad()
    def decompress(self, data: bytes, quality: float, height: int, width: int) -> Tensor:
        """What `compress` made bytes of, `(1, 1, height, width)`, float32.

        Raises:
            UserError: there is no such quality, or the bytes cannot be from `compress`.
        """
        latents = self.decompress_latents(data, quality, height, width)
        latents = _coded(latents, places_of(height, width))
        return self.image(latents, quality)[..., :height, :width]

    @torch.no_grad()
    def latents(self, x: Tensor, quality: float, within: tuple[int, int] | None = None) -> Tensor:
        """Latents of an image `(1, 1, H, W)`, not rounded: `(1, latents, h, w)`, float32.

        One place for each 16x16 pixels, of which the last ones are filled up.

        Args:
            x: the image.
            quality: from 1 to 8.
            within: rows and columns of places that hold some of the image, where it has more than
                these already; None: all.

        Raises:
            UserError: there is no such quality, or pixels are not finite.
        """
        level = level_of(quality, x.device)
        if not torch.stack(x.aminmax()).isfinite().all():
            raise UserError("the image has pixels that are not finite: fill them before coding")
        return self._latents(padded(x, BLOCK), level, within)

    @torch.no_grad()
    def compress_latents(
        self, y: Tensor, quality: float, within: tuple[int, int]
    ) -> tuple[bytes, Tensor]:
        """Latents as bytes, and what `decompress_latents` makes of these.

        Args:
            y: `(1, latents, h, w)`; h and w such that 16 times as many pixels are aligned.
            quality: as in `latents`.
            within: rows and columns of places that are coded.
        """
        encoder = SymbolEncoder()
        y_hat = self.encode(y, level_of(quality, y.device), encoder.put_lanes, within)
        return encoder.data(), y_hat

    @torch.no_grad()
    def decompress_latents(
        self,
        data: bytes,
        quality: float,
        height: int,
        width: int,
        codes_padding: bool = False,
        trellis: Trellis = LONG,
    ) -> Tensor:
        """The rounded latents of `decompress`: the same integers on every machine, float64.

        Args:
            data: from `compress`.
            quality: that was given there.
            height: of the image, in pixels.
            width: likewise.
            codes_padding: whether places are coded that hold none of these, too.
            trellis: that symbols ran along.
        """
        level = level_of(quality, self.scale_tables.counts.device)
        decoder = SymbolDecoder(data, trellis)
        rows, columns = (-(-side // self.alignment) * self.alignment for side in (height, width))
        within = None if codes_padding else places_of(height, width)
        return self.decode((rows // BLOCK, columns // BLOCK), in_steps(level), decoder, within)

    @torch.no_grad()
    def image(self, y_hat: Tensor, quality: float) -> Tensor:
        """The image of exact latents `(1, latents, h, w)`: `(1, 1, 16 h, 16 w)`, float32."""
        level = level_of(quality, y_hat.device)
        return self.synthesis(y_hat.float() * (self.gains.inverse(level) / FRACTION), level)

    def _latents(self, x: Tensor, level: Tensor, within: tuple[int, int] | None = None) -> Tensor:
        return self.gains(self.analysis(x, level, within), level)


class Spent:
    """Takes symbols like a `SymbolEncoder`, and tells what they would cost.

    Args:
        images: that the symbols are of; each has an equal share of the lanes.
    """

    def __init__(self, images: int) -> None:
        self._images = images
        self._bits: list[Tensor] = []

    def put_lanes(self, symbols: Tensor, tables: IntegerTables, which: Tensor) -> None:
        bits = tables.bits(symbols.long(), which.long()).sum(0)
        self._bits.append(bits.reshape(self._images, -1).sum(1))

    def bits(self) -> Tensor:
        """Of each image, `(B,)`, float32."""
        return torch.stack(self._bits).sum(0)


def estimated(
    y: Tensor, fixed: Tensor, mean: Tensor, index: Tensor, tables: CountedTables
) -> tuple[Tensor, Tensor]:
    """Latents quantised around their means, and each image's bits; both with gradients.

    What is decoded has the gradient of the latents, as if nothing was rounded. To gains that
    promises that all errors shrink with the steps; but latents that become 0 do so with steps that
    are a little smaller, too. So latents that are nearly always 0 get finer steps than they are
    worth. Where gains learn alone, after all else, `fixed` lets them know: then what is decoded
    follows them as far as it does on average. Where the analysis learns beside them it can scale
    latents as well, and the two would pull against each other for ever.

    Args:
        y: latents, `(B, ...)`.
        fixed: the same; where gains learn alone, with no gradient to them.
        mean: of each, predicted.
        index: of each one's scale, not rounded.
        tables: of scales; in training they count the symbols.
    """
    scale = scale_of(bounded(index, 0, SCALES - 1))
    with torch.no_grad():
        which = (index + 0.5).floor().long().clamp(0, SCALES - 1)
        off = (y - mean).float().flatten(1)
        found = quantised_in_training(off, which.flatten(1), tables.prices())
        symbols, numbers = found.symbols.long(), found.tables.long()
        bits = tables.bits(symbols, numbers).T.reshape(len(y), -1).sum(1)
        if tables.training:
            tables.count(symbols, numbers)
        points = (found.decoded / FRACTION).reshape(y.shape)
    noisy_bits = gaussian_bits(noisy(y) - mean, scale).flatten(1).sum(1)
    seen = fixed + followed(scale.detach()) * (y - fixed)
    return seen + (points.to(y.dtype) + mean - seen).detach(), with_gradient_of(noisy_bits, bits)


def with_gradient_of(noisy_bits: Tensor, rounded_bits: Tensor) -> Tensor:
    """The bits of rounded symbols, with the gradient of those of noisy ones.

    Noisy symbols seem to cost several times as much where most are 0: 0.15 bits each at the
    smallest scale instead of 0.0001. Their gradient is the better one all the same: a codec for
    Sentinel-1 that was trained on with rounded symbols' gradient to the scales became 0.5 % worse
    on unseen scenes.
    """
    return noisy_bits + (rounded_bits - noisy_bits).detach()


def encoded(
    y: Tensor,
    mean: Tensor,
    index: Tensor,
    tables: CountedTables,
    put: Put,
    is_coded: Tensor | None = None,
) -> Tensor:
    """Latents quantised around their means, exact, after the symbols were put.

    Args:
        y: latents, `(B, C, h, w)`, in units of 1.
        mean: of each, in units of 1/32.
        index: of each one's scale, likewise.
        tables: of scales.
        put: takes the symbols.
        is_coded: places that have symbols, `(h, w)`, the others are their means; None: all.
    """
    values = _flat(y, is_coded).float()
    means, indices = (_flat(each, is_coded).int() for each in (mean, index))
    found = quantised_around(values, means, indices, tables.prices())
    put(found.symbols, tables.tables, found.tables)
    return _unflat(found.decoded, mean, is_coded)


def decoded(
    mean: Tensor,
    index: Tensor,
    tables: CountedTables,
    decoder: SymbolDecoder,
    is_coded: Tensor | None = None,
) -> Tensor:
    """What `encoded` gave, exactly."""
    means, indices = (_flat(each, is_coded).int() for each in (mean, index))
    latents = decoder.take_lanes(tables.tables, means, indices)
    return _unflat(latents, mean, is_coded)


def _flat(x: Tensor, is_coded: Tensor | None) -> Tensor:
    return x.flatten(1) if is_coded is None else x[..., is_coded].flatten(1)


def _unflat(flat: Tensor, mean: Tensor, is_coded: Tensor | None) -> Tensor:
    if is_coded is None:
        return flat.reshape(mean.shape)
    places = mean.double().clone(memory_format=torch.contiguous_format)
    places[..., is_coded] = flat.reshape(*mean.shape[:2], -1)
    return places


def places_of(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of latents that hold some of an image."""
    return -(-height // BLOCK), -(-width // BLOCK)


def _coded(y_hat: Tensor, within: tuple[int, int]) -> Tensor:
    """Latents without those that are beyond the image: what is predicted of these tells nothing."""
    return y_hat[..., : within[0], : within[1]]


def in_units(y_hat: Tensor) -> Tensor:
    """Exact latents as float32 in units of 1."""
    return (y_hat / FRACTION).float()
