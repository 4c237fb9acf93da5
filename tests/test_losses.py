import pytest
import torch

from sar_codec import metrics
from sar_codec.losses import CombinedLoss

PARTS = {"loss", "mse", "psnr", "ssim"}


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    x_hat, x = torch.rand(3, 1, 32, 32), torch.rand(3, 1, 32, 32)
    loss, parts = CombinedLoss(mse_weight=0.7, ssim_weight=0.2)(x_hat, x)
    assert parts.keys() == PARTS
    expected = 0.7 * torch.mean((x_hat - x) ** 2) + 0.2 * (1 - metrics.ssim(x_hat, x).mean())
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(parts["loss"], expected)


def test_psnr_is_the_mean_of_each_images_psnr() -> None:
    x = torch.zeros(2, 1, 16, 16)
    x_hat = torch.stack([x[0] + 0.1, x[0] + 0.01])  # 20 dB and 40 dB
    _, parts = CombinedLoss()(x_hat, x)
    assert parts["psnr"].item() == pytest.approx(30, abs=1e-4)


def test_a_perfect_reconstruction_costs_nothing() -> None:
    x = torch.rand(2, 1, 32, 32)
    loss, parts = CombinedLoss()(x, x)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert parts["psnr"].item() == pytest.approx(100)


def test_parts_are_detached_and_float32_whatever_comes_in() -> None:
    x_hat = torch.rand(2, 1, 16, 16, dtype=torch.bfloat16).requires_grad_()
    loss, parts = CombinedLoss()(x_hat, torch.rand(2, 1, 16, 16), torch.zeros(1))
    assert loss.dtype == torch.float32
    assert loss.requires_grad
    assert all(part.dtype == torch.float32 and not part.requires_grad for part in parts.values())
