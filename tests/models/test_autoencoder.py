import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sar_codec.models.autoencoder import BLOCK, ResidualBlock, SARAutoencoder, low_frequencies


def test_the_shapes_of_the_contract() -> None:
    x = torch.rand(2, 1, 256, 256)
    x_hat, z = SARAutoencoder(latent_channels=16)(x)
    assert x_hat.shape == x.shape
    assert z.shape == (2, 16, 16, 16)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 31), (100, 224), (3, 250)])
def test_any_size_goes_through(size: tuple[int, int]) -> None:
    x = torch.rand(1, 1, *size)
    x_hat, z = SARAutoencoder(latent_channels=4, width=8, depth=1)(x)
    assert x_hat.shape == x.shape
    assert z.shape == (1, 4, -(-size[0] // 16), -(-size[1] // 16))


def test_reconstructions_stay_in_range_and_pixels_outside_find_back() -> None:
    model = SARAutoencoder(latent_channels=2, width=8, depth=1)
    z = (50 * torch.randn(1, 2, 4, 4)).requires_grad_()
    image = model.decode(z)
    assert image.min() == 0
    assert image.max() == 1
    (image - 0.5).square().sum().backward()
    assert z.grad is not None
    assert (z.grad != 0).all()


def test_an_untrained_model_keeps_smooth_images() -> None:
    rows, columns = torch.meshgrid(
        torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij"
    )
    x = (0.2 + 0.3 * rows + 0.2 * columns)[None, None]
    x_hat, _ = SARAutoencoder()(x)
    assert (x_hat - x).abs().mean() < 0.01


@pytest.mark.parametrize("count", [1, 16, BLOCK**2])
def test_low_frequencies_are_orthonormal(count: int) -> None:
    basis = low_frequencies(count)
    torch.testing.assert_close(basis @ basis.T, torch.eye(count), atol=1e-5, rtol=0)


def test_all_frequencies_together_lose_nothing() -> None:
    model = SARAutoencoder(latent_channels=BLOCK**2, width=8, depth=0)
    x = torch.rand(1, 1, 32, 48)
    x_hat, _ = model(x)
    assert (x_hat - x).abs().max() < 0.02


@pytest.mark.parametrize(
    ("width", "depth", "parameters", "multiply_adds"),
    [(96, 3, 658_288, 9_188), (64, 2, None, 2_872)],
)
def test_size_and_cost_are_what_the_docstring_says(
    width: int, depth: int, parameters: int | None, multiply_adds: int
) -> None:
    model = SARAutoencoder(width=width, depth=depth)
    with FlopCounterMode(display=False) as counter:
        model(torch.rand(1, 1, 256, 256))
    assert round(counter.get_total_flops() / 2 / 256**2) == multiply_adds
    assert f"{multiply_adds:,}" in (SARAutoencoder.__doc__ or "")
    if parameters:
        assert sum(each.numel() for each in model.parameters()) == parameters
        assert f"{parameters:,}" in (SARAutoencoder.__doc__ or "")


def test_blocks_do_the_same_with_and_without_gradients() -> None:
    torch.manual_seed(0)
    block, x = ResidualBlock(8), torch.randn(2, 8, 5, 6)
    nn.init.normal_(block.layers[2].weight)
    before = x.clone()
    with torch.no_grad():
        found = block(x)
    torch.testing.assert_close(found, block(x).detach())
    assert torch.equal(x, before) and (found - x).abs().mean() > 0.1
