"""Factors that overviews are asked for by, and are told to have."""

import pytest

from sar_codec.data.overviews import _factor_to_build


@pytest.mark.parametrize("length", [2, 7, 77, 500, 600, 1000, 26_102])
def test_overviews_have_the_factor_that_is_told_of_them(length: int) -> None:
    for size in range(1, min(length, 600)):
        told = round(length / size)
        factor = _factor_to_build(told, length)
        if any(round(length / -(-length // each)) == told for each in range(1, length + 1)):
            assert round(length / -(-length // factor)) == told


@pytest.mark.parametrize(("told", "factor"), [(2, 2), (8, 8), (62, 64), (500, 512), (250, 256)])
def test_powers_of_two_are_preferred(told: int, factor: int) -> None:
    """GDAL 3.12 leaves overviews of 500 pixels by 63, 250 and 500 empty."""
    assert _factor_to_build(told, 500) == factor


def test_other_factors_stay_where_no_power_of_two_makes_as_many() -> None:
    assert _factor_to_build(3, 500) == 3
