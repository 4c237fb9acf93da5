import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sar_codec.entropy import integer
from sar_codec.errors import UserError
from sar_codec.models import hyperprior, layers, refinement, transform
from sar_codec.models.codec import Codec, Spent
from sar_codec.models.factorized import Factorized
from sar_codec.models.hyperprior import (
    HyperAnalysis,
    Hyperprior,
    around,
    cross,
    merge,
    split,
    window,
)
from sar_codec.models.lapping import AcrossBorders, lapping
from sar_codec.models.refinement import Refinement
from sar_codec.models.transform import LEVELS


def test_colours_of_a_checkerboard_are_merged_as_they_were_split() -> None:
    x = torch.rand(2, 3, 5, 6)
    black, white = split(x)
    assert black.shape == white.shape == (2, 3, 5, 3)
    assert torch.equal(merge(black, white), x)
    rows, columns = torch.meshgrid(torch.arange(5), torch.arange(6), indexing="ij")
    is_black, is_white = split(((rows + columns) % 2 == 0)[None, None])
    assert is_black.all()
    assert not is_white.any()


@pytest.mark.parametrize("size", [(1, 2), (2, 2), (5, 6), (4, 8)])
def test_around_a_white_place_are_its_four_neighbours_or_zeros(size: tuple[int, int]) -> None:
    x = torch.rand(1, 2, *size)
    for found, of_all in zip(around(split(x)[0]), cross(x)[1:], strict=True):
        assert torch.equal(found, split(of_all)[1])


def test_a_cross_is_the_middle_of_a_window_but_for_edges() -> None:
    x = torch.rand(2, 3, 6, 7)
    middle = torch.stack(cross(x), 1)[..., 1:-1, 1:-1]
    windows = window(x).reshape(2, 9, 3, 6, 7)[..., 1:-1, 1:-1]
    assert torch.equal(middle, windows[:, [4, 1, 7, 3, 5]])


def test_a_window_is_one_of_3x3_with_edges_repeated() -> None:
    x = torch.rand(2, 3, 4, 5)
    edged = torch.nn.functional.pad(x, (1, 1, 1, 1), "replicate")
    windows = torch.nn.functional.unfold(edged, 3).reshape(2, 3, 9, 4, 5)
    assert torch.equal(window(x).reshape(2, 9, 3, 4, 5), windows.transpose(1, 2))


def test_a_latent_is_told_by_nothing_that_the_decoder_does_not_have_yet() -> None:
    torch.manual_seed(0)
    model = Hyperprior(
        latent_channels=6, coarse_channels=2, width=4, hyper_channels=3, hyper_width=4
    ).eval()
    level, z = torch.tensor([200]), torch.randint(-3, 4, (1, 3, 2, 2)).double()
    latents = torch.randint(-300, 300, (1, 6, 8, 8)).double()

    def told(latents: Tensor) -> list[Tensor]:
        parts, told = model.parts(latents), []

        def code(part: int, mean: Tensor, index: Tensor) -> Tensor:
            told.append(torch.stack([mean, index]))
            return parts[part]

        assert torch.equal(model.predicted(z, level, code), latents)
        return told

    before = told(latents)
    for channel, row, column in ((0, 3, 3), (1, 3, 4), (2, 3, 3), (5, 3, 4)):
        other = latents.clone()
        other[0, channel, row, column] += 640
        black, white, fine = (
            (one != two).any(0) for one, two in zip(told(other), before, strict=True)
        )
        changed = merge(black, white)[0].any(0).nonzero().tolist()
        beside = {(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)}
        is_coarse, is_black = channel < 2, (row + column) % 2 == 0
        assert not black.any()
        assert {(a, b) for a, b in changed} <= (beside if is_coarse and is_black else set())
        changed = fine[0].any(0).nonzero().tolist()
        assert {(a, b) for a, b in changed} <= ({*beside, (row, column)} if is_coarse else set())
        assert bool(changed) == is_coarse


def test_more_coarse_channels_than_there_are_are_refused() -> None:
    with pytest.raises(UserError, match=r"model.coarse_channels=48: expected fewer than"):
        Hyperprior(latent_channels=48)


