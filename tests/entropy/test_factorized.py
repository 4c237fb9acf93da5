import copy
import io
import math

import pytest
import torch

from sar_codec.entropy.factorized import FactorizedDensity, bisection


def uneven(channels: int = 5) -> FactorizedDensity:
    """Densities at several places, of several widths."""
    torch.manual_seed(0)
    density = FactorizedDensity(channels)
    with torch.no_grad():
        for parameter in density.parameters():
            parameter.normal_()
        density.means.mul_(8)
    return density


def test_bisection_inverts_an_increasing_function() -> None:
    values = torch.tensor([-0.999, -0.5, 0.0, 0.3, 0.999], dtype=torch.float64)
    torch.testing.assert_close(
        bisection(torch.tanh, values), torch.atanh(values), atol=1e-8, rtol=0
    )


@pytest.mark.parametrize("share", [1e-5, 0.5, 0.99])
def test_quantiles_invert_the_distribution(share: float) -> None:
    density = uneven()
    found = density.distribution(density.quantiles(share))
    torch.testing.assert_close(found, torch.full_like(found, share), atol=1e-9, rtol=0)


def test_probabilities_of_all_integers_sum_up_to_one() -> None:
    density = uneven()
    symbols = torch.arange(-300.0, 301)[:, None].expand(-1, 5)
    probabilities = torch.exp2(-density.bits(symbols))
    torch.testing.assert_close(probabilities.sum(0), torch.ones(5), atol=1e-4, rtol=0)


def test_bits_are_the_same_for_each_place_and_batch() -> None:
    density = uneven()
    x = torch.randn(2, 5, 3, 4)
    bits = density.bits(x)
    assert bits.shape == x.shape
    torch.testing.assert_close(density.bits(x[1, :, 2, 3][None])[0], bits[1, :, 2, 3])


def test_a_density_learns_what_it_sees() -> None:
    torch.manual_seed(0)
    density = FactorizedDensity(2)
    optimizer = torch.optim.Adam(density.parameters(), 0.1)
    for _ in range(150):
        x = torch.stack([3 + torch.randn(256), 20 * torch.randn(256)], 1)
        optimizer.zero_grad()
        density.bits(x).mean().backward()
        optimizer.step()
    x = torch.stack([3 + torch.randn(10_000), 20 * torch.randn(10_000)], 1)
    bits = density.bits(x.round()).mean(0)
    # Of a normal distribution, wider by rounding.
    entropy = 0.5 * (2 * math.pi * math.e * (torch.tensor([1.0, 400.0]) + 1 / 12)).log2()
    assert (bits - entropy).abs().max() < 0.04


def test_tables_cost_next_to_nothing_more_than_the_densities() -> None:
    density = uneven()
    symbols = torch.arange(-300, 301)[:, None].expand(-1, 5)
    estimated = density.bits(symbols.float()).double()
    real = density.tables.bits(symbols, torch.arange(5).expand_as(symbols)).double()
    assert (torch.exp2(-estimated) * (real - estimated)).sum(0).max() < 0.01


def test_tables_follow_training_without_being_told() -> None:
    density = uneven()
    before = density.tables.frequencies.clone()
    assert torch.equal(density.tables.frequencies, before)
    density.train().bits(torch.zeros(1, 5))  # as a step of training does
    with torch.no_grad():
        density.means.add_(0.3)
    assert not torch.equal(density.tables.frequencies, before)


def test_a_checkpoint_holds_tables_and_they_are_not_made_again() -> None:
    density = uneven()
    density.train().bits(torch.zeros(1, 5))
    saved = density.state_dict()
    assert torch.equal(saved["made_tables.frequencies"], density.tables.frequencies)
    # As if another machine had rounded otherwise.
    saved["made_tables.frequencies"] = saved["made_tables.frequencies"].flip(0)
    file = io.BytesIO()
    torch.save(saved, file)
    other = FactorizedDensity(5)
    other.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    other.eval().bits(torch.zeros(1, 5))
    assert torch.equal(other.tables.frequencies, saved["made_tables.frequencies"])
    assert torch.equal(other.state_dict()["made_tables.frequencies"], other.tables.frequencies)


def test_a_copy_makes_its_own_tables() -> None:
    density = uneven()
    other = copy.deepcopy(density)
    with torch.no_grad():
        other.means.add_(5)
    assert not torch.equal(
        other.state_dict()["made_tables.lowest"], density.state_dict()["made_tables.lowest"]
    )
