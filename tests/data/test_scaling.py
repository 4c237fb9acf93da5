import numpy as np
import pytest
from numpy.typing import NDArray

from sar_codec.data.scaling import Quantity, from_decibels, from_unit, to_decibels, to_unit

SHAPES = [(1,), (1, 1), (3, 5), (2, 7, 4), (0, 3)]


def some_power(shape: tuple[int, ...] = (31, 17)) -> NDArray[np.float32]:
    exponents = np.random.default_rng(0).uniform(-8, 8, shape)
    return (10**exponents).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_decibels_of_power_are_ten_times_the_logarithm(shape: tuple[int, ...]) -> None:
    power = some_power(shape)
    decibels = to_decibels(power, "power")
    assert decibels.dtype == np.float32 and decibels.shape == shape
    np.testing.assert_allclose(decibels, 10 * np.log10(power.astype(np.float64)), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_decibels_of_amplitude_are_twenty_times_the_logarithm(shape: tuple[int, ...]) -> None:
    amplitude = some_power(shape)
    decibels = to_decibels(amplitude, "amplitude")
    assert decibels.dtype == np.float32 and decibels.shape == shape
    np.testing.assert_allclose(decibels, 20 * np.log10(amplitude.astype(np.float64)), atol=2e-5)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_an_amplitude_and_its_square_have_the_same_decibels(dtype: str) -> None:
    amplitude = np.arange(1, 120).astype(dtype)
    power = amplitude.astype(np.float64) ** 2
    np.testing.assert_allclose(
        to_decibels(amplitude, "amplitude"), to_decibels(power, "power"), atol=1e-5
    )


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("quantity", ["power", "amplitude", "db"])
def test_complex_values_are_their_squared_modulus(dtype: str, quantity: Quantity) -> None:
    rng = np.random.default_rng(1)
    values = (rng.standard_normal((9, 4)) + 1j * rng.standard_normal((9, 4))).astype(dtype)
    expected = 10 * np.log10(values.real**2 + values.imag**2)
    np.testing.assert_allclose(to_decibels(values, quantity), expected, atol=1e-4)


def test_decibels_stay_as_they_are() -> None:
    decibels = np.array([-99.5, -0.0, 0, 25], np.float32)
    np.testing.assert_array_equal(to_decibels(decibels, "db"), decibels)


@pytest.mark.parametrize("quantity", ["power", "amplitude"])
@pytest.mark.parametrize("value", [0.0, -0.0, -1e-30, -5.0, np.nan, np.inf, -np.inf, 1e300, -1e300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_has_no_decibels_is_nan(quantity: Quantity, value: float, dtype: str) -> None:
    with np.errstate(over="ignore"):
        values = np.array([value, 1], dtype)
    decibels = to_decibels(values, quantity)
    assert np.isnan(decibels[0]) and decibels[1] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.7976931348623157e308])
def test_decibels_that_are_not_finite_are_nan(value: float) -> None:
    assert np.isnan(to_decibels(np.array([value]), "db")).all()


@pytest.mark.parametrize("value", [0, 1j * np.nan, np.inf + 0j])
def test_complex_values_without_a_modulus_are_nan(value: complex) -> None:
    assert np.isnan(to_decibels(np.array([value], np.complex64), "power")).all()


@pytest.mark.parametrize("quantity", ["power", "amplitude", "db"])
def test_the_argument_is_not_written_into(quantity: Quantity) -> None:
    values = np.array([[-1, 0, 2, np.inf]], np.float32)
    before = values.copy()
    to_decibels(values, quantity)
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("quantity", ["power", "amplitude", "db"])
def test_from_decibels_undoes_to_decibels(quantity: Quantity) -> None:
    values = some_power()
    there_and_back = from_decibels(to_decibels(values, quantity), quantity)
    assert there_and_back.dtype == np.float32
    np.testing.assert_allclose(there_and_back, values, rtol=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_window_becomes_zero_to_one_and_is_not_clipped(dtype: str) -> None:
    decibels = np.array([-35, 20, -7.5, -90, 75], dtype)
    unit = to_unit(decibels, -35.0, 20.0)
    assert unit.dtype == dtype
    np.testing.assert_allclose(unit, [0, 1, 0.5, -1, 2], atol=1e-6)


@pytest.mark.parametrize("vmin, vmax", [(-35.0, 20.0), (0.0, 1.0), (-3.25, -3.0)])
def test_from_unit_undoes_to_unit(vmin: float, vmax: float) -> None:
    decibels = np.random.default_rng(2).uniform(vmin - 5, vmax + 5, (7, 3)).astype(np.float32)
    there_and_back = from_unit(to_unit(decibels, vmin, vmax), vmin, vmax)
    assert there_and_back.dtype == np.float32
    np.testing.assert_allclose(there_and_back, decibels, atol=1e-5)