@pytest.mark.parametrize("quality", [2, 5, 8])
def test_exact_arithmetic_costs_next_to_no_bits(quality: int) -> None:
    torch.manual_seed(0)
    model = Hyperprior(width=8, analysis_depth=0, synthesis_depth=0).eval()
    level = torch.tensor([quality - 1.0])
    spent = Spent(1)
    with torch.no_grad():
        x = 0.5 + 0.05 * torch.randn(1, 1, 256, 256)
        y = model.gains(model.analysis(x, level), level)
        model.encode(y, level, spent.put_lanes)
        in_floating_point = model.estimate(y, y, level)[1].item()
    assert spent.bits().item() == pytest.approx(in_floating_point, rel=0.005)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of bytes, in place and in compiled loops are not counted: there are to be none."""
    monkeypatch.setattr(integer, "are_usable", lambda: False)
    for module in (layers, transform, hyperprior, refinement):
        monkeypatch.setattr(module, "has_kernels", lambda _: False)


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize(
    ("kind", "parameters", "multiply_adds"),
    [(Hyperprior, 1_016_512, 5_407), (Factorized, 404_480, 3_072)],
)
def test_size_and_cost_are_what_the_docstring_says(
    kind: type[Codec], parameters: int, multiply_adds: int
) -> None:
    model = kind().eval()  # type: ignore[call-arg]  # each has defaults of its own
    with FlopCounterMode(display=False, depth=3) as counter, torch.no_grad():
        model(torch.rand(1, 1, 256, 256))
    assert round(counter.get_total_flops() / 2 / 256**2) == multiply_adds
    assert sum(each.numel() for each in model.parameters()) == parameters
    for number in (parameters, multiply_adds):
        assert f"{number:,}" in (kind.__doc__ or "")


@pytest.mark.usefixtures("counted")
def test_what_each_side_costs_is_what_the_docstring_says() -> None:
    with FlopCounterMode(display=False, depth=3) as counter, torch.no_grad():
        Hyperprior().eval()(torch.rand(1, 1, 256, 256))
    cost = {
        name.removeprefix("Hyperprior."): sum(each.values()) / 2 / 256**2
        for name, each in counter.flop_counts.items()
    }
    encoding = cost["analysis"] + cost["hyper_analysis"]
    both = sum(each for name, each in cost.items() if name.startswith("predictor."))
    for number in (encoding, both, cost["synthesis"]):
        assert f"{round(number):,}" in (Hyperprior.__doc__ or "")


def test_what_a_refinement_costs_is_what_the_docstring_says() -> None:
    tested = Refinement(32, LEVELS)
    with FlopCounterMode(display=False) as counter:  # of convolutions, as gradients are wanted
        tested(torch.rand(1, 1, 256, 256), torch.zeros(1))
    parameters = sum(each.numel() for each in tested.parameters())
    multiply_adds = round(counter.get_total_flops() / 2 / 256**2)
    said = f"another {parameters:,} parameters and {multiply_adds} multiply-adds"
    assert said in (Hyperprior.__doc__ or "")


def test_what_overlap_costs_is_what_the_docstring_says() -> None:
    sides = AcrossBorders(lapping()), AcrossBorders(lapping().T)
    with FlopCounterMode(display=False) as counter:
        sides[0](torch.rand(1, 1, 2064, 2064))  # of a large image, whose edges weigh little
    parameters = sum(each.weight.numel() for each in sides)
    multiply_adds = round(counter.get_total_flops() / 2 / 2064**2)
    said = f"another {parameters:,} parameters and {multiply_adds} multiply-adds on either side"
    assert said in " ".join((Hyperprior.__doc__ or "").split())


def test_sizes_and_signs_tell_the_same_with_and_without_gradients() -> None:
    torch.manual_seed(0)
    analysis, level = HyperAnalysis(32, 16, 8), torch.tensor([1.0, 6.5])
    for each in analysis.parameters():
        torch.nn.init.normal_(each, std=0.3)
    y = 10 * torch.randn(2, 32, 8, 12)
    expected = analysis(y, level).detach()
    with torch.no_grad():
        torch.testing.assert_close(analysis(y, level), expected, atol=1e-4, rtol=0)
    assert (analysis(-y, level) - expected).abs().mean() > 0.1 * expected.abs().mean()
