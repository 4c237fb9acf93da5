import pytest
import torch

from sar_codec.entropy.quantisation import bounded, noisy, round_through


def test_rounding_gives_integers_and_passes_the_gradient() -> None:
    x = torch.tensor([-1.6, -0.2, 0.4, 2.7], requires_grad=True)
    y = round_through(x)
    assert y.tolist() == [-2, 0, 0, 3]
    (y * torch.arange(4)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 2, 3]


def test_noise_is_uniform_and_the_global_generators() -> None:
    torch.manual_seed(3)
    noise = noisy(torch.zeros(100_000))
    assert noise.min() >= -0.5
    assert noise.max() < 0.5
    assert noise.mean().item() == pytest.approx(0, abs=0.005)
    assert noise.var().item() == pytest.approx(1 / 12, rel=0.02)
    torch.manual_seed(3)
    assert torch.equal(noisy(torch.zeros(100_000)), noise)


@pytest.mark.parametrize(
    ("value", "gradient", "passed"),
    [(-3.0, 1.0, 0.0), (-3.0, -1.0, -1.0), (5.0, 1.0, 1.0), (5.0, -1.0, 0.0), (0.5, 1.0, 1.0)],
)
def test_what_is_out_of_bounds_can_only_move_back(
    value: float, gradient: float, passed: float
) -> None:
    x = torch.tensor(value, requires_grad=True)
    y = bounded(x, -1, 2)
    assert -1 <= y <= 2
    (gradient * y).backward()
    assert x.grad is not None
    assert x.grad.item() == passed
