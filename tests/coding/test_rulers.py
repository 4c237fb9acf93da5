from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch

from sar_codec.coding.cells import Cells
from sar_codec.coding.rulers import PLACES, STEPS_A_DB, UNIT, EvenRuler


def places_of(decibels: torch.Tensor) -> torch.Tensor:
    """Where decibels lie among whole numbers of 16 bits, which nobody lays."""
    origins, places = WHOLE.laid(decibels)
    assert (origins == 0).all()
    return places


WHOLE = Cells("uint16", "amplitude", 0.0).ruler


@pytest.mark.parametrize("decade", [10, 20])
def test_no_integers_decibels_are_so_near_a_half_that_a_last_bit_rounds_them(decade: int) -> None:
    """Doubles are off by 1e-12 here; then all machines give the same integers."""
    decibels = decade * UNIT * np.log10(np.arange(1, 2**16, dtype=np.float64))
    nearest = np.abs(decibels - np.floor(decibels) - 0.5).min()
    assert nearest > 1e-9


def test_decibels_of_integers_are_rounded_rightly() -> None:
    values = [1, 2, 3, 7, 59, 60, 500, 4097, 65535]
    with localcontext() as context:
        context.prec = 40
        expected = [
            int((20 * UNIT * Decimal(value).log10()).to_integral_value()) for value in values
        ]
    assert WHOLE.decibels(torch.tensor(values)).tolist() == expected


def test_places_of_integers_are_what_they_are() -> None:
    every = torch.arange(2**16)
    places = places_of(WHOLE.decibels(every)) / PLACES
    # Half a unit of decibels is so many integers.
    assert ((places - every).abs() <= (every.double() * 0.0019).clamp_min(0.07)).all()
    assert (places_of(torch.arange(-300.0, 3200)).diff() >= 0).all()


@pytest.mark.parametrize("error", [0.05, 0.5, 2.0])
def test_cells_are_as_wide_as_is_told(error: float) -> None:
    ruler = Cells("float32", "amplitude", error).ruler
    assert isinstance(ruler, EvenRuler)
    assert ruler.step / STEPS_A_DB == pytest.approx(2 * error, rel=1e-3)
    widths = torch.exp2(ruler.log_widths(torch.arange(60.0 * UNIT, 80 * UNIT)) / UNIT)
    assert ((widths / (2 * error)).log2().abs() < 0.1).all()


def test_of_cells_of_decibels_one_lies_around_what_is_told() -> None:
    ruler = Cells("float32", "db", 0.7).ruler
    decibels = torch.arange(-700.0, 700)
    origin, places = ruler.laid(decibels)
    assert (places == 0).all()
    assert torch.equal(ruler.decibels(origin), decibels)
    assert torch.equal(origin, decibels.long() * (STEPS_A_DB // UNIT))


def test_of_whole_numbers_widths_fall_as_they_grow() -> None:
    for value in (20, 100, 1000, 10_000):
        width = 20 * np.log10((value + 0.5) / (value - 0.5))
        told = WHOLE.log_widths(WHOLE.decibels(torch.tensor([value]))).item() / UNIT
        assert told == pytest.approx(np.log2(width), abs=0.1)


def test_what_lies_beyond_is_taken_for_the_nearest() -> None:
    ruler = Cells("uint8", "amplitude", 0.0).ruler
    assert ruler.laid(torch.tensor([-1e5, 1e5]))[1].tolist() == [0, 255 * PLACES]
    assert (
        ruler.decibels(torch.tensor([-5, 10**6])).tolist()
        == ruler.decibels(torch.tensor([0, 255])).tolist()
    )
