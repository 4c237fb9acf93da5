import math

import pytest
import torch
from torch import Tensor

from sar_codec.metrics import mse
from sar_codec.models.autoencoder import BLOCK
from sar_codec.models.lapping import HALF, AcrossBorders, lapping
from sar_codec.models.transform import Analysis, Synthesis


def dct() -> Tensor:
    """The orthonormal DCT-II of a block."""
    place, frequency = torch.arange(BLOCK) + 0.5, torch.arange(BLOCK)[:, None]
    waves = (frequency * place * math.pi / BLOCK).cos()
    return waves / waves.norm(dim=1, keepdim=True)


def coding_gain(functions: Tensor) -> float:
    """Of numbers whose correlation is 0.95 at a lag of 1, in dB."""
    lags = torch.arange(functions.shape[1])
    correlation = 0.95 ** (lags[:, None] - lags).abs()
    variances = ((functions @ correlation) * functions).sum(1)
    return -10 * variances.log10().mean().item()


def test_blocks_that_overlap_compact_more() -> None:
    """As the docstring says; the gain of the DCT is known."""
    lapped = torch.zeros(BLOCK, 2 * BLOCK)
    lapped[:HALF, :BLOCK], lapped[HALF:, BLOCK:] = lapping()[HALF:], lapping()[:HALF]
    lapped = dct() @ lapped
    torch.testing.assert_close(lapped @ lapped.T, torch.eye(BLOCK), atol=1e-5, rtol=0)
    neighbour = torch.zeros(BLOCK, 3 * BLOCK)
    neighbour[:, BLOCK:] = lapped
    torch.testing.assert_close(lapped @ neighbour[:, : 2 * BLOCK].T, 0 * dct(), atol=1e-5, rtol=0)
    assert coding_gain(dct()) == pytest.approx(9.455, abs=0.01)
    assert coding_gain(lapped) == pytest.approx(9.76, abs=0.005)


@pytest.mark.parametrize("shape", [(16, 16), (16, 64), (48, 32)])
def test_across_each_border_a_matrix_filters(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(BLOCK, BLOCK)
    across, x = AcrossBorders(matrix), torch.rand(2, 1, *shape)
    expected = x.clone()
    for top in range(HALF, shape[0] - HALF, BLOCK):
        rows = expected[..., top : top + BLOCK, :]
        rows[:] = matrix @ rows
    for left in range(HALF, shape[1] - HALF, BLOCK):
        columns = expected[..., left : left + BLOCK]
        columns[:] = columns @ matrix.T
    torch.testing.assert_close(across(x), expected)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = across(x)
    torch.testing.assert_close(found, expected)
    across(x).square().sum().backward()
    assert across.weight.grad is not None
    assert bool(across.weight.grad.any()) == (shape != (16, 16))


def test_what_was_filtered_is_given_back() -> None:
    x, level = torch.rand(2, 1, 48, 64), torch.tensor([0.0, 6.5])
    back = AcrossBorders(lapping().T)(AcrossBorders(lapping())(x))
    torch.testing.assert_close(back, x, atol=1e-6, rtol=0)
    torch.manual_seed(0)
    analysis, synthesis = Analysis(256, 16, 1, lapped=True), Synthesis(256, 16, 1, lapped=True)
    assert mse(synthesis(analysis(x, level), level), x).max() < 1e-4


@pytest.mark.parametrize(
    ("depth", "refined", "reach"), [(0, 0, 1), (1, 0, 1), (1, 4, 1), (2, 4, 2)]
)
def test_what_latents_are_needed_around_includes_what_overlaps(
    depth: int, refined: int, reach: int
) -> None:
    torch.manual_seed(0)
    analysis, synthesis = Analysis(8, 4, depth, lapped=True), Synthesis(8, 4, depth, refined, True)
    assert synthesis.reach == reach
    assert analysis.reach == max(1, depth // 2)
    for each in (*analysis.parameters(), *synthesis.parameters()):
        torch.nn.init.normal_(each, std=0.3)
    x, level = torch.rand(1, 1, 144, 144), torch.tensor([3.0])
    with torch.no_grad():
        y = analysis(x, level)
        part = analysis(x[..., 64 - 16 * analysis.reach :, 64 - 16 * analysis.reach :], level)
        inner = part[..., analysis.reach :, analysis.reach :]
        torch.testing.assert_close(inner, y[..., 4:, 4:], rtol=1e-4, atol=1e-4)
        whole = synthesis(y, level)[..., 64:80, 64:80]
        around = slice(4 - reach, 5 + reach)
        part = synthesis(y[..., around, around], level)
    middle = slice(16 * reach, 16 * reach + 16)
    torch.testing.assert_close(part[..., middle, middle], whole, rtol=1e-4, atol=1e-4)
