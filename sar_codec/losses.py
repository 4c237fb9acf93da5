"""What training minimises: image tensors in, a loss and its named parts out."""

from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Ge
from torch import Tensor, nn

from sar_codec import metrics


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
        self, x_hat: Tensor, x: Tensor, z: Tensor | Mapping[str, Any] | None = None
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
