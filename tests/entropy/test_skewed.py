import pytest
import torch

from sar_codec.entropy.skewed import (
    PLACES,
    SCALES,
    SKEWS,
    SkewedTables,
    places_of,
    scale_of,
    skew_of,
    skewed_bits,
)
from sar_codec.entropy.tables import PRECISION


@pytest.fixture(scope="module")
def tables() -> SkewedTables:
    return SkewedTables()


def test_scales_go_from_a_sixteenth_to_eight_and_skews_both_ways() -> None:
    scales = scale_of(torch.arange(SCALES))
    assert scales[0] == 1 / 16
    assert scales[-1].item() == pytest.approx(8)
    skews = skew_of(torch.arange(SKEWS, dtype=torch.float64)).tolist()
    assert skews == pytest.approx([-0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6])


@pytest.mark.parametrize("skew", [-0.6, 0.0, 0.4])
@pytest.mark.parametrize("scale", [1 / 16, 1.0, 8.0])
def test_probabilities_of_all_symbols_sum_to_one(scale: float, skew: float) -> None:
    symbols = torch.arange(-400, 401).double()
    low, high = (symbols - 0.5) / scale, (symbols + 0.5) / scale
    bits = skewed_bits(low, high, torch.full_like(low, skew)).double()
    assert torch.exp2(-bits).sum().item() == pytest.approx(1, abs=1e-4)


def test_a_negative_skew_has_its_long_tail_below() -> None:
    far = torch.tensor([4.0])
    below = skewed_bits(-far - 0.1, -far, torch.tensor([-0.4]))
    above = skewed_bits(far, far + 0.1, torch.tensor([-0.4]))
    assert below < above - 2
    mirrored = skewed_bits(far, far + 0.1, torch.tensor([0.4]))
    assert below.item() == pytest.approx(mirrored.item(), rel=1e-4)


@pytest.mark.parametrize("place", range(PLACES))
def test_tables_cost_what_the_formula_says(place: int, tables: SkewedTables) -> None:
    scale = torch.arange(SCALES)
    mean = place / PLACES - 0.5
    for index, skew in enumerate(skew_of(torch.arange(SKEWS, dtype=torch.float64)).tolist()):
        numbers = tables.number(scale, torch.full_like(scale, place), torch.full_like(scale, index))
        offsets = torch.arange(-2, 3)[:, None]
        told = tables.bits(offsets.expand(-1, SCALES), numbers.expand(5, -1))
        width = scale_of(scale.double())
        apart = torch.tensor([1 / places_of(n) for n in range(SCALES)])
        ends = [(offsets + half - mean) / width for half in (-0.5, 0.5)]
        expected = skewed_bits(*ends, torch.full_like(ends[0], skew))
        # Places that are taken together are within an eighth of the scale.
        tolerance = 0.05 + expected * 0.1 + (apart / width).float() * expected
        usual = (expected < 12) & (width > 0.2)
        assert ((told - expected).abs() <= tolerance)[usual].all()


def test_tables_are_complete_and_numbered_once(tables: SkewedTables) -> None:
    scale, place, skew = (
        each.flatten()
        for each in torch.meshgrid(
            torch.arange(SCALES), torch.arange(PLACES), torch.arange(SKEWS), indexing="ij"
        )
    )
    numbers = tables.number(scale, place, skew)
    assert torch.equal(numbers.unique(), torch.arange(len(tables.lowest)))
    sums = [int(tables.table(n).sum()) for n in range(0, len(tables.lowest), 37)]
    assert set(sums) == {2**PRECISION}


def test_bits_have_gradients_far_out_too() -> None:
    low = torch.tensor([-1e4, -3.0, 0.0, 5.0, 1e4], requires_grad=True)
    skewed_bits(low, low + 1, torch.zeros(5)).sum().backward()
    assert low.grad is not None
    assert low.grad.isfinite().all()
    assert (low.grad[1:4] != 0).all()
