import math

import pytest
import torch

from sar_codec import metrics


def noisy_pair(*shape: int, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    x = torch.rand(shape, generator=generator)
    return (x + noise * torch.randn(shape, generator=generator)).clamp(0, 1), x


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("size", [(6, 9), (11, 11), (32, 57), (256, 256), (130, 64)])
def test_ssim_agrees_with_torchmetrics(size: tuple[int, int], noise: float) -> None:
    # Imported here, as it takes a second in every process that collects tests.
    from torchmetrics.functional.image import structural_similarity_index_measure

    x_hat, x = noisy_pair(3, 1, *size, noise=noise)
    expected = structural_similarity_index_measure(x_hat, x, data_range=1.0, reduction="none")
    torch.testing.assert_close(metrics.ssim(x_hat, x), expected, atol=1e-4, rtol=0)


def test_ssim_has_the_gradient_of_finite_differences() -> None:
    x_hat, x = noisy_pair(1, 1, 14, 17, noise=0.2)
    x_hat = x_hat.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: metrics.ssim(y, x.double()), x_hat)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 2), (5, 300)])
def test_ssim_of_images_smaller_than_the_window(size: tuple[int, int]) -> None:
    x_hat, x = noisy_pair(2, 1, *size, noise=0.3)
    torch.testing.assert_close(metrics.ssim(x, x), torch.ones(2))
    assert (metrics.ssim(x_hat, x) < 1).all()


def test_local_mean_of_a_constant_is_the_constant() -> None:
    mean = metrics.local_mean(torch.full((2, 1, 100, 75), 0.3), 11, 11)
    assert mean.shape == (2, 1, 90, 65)
    torch.testing.assert_close(mean, torch.full_like(mean, 0.3))


@pytest.mark.parametrize("error", [0.5, 0.1, 1e-3])
def test_psnr_of_a_constant_error(error: float) -> None:
    x = torch.zeros(2, 1, 8, 8)
    torch.testing.assert_close(
        metrics.psnr(x + error, x), torch.full((2,), -20 * math.log10(error))
    )


def test_psnr_of_a_perfect_reconstruction_is_finite() -> None:
    x = torch.rand(1, 1, 4, 4)
    assert metrics.psnr(x, x).item() == pytest.approx(100)


@pytest.mark.parametrize("bias", [-1.5, 0.0, 0.7])
def test_a_constant_offset_in_db_is_the_power_ratio(bias: float) -> None:
    vmin, vmax = -30.0, 20.0
    x = torch.rand(3, 1, 16, 16) * 0.8 + 0.1
    ratio = metrics.power_ratio_db(x + bias / (vmax - vmin), x, vmin, vmax)
    torch.testing.assert_close(ratio, torch.full((3,), bias), atol=1e-4, rtol=0)


def test_smoothing_speckle_in_decibels_lowers_the_mean_power() -> None:
    decibels = 10 * torch.log10(torch.distributions.Gamma(5.0, 5.0).sample((1, 1, 256, 256)))
    x = (decibels + 30) / 50
    ratio = metrics.power_ratio_db(x.mean().expand_as(x), x, -30.0, 20.0)
    # digamma(5) - log(5) in dB: how far the mean of the logarithm lies below that of the mean.
    expected = 10 / math.log(10) * (torch.digamma(torch.tensor(5.0)) - math.log(5)).item()
    assert ratio.item() == pytest.approx(expected, abs=0.03)
