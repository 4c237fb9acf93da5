from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch

from sar_codec.coding.cells import Cells
from sar_codec.coding.rulers import PLACES, STEPS_A_DB, UNIT


def places_of(rule: Cells, decibels: torch.Tensor) -> torch.Tensor:
    """Where decibels lie among cells of integers, which nobody lays."""
    origin, places = rule.ruler.laid(decibels)
    assert (origin == 0).all()
    return places


@pytest.mark.parametrize("decade", [10, 20])
def test_no_integers_decibels_are_so_near_a_half_that_a_last_bit_rounds_them(decade: int) -> None:
    """Doubles are off by 1e-12 here; then all machines give the same integers."""
    decibels = decade * UNIT * np.log10(np.arange(1, 2**16, dtype=np.float64))
    nearest = np.abs(decibels - np.floor(decibels) - 0.5).min()
    assert nearest > 1e-9


def test_decibels_of_integers_are_rounded_rightly() -> None:
    values = [1, 2, 3, 7, 59, 60, 500, 4097, 65535]
    ruler = Cells("uint16", "amplitude", 0.0).ruler
    with localcontext() as context:
        context.prec = 40
        expected = [
            int((20 * UNIT * Decimal(value).log10()).to_integral_value()) for value in values
        ]
    assert ruler.decibels(torch.tensor(values)).tolist() == expected


@pytest.mark.parametrize("error", [0.0, 0.05, 0.5, 2.0])
def test_places_of_integers_are_those_of_their_cells(error: float) -> None:
    rule = Cells("uint16", "amplitude", error)
    every = np.arange(2**16).astype(np.uint16)
    cells = torch.from_numpy(np.unique(rule.to_numbers(every, np.True_)))
    places = places_of(rule, rule.ruler.decibels(cells)) / PLACES
    # Half a unit of decibels is so many cells.
    cells_a_unit = (cells.double() * 0.0019).clamp_min(0.07) if error == 0 else 0.6 / UNIT / error
    assert ((places - cells).abs() <= cells_a_unit).all()
    assert (places_of(rule, torch.arange(-300.0, 3200)).diff() >= 0).all()


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("error", [0.05, 0.5, 2.0])
def test_cells_are_as_wide_as_is_told(dtype: str, error: float) -> None:
    rule = Cells(dtype, "amplitude", error)
    decibels = torch.arange(60.0 * UNIT, 80 * UNIT)
    widths = torch.exp2(rule.ruler.log_widths(decibels) / UNIT)
    assert ((widths / (2 * error)).log2().abs() < 0.1).all()
    if dtype == "float32":
        assert rule.ruler.step / STEPS_A_DB == pytest.approx(2 * error, rel=1e-3)
    else:
        places = places_of(rule, torch.tensor([60.0, 80]) * UNIT).diff() / PLACES
        assert places.item() == pytest.approx(20 / (2 * error), abs=1.5)


def test_of_cells_of_decibels_one_lies_around_what_is_told() -> None:
    ruler = Cells("float32", "db", 0.7).ruler
    decibels = torch.arange(-700.0, 700)
    origin, places = ruler.laid(decibels)
    assert (places == 0).all()
    assert torch.equal(ruler.decibels(origin), decibels)
    assert torch.equal(origin, decibels.long() * (STEPS_A_DB // UNIT))


def test_of_whole_numbers_widths_fall_as_they_grow() -> None:
    ruler = Cells("uint16", "amplitude", 0.0).ruler
    for value in (20, 100, 1000, 10_000):
        width = 20 * np.log10((value + 0.5) / (value - 0.5))
        told = ruler.log_widths(ruler.decibels(torch.tensor([value]))).item() / UNIT
        assert told == pytest.approx(np.log2(width), abs=0.1)


def test_what_lies_beyond_is_taken_for_the_nearest() -> None:
    ruler = Cells("uint8", "amplitude", 0.0).ruler
    far = torch.tensor([-1e5, 1e5])
    assert places_of(Cells("uint8", "amplitude", 0.0), far).tolist() == [0, 255 * PLACES]
    assert (
        ruler.decibels(torch.tensor([-5, 10**6])).tolist()
        == ruler.decibels(torch.tensor([0, 255])).tolist()
    )
