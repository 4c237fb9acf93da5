import pytest
import torch

from sar_codec.entropy.integer import LEVEL_STEPS
from sar_codec.errors import UserError
from sar_codec.metrics import mse
from sar_codec.models.transform import (
    LEVELS,
    Analysis,
    Gains,
    Synthesis,
    every_level,
    in_steps,
    level_of,
    padded,
    random_levels,
    untrained_scales,
)


@pytest.fixture
def transforms() -> tuple[Analysis, Synthesis]:
    torch.manual_seed(0)
    return Analysis(256, 16, 1), Synthesis(256, 16, 1)


def test_untrained_transforms_of_all_frequencies_lose_nothing(
    transforms: tuple[Analysis, Synthesis],
) -> None:
    analysis, synthesis = transforms
    x, level = torch.rand(2, 1, 32, 48), torch.tensor([0.0, 6.5])
    y = analysis(x, level)
    assert y.shape == (2, 256, 2, 3)
    assert mse(synthesis(y, level), x).max() < 1e-4


def test_bf16_is_fine_enough_for_the_best_quality(transforms: tuple[Analysis, Synthesis]) -> None:
    analysis, synthesis = transforms
    gains = Gains(256)
    x, level = torch.rand(1, 1, 128, 128), torch.tensor([LEVELS - 1.0])

    def error() -> float:
        y = gains(analysis(x, level), level)
        return mse(synthesis(gains.undo(y.round(), level), level), x).item()

    expected = error()
    with torch.autocast("cpu", torch.bfloat16):
        assert error() < 1.03 * expected


def test_a_level_changes_only_its_own_image(transforms: tuple[Analysis, Synthesis]) -> None:
    analysis, synthesis = transforms
    with torch.no_grad():
        analysis.levels.normal_()
        synthesis.levels.normal_()
    x = torch.rand(2, 1, 16, 16)
    low, mixed = torch.tensor([1.0, 1.0]), torch.tensor([1.0, 5.5])
    for network, values in ((analysis, x), (synthesis, analysis(x, low))):
        same, other = (network(values, mixed) - network(values, low)).flatten(1).abs().amax(1)
        assert same < 1e-6 < other


def test_gains_are_undone_and_geometric_between_levels() -> None:
    gains = Gains(3)
    y = torch.ones(3, 3, 1, 1)
    scaled = gains(y, torch.tensor([2.0, 2.5, 3.0]))
    torch.testing.assert_close(scaled[1] ** 2, scaled[0] * scaled[2])
    assert (scaled[2] > scaled[0]).all()
    torch.testing.assert_close(gains.undo(scaled, torch.tensor([2.0, 2.5, 3.0])), y)


def test_untrained_scales_fall_with_frequency_and_rise_with_level() -> None:
    scales = untrained_scales(256)
    assert scales.shape == (LEVELS, 256)
    assert (scales.diff(dim=0) >= 0).all()
    assert (scales.diff(dim=1) <= 0).all()


def test_levels_in_training_are_anywhere_and_in_validation_all_in_turn() -> None:
    drawn = random_levels(1000, torch.device("cpu"))
    assert 0 <= drawn.min() < 0.1
    assert LEVELS - 1.1 < drawn.max() <= LEVELS - 1
    turns = every_level(19, torch.device("cpu"))
    assert sorted(turns[:8].tolist()) == list(range(LEVELS))
    assert torch.equal(turns[:8], turns[8:16])
    assert torch.equal(turns[16:], turns[:3])


@pytest.mark.parametrize(("quality", "steps"), [(1, 0), (8, 448), (4.5, 224), (1.009, 1)])
def test_a_quality_is_a_level_in_whole_steps(quality: float, steps: int) -> None:
    level = level_of(quality, torch.device("cpu"))
    assert in_steps(level).tolist() == [steps]
    assert level.item() == steps / LEVEL_STEPS


def test_a_quality_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match="quality=9: expected a number from 1, the smallest, to 8"):
        level_of(9, torch.device("cpu"))


@pytest.mark.parametrize("size", [(1, 1), (63, 65), (64, 128)])
def test_padding_repeats_edges(size: tuple[int, int]) -> None:
    x = torch.rand(1, 1, *size)
    wide = padded(x, 64)
    assert all(side % 64 == 0 for side in wide.shape[2:])
    assert torch.equal(wide[..., : size[0], : size[1]], x)
    assert wide[0, 0, -1, -1] == x[0, 0, -1, -1]


def test_a_step_of_training_changes_a_dct_by_less_than_the_finest_quantisation() -> None:
    torch.manual_seed(0)
    analysis = Analysis(256, 8, 0)
    optimizer = torch.optim.Adam(analysis.linear.parameters(), lr=1e-3)
    x, level = torch.rand(1, 1, 64, 64) - 0.5, torch.tensor([7.0])
    before = analysis(x, level)
    (before * torch.randn_like(before)).sum().backward()
    optimizer.step()
    change = (Gains(256)(analysis(x, level) - before, level)).square().mean().sqrt()
    assert change < 1
