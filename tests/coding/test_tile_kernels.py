import pytest
import torch

from sar_codec.coding.rulers import UNIT
from sar_codec.coding.tile_kernels import TileKernel, fitted_to_tile, may_have_kernel
from sar_codec.models.interlacing import Surroundings, passes
from sar_codec.models.kernels import fitted


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_kernels_come_back_from_their_bytes(kind: int) -> None:
    plain = TileKernel.plain(kind)
    assert len(plain.data()) == TileKernel.size(kind)
    weights = torch.arange(len(plain.weights) // 2).repeat_interleave(2) * 9 - 70
    for kernel in (plain, TileKernel(weights, -39)):
        again = TileKernel.of_bytes(kernel.data())
        assert torch.equal(again.weights, kernel.weights)
        assert again.spread == kernel.spread


def test_a_fit_to_some_rows_is_about_that_to_all() -> None:
    generator = torch.Generator().manual_seed(0)
    image = UNIT * torch.randn(1, 600, 500, generator=generator)
    image = (image + image.roll(1, 2) + 0.5 * image.roll(1, 1)).round()
    last = [each for each in passes(600, 500) if may_have_kernel(each)]
    assert len(last) == 6
    for each in last:
        surroundings = Surroundings(image, each)
        kernel = fitted_to_tile(surroundings, each.of(image))
        whole = fitted(surroundings.of_rows(0, surroundings.rows) / UNIT, each.of(image) / UNIT)
        assert (kernel.weights / 128 - whole.weights[0]).abs().max() < 0.1
        assert abs(kernel.spread / 8 - whole.spread) < 0.2
