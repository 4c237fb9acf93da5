from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sar_codec.coding.cells import Cells
from sar_codec.coding.rulers import UNIT
from sar_codec.coding.tile_kernels import (
    Predictions,
    TileKernel,
    fitted_to_tile,
)
from sar_codec.entropy.coding import SymbolDecoder, SymbolEncoder
from sar_codec.models.exact import ExactTeller
from sar_codec.models.interlaced import Interlaced
from sar_codec.models.interlacing import COARSE, FINE, Kind, Pass, Surroundings, passes
from sar_codec.models.kernels import fitted


@pytest.mark.parametrize("kind", [FINE[0], FINE[-1], COARSE[0]])
def test_kernels_come_back_as_they_were_put(kind: Kind) -> None:
    plain = TileKernel.plain(kind)
    weights = torch.arange(len(plain.weights) // 2).repeat_interleave(2) * 12 - 110
    kernels = plain, TileKernel(weights, -39, -24), TileKernel(weights // 50, 40, 30)
    encoder = SymbolEncoder()
    for kernel in kernels:
        kernel.put(encoder)
    decoder = SymbolDecoder(encoder.data())
    for kernel in kernels:
        again = TileKernel.take(decoder, kind)
        assert torch.equal(again.weights, kernel.weights)
        assert again[1:] == kernel[1:]


@pytest.fixture(scope="module")
def model() -> Interlaced:
    torch.manual_seed(0)
    return Interlaced(width=8).eval().requires_grad_(False)  # as those of files are


def predictions_of_all(image: Tensor, model: Interlaced) -> Iterator[tuple[Pass, Predictions]]:
    ruler = Cells("float32", "db", 0.5).ruler
    for each in passes(*image.shape[1:]):
        if each.has_kernel:
            teller = ExactTeller(model.teller(each), 0)
            yield each, Predictions(Surroundings(image, each), teller, 0, ruler)


def test_a_fit_to_some_rows_is_about_that_to_all(model: Interlaced) -> None:
    generator = torch.Generator().manual_seed(0)
    image = UNIT * torch.randn(1, 600, 500, generator=generator)
    image = (image + image.roll(1, 2) + 0.5 * image.roll(1, 1)).round()
    for each, predictions in predictions_of_all(image, model):
        kernel = fitted_to_tile(predictions, each.of(image))
        surroundings = predictions.surroundings
        whole = fitted(surroundings.of_rows(surroundings.rows) / UNIT, each.of(image) / UNIT)
        assert (kernel.weights / 128 - whole.weights[0]).abs().max() < 0.1
        assert abs(kernel.spread / 8 - whole.spread) < 0.2


class OneDecibel(Predictions):
    """A network that tells a mean of 0 and a scale of 1 dB, whatever there is."""

    def of_rows(self, rows: range, kernel: TileKernel) -> tuple[Tensor, Tensor, Tensor]:
        nothing = torch.zeros(len(rows) * self.surroundings.columns)
        return nothing, nothing, nothing


def test_scales_are_widened_by_as_much_as_there_is_more(model: Interlaced) -> None:
    noise = UNIT * torch.randn(1, 300, 300, generator=torch.Generator().manual_seed(0))
    for each, predictions in predictions_of_all(noise, model):
        predictions.__class__ = OneDecibel
        found = [
            fitted_to_tile(predictions, each.of(noise) * 2**octaves).widening / UNIT
            for octaves in (0, 0.25, 0.5, 0.75)
        ]
        assert found == pytest.approx([found[0] + more for more in (0, 0.25, 0.5, 0.75)], abs=0.07)
        assert abs(found[0]) < 0.5  # tails are not a Gaussian's


def test_nothing_is_widened_where_nothing_counts(model: Interlaced) -> None:
    image = torch.zeros(1, 120, 120)
    for each, predictions in predictions_of_all(image, model):
        nothing = torch.full_like(each.of(image), torch.nan)
        assert fitted_to_tile(predictions, nothing).widening == 0
