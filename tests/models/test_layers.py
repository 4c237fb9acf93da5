from collections.abc import Iterator

import pytest
import torch

from sar_codec.models import layers, residual_kernel
from sar_codec.models.layers import (
    Pointwise,
    QuickResidualBlock,
    at_places,
    has_kernels,
    in_planes,
)
from sar_codec.models.transform import Analysis, Synthesis


@pytest.fixture
def alone() -> Iterator[None]:
    """One thread, as those have that code tiles."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("channels", [8, 64])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_blocks_give_the_same_with_and_without_gradients(
    channels: int, count: int, order: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    block = QuickResidualBlock(channels)
    for each in block.parameters():
        torch.nn.init.normal_(each, std=0.1)
    x = torch.randn(count, channels, 9, 14).to(memory_format=order)
    expected, calls, compute = block(x), [], residual_kernel.residual

    def counted(*given: torch.Tensor) -> torch.Tensor:
        calls.append(given)
        return compute(*given)

    monkeypatch.setattr(residual_kernel, "residual", counted)
    with torch.no_grad():
        found = block(x)
    torch.testing.assert_close(found, expected.detach(), atol=1e-4, rtol=0)
    assert len(calls) == (count if channels % residual_kernel.MULTIPLE == 0 else 0)
    expected.sum().backward()
    assert all(each.grad is not None for each in block.parameters())
    torch.set_num_threads(2)
    calls.clear()
    with torch.no_grad():
        block(x)
    assert not calls  # torch's convolutions share the work


@pytest.mark.usefixtures("alone")
def test_transforms_give_the_same_with_and_without_gradients() -> None:
    torch.manual_seed(0)
    analysis = Analysis(40, 64, 2, lapped=True)
    synthesis = Synthesis(40, 64, 3, refinement_width=8, lapped=True)
    for each in (*analysis.parameters(), *synthesis.parameters()):
        torch.nn.init.normal_(each, std=each[0].numel() ** -0.5)
    x, y, level = torch.rand(2, 1, 96, 64), torch.randn(2, 40, 6, 4), torch.tensor([0.5, 6.0])
    for transform, given in ((analysis, x), (synthesis, y)):
        expected = transform(given, level)
        with torch.no_grad():
            found = transform(given, level)
        assert (found - expected).abs().max() < 3e-5 * expected.abs().max()
        assert expected.std() > 0.1


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_matrices_at_places_are_1x1_convolutions(order: torch.memory_format) -> None:
    layer = Pointwise(6, 10)
    x = torch.randn(2, 6, 3, 5).to(memory_format=order)
    expected = torch.nn.Conv2d.forward(layer, x)
    assert torch.equal(layer(x), expected)
    weight = layer.weight.flatten(1).detach()
    with torch.no_grad():
        found = layer(x), at_places(weight, x), in_planes(weight, x)
        for each in found:
            torch.testing.assert_close(each, expected)
        assert found[2].is_contiguous()
        twice = in_planes(weight, x, in_planes(weight, x))
    torch.testing.assert_close(twice, 2 * expected)


def test_kernels_are_for_results_alone_in_float32() -> None:
    x = torch.zeros(1)
    assert not has_kernels(x)
    with torch.no_grad():
        assert has_kernels(x)
        assert not has_kernels(x.double()) and not has_kernels(x.to("meta"))
        with torch.autocast("cpu", torch.bfloat16):
            assert not has_kernels(x)
        compiled = torch.compile(layers.has_kernels, backend="eager", fullgraph=True)
        assert not compiled(x)
