import pytest
import torch
from torch import Tensor, nn

from sar_codec.models.autoencoder import ResidualBlock
from sar_codec.models.residual_kernel import MULTIPLE, residual


def block(channels: int) -> ResidualBlock:
    """One whose layers give numbers about as large as they are given."""
    torch.manual_seed(channels)
    made = ResidualBlock(channels).requires_grad_(False)
    for each in made.parameters():
        nn.init.normal_(each, std=each[0].numel() ** -0.5 if each.dim() > 1 else 0.5)
    return made


def by_kernel(made: ResidualBlock, x: Tensor) -> Tensor:
    """Of an image, `(C, h, w)`."""
    return residual(x.permute(1, 2, 0), *made.parameters()).permute(2, 0, 1)


# Tiles have four places to a side, 24 of them are taken at once, and the last of them repeat.
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 9), (4, 4), (5, 3), (7, 30), (16, 24), (33, 47), (64, 66)]
)
@pytest.mark.parametrize("multiple", [1, 2, 3])
def test_it_gives_what_convolutions_give(shape: tuple[int, int], multiple: int) -> None:
    made = block(multiple * MULTIPLE)
    x = torch.randn(multiple * MULTIPLE, *shape)
    expected = made.double()(x[None].double())[0].float()
    assert (expected - x).std() > 0.2
    torch.testing.assert_close(by_kernel(made.float(), x), expected, atol=3e-5, rtol=0)


def test_it_knows_any_order_of_memory() -> None:
    made, x = block(MULTIPLE), torch.randn(12, MULTIPLE, 10)
    found = by_kernel(made, x.permute(1, 2, 0))
    assert torch.equal(found, by_kernel(made, x.permute(1, 2, 0).contiguous()))


def test_large_numbers_stay_as_exact_as_they_can() -> None:
    made, x = block(MULTIPLE), torch.randn(MULTIPLE, 20, 20)
    x[:, 8:12, 9] *= 1000  # as where a target is
    expected = made.double()(x[None].double())[0]
    off = (by_kernel(made.float(), x) - expected).abs()
    assert off.max() < 3e-5 * expected.abs().max()


def test_what_is_no_number_stays_so() -> None:
    made, x = block(MULTIPLE), torch.zeros(MULTIPLE, 16, 16)
    x[3, 5, 6] = torch.nan
    is_nan = by_kernel(made, x).isnan().all(0)
    assert is_nan[4:7, 5:8].all() and not is_nan[12:].any()


def test_other_numbers_of_channels_are_refused() -> None:
    channels = MULTIPLE + 1
    with pytest.raises(ValueError, match=f"{channels} channels: expected a multiple of {MULTIPLE}"):
        by_kernel(block(channels), torch.zeros(channels, 4, 4))
