"""A small codec: each channel of its latents has one density, wherever in the image."""

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from sar_codec.entropy.coding import SymbolDecoder
from sar_codec.entropy.integer import FRACTION, between_levels, saturated
from sar_codec.models.autoencoder import BLOCK
from sar_codec.models.codec import Codec, Put, decoded, encoded, estimated
from sar_codec.models.transform import in_steps, untrained_scales


class Factorized(Codec):
    """Image `(B, 1, H, W)` -> reconstruction of the same shape, `Coded`; or bytes, and back.

        x -- analysis -- gain -- trellis around means -- 1 / gain -- synthesis -- x_hat
                                         |
                        a Gaussian for each channel and level

    Any height and width: the image is padded inside to multiples of 16, and cropped back. Analysis
    and synthesis are those of `Hyperprior`, smaller: 404,480 parameters and 3,072 multiply-adds a
    pixel by default.

    Args:
        latent_channels: numbers kept of each 16x16 block.
        width: channels inside.
        analysis_depth: residual blocks of the encoder.
        synthesis_depth: residual blocks of the decoder.
    """

    alignment = BLOCK

    def __init__(
        self,
        latent_channels: Annotated[int, Ge(1), Le(BLOCK**2)] = 256,
        width: Annotated[int, Ge(1), Le(4096)] = 64,
        analysis_depth: Annotated[int, Ge(0), Le(100)] = 1,
        synthesis_depth: Annotated[int, Ge(0), Le(100)] = 2,
    ) -> None:
        super().__init__(latent_channels, width, analysis_depth, synthesis_depth)
        scales = untrained_scales(latent_channels)
        self.densities = nn.Parameter(torch.cat([torch.zeros_like(scales), scales], 1))

    def estimate(self, y: Tensor, fixed: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        mean, index = self._means_and_scales(level, y.shape[2:])
        return estimated(y, fixed, mean, index, self.scale_tables)

    def encode(
        self, y: Tensor, level: Tensor, put: Put, within: tuple[int, int] | None = None
    ) -> Tensor:
        # Where places need no alignment, all are within the image.
        mean, index = self._means_and_scales(in_steps(level), y.shape[2:])
        return encoded(y, mean, index, self.scale_tables, put)

    def decode(
        self,
        shape: tuple[int, int],
        level: Tensor,
        decoder: SymbolDecoder,
        within: tuple[int, int] | None = None,
    ) -> Tensor:
        mean, index = self._means_and_scales(level, shape)
        return decoded(mean, index, self.scale_tables, decoder)

    def _means_and_scales(self, level: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Each latent's mean and scale index; of levels in units of 1/64 exact, else float32."""
        exact = (saturated(self.densities).double() * FRACTION).round()
        values = between_levels(self.densities if level.is_floating_point() else exact, level)
        mean, index = values.expand(-1, -1, *shape).chunk(2, 1)
        return mean, index
