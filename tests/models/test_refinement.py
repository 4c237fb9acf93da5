import pytest
import torch

from sar_codec.models.refinement import REACH, Refinement
from sar_codec.models.transform import Synthesis


@pytest.fixture
def refinement() -> Refinement:
    """One that changes images as much as they are."""
    torch.manual_seed(0)
    module = Refinement(6, 8)
    for each in (module.enter_levels, module.inside_levels, module.leave):
        torch.nn.init.normal_(each)
    return module


def test_it_begins_as_the_identity() -> None:
    x = torch.rand(2, 1, 6, 10)
    assert torch.equal(Refinement(6, 8)(x, torch.tensor([0.0, 7.0])), x)


@pytest.mark.parametrize("shape", [(2, 2), (150, 514), (4, 192), (4, 384), (4, 386), (6, 40_000)])
def test_an_image_is_refined_the_same_with_and_without_gradients(
    shape: tuple[int, int], refinement: Refinement
) -> None:
    x, level = torch.rand(3, 1, *shape), torch.tensor([0.0, 3.3, 7.0])
    expected = refinement(x, level)
    with torch.no_grad():
        found = refinement(x, level)
    torch.testing.assert_close(found, expected.detach(), atol=1e-5, rtol=0)
    assert (expected - x).abs().mean() > 0.05
    expected.sum().backward()
    assert all(each.grad is not None and each.grad.any() for each in refinement.parameters())


def test_a_pixel_tells_of_those_around_it_and_of_no_others(refinement: Refinement) -> None:
    x, level = torch.rand(1, 1, 16, 16), torch.tensor([2.0])
    row_reach = column_reach = 0
    with torch.no_grad():
        before = refinement(x, level)
        for row in (6, 7):
            for column in (6, 7):
                other = x.clone()
                other[0, 0, row, column] += 1
                changed = (refinement(other, level) != before)[0, 0].nonzero()
                rows, columns = (changed - torch.tensor([row, column])).abs().amax(0).tolist()
                row_reach, column_reach = max(rows, row_reach), max(columns, column_reach)
    assert row_reach == column_reach == REACH


def test_a_level_changes_only_its_own_image(refinement: Refinement) -> None:
    x = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        low, mixed = (refinement(x, torch.tensor([1.0, level])) for level in (1.0, 5.5))
    same, other = (low - mixed).flatten(1).abs().amax(1)
    assert same == 0 and other > 0.01


@pytest.mark.parametrize(("depth", "reach"), [(0, 1), (1, 1), (2, 2), (3, 2)])
def test_what_latents_are_needed_around_includes_what_refines(depth: int, reach: int) -> None:
    torch.manual_seed(0)
    synthesis = Synthesis(8, 4, depth, refinement_width=4)
    assert synthesis.reach == reach
    for each in synthesis.parameters():
        torch.nn.init.normal_(each, std=0.3)
    y, level = torch.rand(1, 8, 9, 9), torch.tensor([3.0])
    with torch.no_grad():
        whole = synthesis(y, level)[..., 64:80, 64:80]
        inner = slice(4 - reach, 5 + reach)
        part = synthesis(y[..., inner, inner], level)
    middle = slice(16 * reach, 16 * reach + 16)
    torch.testing.assert_close(part[..., middle, middle], whole, rtol=1e-4, atol=1e-4)
