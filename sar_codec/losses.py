"""What training minimises: image tensors in, a loss and its named parts out."""

from typing import Annotated, Protocol

from annotated_types import Ge, Gt
from torch import Tensor, nn

from sar_codec import metrics
from sar_codec.errors import UserError


class Priced(Protocol):
    """What a codec says of a batch: the bits of each image and the quality it aims at."""

    @property
    def bits(self) -> Tensor: ...
    @property
    def quality(self) -> Tensor: ...


class CombinedLoss(nn.Module):
    """`mse_weight` x mean squared error + `ssim_weight` x (1 - SSIM).

    Called as `loss, parts = loss_fn(x_hat, x, z)` with images `(B, 1, H, W)` in [0, 1]; the latent
    `z` is taken for the sake of losses that price it, and not used. `parts` holds `loss`, `mse`,
    `psnr` and `ssim`: detached scalars on the device, each the mean over the batch of a value per
    image, so that sums weighted by batch size give exact means over any set of images.
    """

    def __init__(
        self,
        mse_weight: Annotated[float, Ge(0)] = 1.0,
        ssim_weight: Annotated[float, Ge(0)] = 0.002,
    ) -> None:
        super().__init__()
        self.mse_weight = mse_weight
        self.ssim_weight = ssim_weight

    def forward(
        self, x_hat: Tensor, x: Tensor, z: object = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        x_hat, x = x_hat.float(), x.float()
        mse = metrics.mse(x_hat, x)
        ssim = metrics.ssim(x_hat, x).mean()
        loss = self.mse_weight * mse.mean() + self.ssim_weight * (1 - ssim)
        parts = {
            "loss": loss,
            "mse": mse.mean(),
            "psnr": metrics.psnr_of_mse(mse).mean(),
            "ssim": ssim,
        }
        return loss, {name: value.detach() for name, value in parts.items()}


class RateDistortion(nn.Module):
    """Bits a pixel and errors, weighed by the trade-off of each image's quality.

    With the trade-off t, an image counts (bpp + t x MSE + ssim_weight x (1 - SSIM)) / sqrt(t / m),
    where m is the geometric mean of `lowest` and `highest`: undivided, the largest rates would
    count most and the smallest next to nothing. t runs geometrically from `lowest` for quality 0 to
    `highest` for 1.

    The mean squared error is of images in [0, 1]; in dB squared, t is smaller by the square of the
    window: with 80 dB from 0 to 1, 60 to 150,000 are 0.0094 to 23 bits a pixel per dB squared,
    about 0.05 to 3 bits a pixel on Sentinel-1.

    Parts are as in `CombinedLoss`, and `bpp`. Raises `UserError` where the model is not a codec.

    Args:
        lowest: trade-off of the worst quality, in bits a pixel per mean squared error.
        highest: that of the best.
        ssim_weight: bits a pixel that going from an SSIM of 0 to 1 is worth.
    """

    def __init__(
        self,
        lowest: Annotated[float, Gt(0)] = 60.0,
        highest: Annotated[float, Gt(0)] = 150_000.0,
        ssim_weight: Annotated[float, Ge(0)] = 0.0,
    ) -> None:
        super().__init__()
        self.lowest = lowest
        self.highest = highest
        self.ssim_weight = ssim_weight

    def forward(
        self, x_hat: Tensor, x: Tensor, z: Priced | Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if z is None or isinstance(z, Tensor):
            raise UserError(
                "loss=rate_distortion: the model gives no bits; expected a codec: "
                "use model=hyperprior or model=factorized, or loss=combined"
            )
        x_hat, x = x_hat.float(), x.float()
        bpp = z.bits / x[0].numel()
        mse = metrics.mse(x_hat, x)
        # Of no weight, it is for the log only.
        ssim = metrics.ssim(x_hat if self.ssim_weight else x_hat.detach(), x)
        ratio = self.highest / self.lowest
        trade_off = self.lowest * ratio**z.quality
        weight = (trade_off / (self.lowest * self.highest) ** 0.5).rsqrt()
        cost = bpp + trade_off * mse + self.ssim_weight * (1 - ssim)
        loss = (weight * cost).mean()
        parts = {
            "loss": loss,
            "bpp": bpp.mean(),
            "mse": mse.mean(),
            "psnr": metrics.psnr_of_mse(mse).mean(),
            "ssim": ssim.mean(),
        }
        return loss, {name: value.detach() for name, value in parts.items()}


class Rate(nn.Module):
    """Bits a pixel, of models whose error is bounded and not to be weighed.

    Parts are as in `CombinedLoss`, and `bpp`. Raises `UserError` where the model gives no bits.
    """

    def forward(
        self, x_hat: Tensor, x: Tensor, z: Priced | Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if z is None or isinstance(z, Tensor):
            raise UserError(
                "loss=rate: the model gives no bits; expected a codec of bounded error: "
                "use model=interlaced, or loss=combined"
            )
        x_hat, x = x_hat.float(), x.float()
        bpp = (z.bits / x[0].numel()).mean()
        mse = metrics.mse(x_hat, x)
        parts = {
            "loss": bpp,
            "bpp": bpp,
            "mse": mse.mean(),
            "psnr": metrics.psnr_of_mse(mse).mean(),
            "ssim": metrics.ssim(x_hat, x).mean(),
        }
        return bpp, {name: value.detach() for name, value in parts.items()}
