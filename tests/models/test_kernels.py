import pytest
import torch

from sar_codec.models.kernels import (
    LARGEST_SPREAD,
    SPREAD_STEPS,
    WEIGHT_STEPS,
    fitted,
    plain_kernel,
    reference,
)


def made(noise: float, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What is around, the weights of pairs of places, and values that they and noise make."""
    generator = torch.Generator().manual_seed(0)
    around = torch.randn(batch, 8, 30, 40, generator=generator) - 15
    weights = torch.randint(-40, 40, (batch, 4), generator=generator).float() / WEIGHT_STEPS
    weights[:, 1] = -weights[:, 0]  # of the nearest, only differences count
    near = reference(around)
    pairs = around[:, 0::2] + around[:, 1::2] - 2 * near[:, None]
    values = near + (weights[:, :, None, None] * pairs).sum(1)
    values += noise * torch.randn(values.shape, generator=generator)
    return around, weights, values


def test_a_kernel_is_found_again() -> None:
    around, weights, values = made(noise=0.1)
    kernel = fitted(around, values)
    assert torch.equal(kernel.weights[:, 0::2], kernel.weights[:, 1::2])
    assert (kernel.weights[:, 4::2] - weights[:, 2:]).abs().max() < 2 / WEIGHT_STEPS
    assert ((kernel.spread - torch.tensor(0.1).log2()).abs() < 0.3).all()
    assert torch.equal(kernel.weights * WEIGHT_STEPS, (kernel.weights * WEIGHT_STEPS).round())
    assert torch.equal(kernel.spread * SPREAD_STEPS, (kernel.spread * SPREAD_STEPS).round())


def test_values_that_are_not_known_do_not_count() -> None:
    around, _, values = made(noise=0.1)
    some = values.clone()
    some[:, ::2] = torch.nan
    alone = fitted(around[:, :, 1::2], values[:, 1::2])
    kernel = fitted(around, some)
    assert torch.equal(kernel.weights, alone.weights)
    assert torch.equal(kernel.spread, alone.spread)


@pytest.mark.parametrize("value", [0.0, torch.nan, 1e6])
def test_there_is_a_kernel_whatever_the_values(value: float) -> None:
    around = torch.zeros(2, 8, 5, 6)
    kernel = fitted(around, torch.full((2, 5, 6), value))
    assert kernel.weights.isfinite().all()
    assert (kernel.spread.abs() <= LARGEST_SPREAD / SPREAD_STEPS).all()


def test_the_plain_kernel_is_told_from_fitted_ones() -> None:
    around, _, _ = made(noise=0)
    plain = plain_kernel(3, 8, torch.device("cpu"))
    exact = fitted(around, reference(around))
    assert (plain.weights == 0).all()
    assert (plain.spread < exact.spread).all()
