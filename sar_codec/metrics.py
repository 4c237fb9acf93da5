"""What a reconstruction is worth: functions of two image tensors, in float32."""

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
_STRIP = 48  # means in one product; the fastest of 32 to 123
# A mean squared error below this counts as this: a perfect reconstruction has 100 dB, not infinity.
SMALLEST_MSE = 1e-10


def mse(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean squared error of each image: `(B, C, H, W)` twice -> `(B,)`."""
    return (x_hat - x).square().flatten(1).mean(1)


def psnr(x_hat: Tensor, x: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, for a peak of 1: -> `(B,)`, at most 100."""
    return psnr_of_mse(mse(x_hat, x))


def psnr_of_mse(mean_squared_error: Tensor) -> Tensor:
    """PSNR in dB, for a peak of 1, of mean squared errors of any shape."""
    return -10 * mean_squared_error.clamp_min(SMALLEST_MSE).log10()


def ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """Structural similarity of each image, for values in [0, 1]: `(B, C, H, W)` twice -> `(B,)`.

    Gaussian window of 11 with sigma 1.5 around each pixel, the image reflected at its borders, as
    torchmetrics does it (Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861). The window is
    smaller where the image is too small to be reflected by half of it.
    """
    return ssim_map(x_hat, x).flatten(1).mean(1)


def ssim_map(x_hat: Tensor, x: Tensor) -> Tensor:
    """The structural similarity around each pixel, of which `ssim` is the mean: `(B, C, H, W)`."""
    reach = [min(SSIM_WINDOW // 2, size - 1) for size in x.shape[-2:]]
    edges = [reach[1], reach[1], reach[0], reach[0]]
    x, x_hat = (functional.pad(image, edges, mode="reflect") for image in (x, x_hat))
    windows = 2 * reach[0] + 1, 2 * reach[1] + 1
    # The target's moments are averaged apart from the others: they need no gradient.
    mean_x, mean_xx = local_mean(torch.stack([x, x * x]), *windows)
    mean_y, mean_yy, mean_xy = local_mean(torch.stack([x_hat, x_hat * x_hat, x_hat * x]), *windows)
    c1, c2 = 0.01**2, 0.03**2
    mean_product = mean_x * mean_y
    mean_squares = mean_x * mean_x + mean_y * mean_y
    luminance = (2 * mean_product + c1) / (mean_squares + c1)
    structure = (2 * (mean_xy - mean_product) + c2) / (mean_xx + mean_yy - mean_squares + c2)
    return luminance * structure


def local_mean(maps: Tensor, height: int, width: int) -> Tensor:
    """Gaussian means over the windows inside: `(..., H, W)` -> `(..., H - height + 1, W - ...)`.

    Args:
        maps: any number of images.
        height: rows of the window, odd.
        width: columns of the window, odd.
    """
    return _LocalMean.apply(maps, height, width)


class _LocalMean(torch.autograd.Function):
    """The window is symmetric, so the gradient is the same average of the padded gradient.

    As products with small banded matrices, a strip at a time, this is over ten times faster on a
    CPU, backward pass included, than convolutions with one channel.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, height: int, width: int) -> Tensor:
        ctx.window = height, width
        return _average_along(_average_along(maps, -2, height), -1, width)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        height, width = ctx.window
        edges = [width - 1, width - 1, height - 1, height - 1]
        padded = functional.pad(gradients[0], edges)
        return _average_along(_average_along(padded, -2, height), -1, width), None, None


def _average_along(maps: Tensor, axis: int, window: int) -> Tensor:
    strips = []
    means = maps.shape[axis] - window + 1
    for start in range(0, means, _STRIP):
        count = min(_STRIP, means - start)
        band = _band_matrix(count, window, maps.device, maps.dtype)
        strip = maps.narrow(axis, start, count + window - 1)
        strips.append(band.T @ strip if axis == -2 else strip @ band)
    return torch.cat(strips, axis)


@lru_cache(maxsize=64)
def _band_matrix(means: int, window: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Takes `means + window - 1` values to their `means` Gaussian means, as columns."""
    offset = torch.arange(window, dtype=torch.float64) - window // 2
    weight = torch.exp(-0.5 * (offset / SSIM_SIGMA) ** 2)
    matrix = torch.zeros(means + window - 1, means, dtype=torch.float64)
    for start in range(means):
        matrix[start : start + window, start] = weight / weight.sum()
    return matrix.to(device, dtype)


def power_ratio_db(x_hat: Tensor, x: Tensor, vmin: float, vmax: float) -> Tensor:
    """Radiometric bias of each image in dB: mean linear power after over before, -> `(B,)`.

    Args:
        x_hat: the reconstruction, `(B, C, H, W)` in [0, 1], decibels mapped from `[vmin, vmax]`.
        x: the original, likewise.
        vmin: decibels at 0.
        vmax: decibels at 1.
    """
    nepers_per_unit = (vmax - vmin) / 10 * math.log(10)

    def mean_power(image: Tensor) -> Tensor:
        # Relative to the power at 1, so that nothing overflows; vmin cancels in the ratio.
        return torch.exp((image - 1) * nepers_per_unit).flatten(1).mean(1)

    return 10 * torch.log10(mean_power(x_hat) / mean_power(x))
