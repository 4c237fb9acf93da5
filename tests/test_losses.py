from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from sar_codec import metrics
from sar_codec.errors import UserError
from sar_codec.losses import CombinedLoss, Rate, RateDistortion

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


class Coded(NamedTuple):
    bits: Tensor
    quality: Tensor


def test_rate_and_distortion_are_weighed_by_each_images_trade_off() -> None:
    x = torch.zeros(3, 1, 20, 40)
    x_hat = x + torch.tensor([0.3, 0.1, 0.01])[:, None, None, None]
    coded = Coded(torch.tensor([80.0, 800.0, 1600.0]), torch.tensor([0.0, 0.5, 1.0]))
    loss, parts = RateDistortion(lowest=10, highest=1000)(x_hat, x, coded)
    assert parts.keys() == PARTS | {"bpp"}
    costs = [
        (0.1 + 10 * 0.09) / (10 / 100) ** 0.5,
        (1 + 100 * 0.01) / (100 / 100) ** 0.5,
        (2 + 1000 * 0.0001) / (1000 / 100) ** 0.5,
    ]
    assert loss.item() == pytest.approx(sum(costs) / 3, rel=1e-5)
    assert parts["bpp"].item() == pytest.approx(3.1 / 3)
    assert parts["mse"].item() == pytest.approx(0.1001 / 3, rel=1e-5)


def test_a_better_image_at_the_same_rate_costs_less_and_so_does_a_smaller_one() -> None:
    x = torch.rand(2, 1, 32, 32)
    coded = Coded(torch.tensor([500.0, 500.0]), torch.tensor([0.2, 0.8]))
    loss_fn = RateDistortion()
    loss = loss_fn(x + 0.01, x, coded)[0]
    assert loss_fn(x + 0.005, x, coded)[0] < loss
    assert loss_fn(x + 0.01, x, Coded(coded.bits / 2, coded.quality))[0] < loss


def test_ssim_counts_as_much_as_it_is_given() -> None:
    x, noise = torch.rand(1, 1, 32, 32), 0.1 * torch.rand(1, 1, 32, 32)
    coded = Coded(torch.tensor([0.0]), torch.tensor([0.5]))
    x_hat = (x + noise).requires_grad_()
    with_ssim, parts = RateDistortion(ssim_weight=0.5)(x_hat, x, coded)
    without, _ = RateDistortion()(x_hat, x, coded)
    assert (with_ssim - without).item() == pytest.approx(0.5 * (1 - parts["ssim"].item()), rel=1e-4)
    assert not parts["loss"].requires_grad


@pytest.mark.parametrize("z", [None, torch.zeros(1)])
def test_a_model_without_bits_is_refused(z: Tensor | None) -> None:
    x = torch.rand(1, 1, 16, 16)
    with pytest.raises(UserError, match="gives no bits; expected a codec: use model=hyperprior"):
        RateDistortion()(x, x, z)


def test_rate_is_bits_a_pixel() -> None:
    x = torch.rand(2, 1, 20, 40)
    bits = torch.tensor([800.0, 1600.0], requires_grad=True)
    loss, parts = Rate()(x + 0.1, x, Coded(bits, torch.tensor([0.0, 1.0])))
    assert parts.keys() == PARTS | {"bpp"}
    assert loss.item() == parts["bpp"].item() == pytest.approx(1.5)
    assert parts["mse"].item() == pytest.approx(0.01, rel=1e-4)
    loss.backward()
    assert bits.grad is not None
    assert bits.grad.tolist() == pytest.approx([1 / 1600] * 2)


@pytest.mark.parametrize("z", [None, torch.zeros(1, 4, 2, 2)])
def test_rate_is_of_models_that_give_bits(z: torch.Tensor | None) -> None:
    x = torch.rand(1, 1, 16, 16)
    with pytest.raises(UserError, match="use model=interlaced"):
        Rate()(x, x, z)
