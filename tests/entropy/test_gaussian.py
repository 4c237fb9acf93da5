import math
import zlib
from statistics import NormalDist

import pytest
import torch

from sar_codec.entropy.gaussian import (
    MOST_BITS,
    SCALES,
    gaussian_bits,
    gaussian_tables,
    index_of,
    scale_of,
)

TABLES = gaussian_tables()


@pytest.mark.parametrize("deviation", [0.0, 0.3, -1.0, 5.5, -20.0])
@pytest.mark.parametrize("scale", [0.125, 1.0, 17.0])
def test_bits_are_those_of_the_interval_around_a_symbol(deviation: float, scale: float) -> None:
    below = NormalDist(0, scale).cdf
    distance = abs(deviation)  # on the left, where differences are exact
    probability = below(0.5 - distance) - below(-0.5 - distance)
    expected = min(-math.log2(probability), MOST_BITS) if probability else MOST_BITS
    found = gaussian_bits(torch.tensor(deviation), torch.tensor(scale))
    assert found.item() == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_bits_are_float32_and_finite_for_any_symbol() -> None:
    deviation = torch.tensor([0.0, 1e4, -1e30], dtype=torch.bfloat16)
    bits = gaussian_bits(deviation, torch.full((3,), 0.125, dtype=torch.bfloat16))
    assert bits.dtype == torch.float32
    assert bits.isfinite().all()


def test_scales_grow_by_an_eighth_from_an_eighth() -> None:
    scales = scale_of(torch.arange(SCALES).double())
    assert scales[0] == 1 / 8
    assert (scales.diff() / scales[:-1]).max() < 0.125
    torch.testing.assert_close(index_of(scales), torch.arange(SCALES).double())


@pytest.mark.parametrize("index", [0, 1, 18, 40, SCALES - 1])
def test_a_table_costs_next_to_nothing_more_than_its_density(index: int) -> None:
    scale = scale_of(torch.tensor(index).double())
    symbols = torch.arange(-1000, 1001)
    estimated = gaussian_bits(symbols.float(), scale.float().expand(len(symbols))).double()
    real = TABLES.bits(symbols, torch.full_like(symbols, index)).double()
    probability = torch.exp2(-estimated)
    assert (probability * (real - estimated)).sum() < 1e-3


def test_scales_between_two_steps_cost_little_when_rounded() -> None:
    scale = scale_of(torch.tensor(30.5))
    symbols = torch.arange(-100, 101)
    estimated = gaussian_bits(symbols.float(), scale.expand(len(symbols))).double()
    real = TABLES.bits(symbols, torch.full_like(symbols, 30)).double()
    loss = (torch.exp2(-estimated) * (real - estimated)).sum().item()
    assert 0 < loss < 0.0055


def test_tables_are_the_ones_that_files_were_written_with() -> None:
    """Gains and kernels are coded by these, and no file holds them."""
    frequencies = TABLES.frequencies.numpy().astype("<i4")
    assert zlib.crc32(frequencies.tobytes()) == 0xB32597B1
