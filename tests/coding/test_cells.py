import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sar_codec.coding.cells import LARGEST_ERROR_DB, LEAST_ERROR_DB, Cells
from sar_codec.coding.rulers import EvenRuler
from sar_codec.data.scaling import DECIBELS_PER_DECADE, Quantity
from sar_codec.errors import UserError

ERRORS = [0.001, 0.05, 0.25, 0.5, 1.0, 2.9, 20.0]
FLOATS: list[tuple[str, Quantity]] = [
    ("float32", "power"),
    ("float32", "amplitude"),
    ("float32", "db"),
    ("float64", "power"),
    ("float64", "db"),
]
INTEGERS: list[tuple[str, Quantity]] = [
    ("uint8", "amplitude"),
    ("uint8", "power"),
    ("uint16", "amplitude"),
    ("uint16", "power"),
    ("int16", "amplitude"),
    ("int16", "power"),
]


def decibels(values: NDArray[Any], quantity: Quantity) -> NDArray[np.float64]:
    if quantity == "db":
        return values.astype(np.float64)
    return DECIBELS_PER_DECADE[quantity] * np.log10(values.astype(np.float64))


def all_valid(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    return np.ones(pixels.shape, bool)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(("dtype", "quantity"), FLOATS)
def test_no_floating_point_pixel_is_off_by_more(
    dtype: str, quantity: Quantity, error: float
) -> None:
    rule = Cells(dtype, quantity, error)
    random = np.random.default_rng(0)
    normal = np.finfo(np.float32)
    if quantity == "db":
        pixels = np.concatenate([random.uniform(-512, 512, 50_000), [-512, 0, 512, 1e-30]])
    else:
        pixels = 10 ** random.uniform(-37.9, 38.5, 50_000)
        pixels = np.concatenate([pixels, [float(normal.tiny), float(normal.max), 1, 1e-38 * 2]])
    pixels = pixels.astype(dtype)
    numbers = rule.to_numbers(pixels, all_valid(pixels))
    # Of a cell that lies anywhere, the middle is decoded.
    assert isinstance(rule.ruler, EvenRuler)
    farthest = rule.ruler.step // 2
    step = np.float32(np.inf)  # over nodata, as `Stored.beside_nodata` takes it
    for off_middle in (-farthest, 0, farthest):
        decoded = rule.to_pixels(numbers + off_middle)
        assert decoded.dtype == np.float32
        assert np.isfinite(decoded).all()
        off = np.abs(decibels(decoded, quantity) - decibels(pixels, quantity))
        assert off.max() <= error
        if quantity == "db" or abs(off_middle) == 0:
            beside = np.nextafter(decoded, step * np.sign(off_middle or 1))
            assert np.abs(decibels(beside, quantity) - decibels(pixels, quantity)).max() <= error
        assert off_middle == 0 or off.max() > 0.97 * error - 3e-5  # nothing is given away


@pytest.mark.parametrize("error", [0.0, *ERRORS])
@pytest.mark.parametrize(("dtype", "quantity"), INTEGERS)
def test_integers_are_numbers(dtype: str, quantity: Quantity, error: float) -> None:
    rule = Cells(dtype, quantity, error)
    pixels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    numbers = rule.to_numbers(pixels, all_valid(pixels))
    assert np.array_equal(numbers, pixels)
    assert rule.to_pixels(numbers).dtype == dtype
    assert np.array_equal(rule.to_pixels(numbers), pixels)


@pytest.mark.parametrize("nodata", [0, 1, 77, 255])
def test_nothing_becomes_nodata(nodata: int) -> None:
    rule = Cells("uint8", "amplitude", 1.0, nodata)
    pixels = np.arange(256).astype(np.uint8)
    valid = pixels != nodata
    numbers = rule.to_numbers(pixels, valid)
    assert np.array_equal(np.unique(numbers[valid]), np.arange(255))
    assert np.array_equal(rule.to_pixels(numbers)[valid], pixels[valid])
    assert nodata not in rule.to_pixels(np.arange(-300, 600))


def test_without_loss_nodata_is_a_number_as_any() -> None:
    pixels = np.arange(256).astype(np.uint8)
    assert np.array_equal(
        Cells("uint8", "amplitude", 0.0, 77).to_numbers(pixels, all_valid(pixels)), pixels
    )


def test_values_do_not_hang_on_the_last_bit_of_a_power(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = Cells("float32", "power", 0.01)
    numbers = np.arange(-15_000, 15_000) * 20_951
    expected = rule.to_pixels(numbers)
    power = np.power
    for factor in (1 - 2.0**-52, 1 + 2.0**-52):
        monkeypatch.setattr(np, "power", lambda a, b, by=factor: power(a, b) * by)
        assert np.array_equal(rule.to_pixels(numbers), expected)


def test_pixels_that_are_not_valid_may_be_anything() -> None:
    pixels = np.array([[1.0, np.nan], [-3.0, np.inf]], np.float32)
    valid = np.array([[True, False], [False, False]])
    assert Cells("float32", "power", 1.0).to_numbers(pixels, valid).tolist() == [[0, 0], [0, 0]]
    assert Cells("int16", "amplitude", 0.0).to_numbers(
        np.array([[5, -7]], np.int16), np.array([[True, False]])
    ).tolist() == [[5, 0]]


@pytest.mark.parametrize(
    ("dtype", "quantity", "value", "what"),
    [
        ("float32", "power", 0.0, "no positive"),
        ("float32", "power", -1.0, "no positive"),
        ("float32", "amplitude", np.nan, "no positive"),
        ("float32", "amplitude", np.inf, "no positive"),
        ("float32", "power", 1e-39, "no positive"),
        ("float64", "power", 1e39, "no positive"),
        ("float32", "db", np.nan, "not within"),
        ("float32", "db", -9999.0, "not within"),
        ("int16", "amplitude", -1, "negative"),
    ],
)
def test_valid_pixels_without_decibels_are_refused(
    dtype: str, quantity: Quantity, value: float, what: str
) -> None:
    pixels = np.array([3, value]).astype(dtype)
    with pytest.raises(UserError, match=f"1 valid pixels are {what}.*mark them"):
        Cells(dtype, quantity, 1.0).to_numbers(pixels, all_valid(pixels))


@pytest.mark.parametrize(
    ("dtype", "quantity", "error", "message"),
    [
        ("int32", "power", 1.0, "pixels of int32: expected one of"),
        ("complex64", "power", 1.0, "pixels of complex64"),
        ("float32", "intensity", 1.0, "quantity=intensity"),
        ("int16", "db", 1.0, "decibels in int16"),
        ("float32", "power", 0.0, "max_error_db=0.0"),
        ("float32", "power", LEAST_ERROR_DB / 2, "max_error_db"),
        ("uint16", "amplitude", -1.0, "max_error_db"),
        ("uint16", "amplitude", LARGEST_ERROR_DB + 1, "max_error_db"),
        ("uint16", "amplitude", float("nan"), "max_error_db"),
        ("uint16", "amplitude", "1", "expected a number"),
        ("uint16", "amplitude", None, "expected a number"),
        ("uint16", ["amplitude"], 1.0, "quantity="),
    ],
)
def test_what_is_no_rule_is_refused(dtype: str, quantity: Any, error: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Cells(dtype, quantity, error)


def test_a_rule_comes_back_from_json() -> None:
    for rule in (Cells("uint16", "amplitude", 0.3, 255), Cells("float32", "db", 0.1)):
        pixels = np.linspace(1, 500, 5000).astype(rule.dtype)
        cells = rule.to_numbers(pixels, all_valid(pixels))
        again = Cells(**json.loads(json.dumps(dataclasses.asdict(rule))))
        assert again == rule
        assert np.array_equal(again.to_numbers(pixels, all_valid(pixels)), cells)


def test_pixels_of_another_type_are_refused() -> None:
    pixels = np.ones(3, np.float64)
    with pytest.raises(UserError, match="pixels of float64: expected float32"):
        Cells("float32", "power", 1.0).to_numbers(pixels, all_valid(pixels))


@pytest.mark.parametrize(("dtype", "quantity"), [*FLOATS, *INTEGERS])
def test_cells_beyond_all_have_values_too(dtype: str, quantity: Quantity) -> None:
    cells = np.array([[-(2**40), 2**40], [0, 5]])
    decoded = Cells(dtype, quantity, 1.0).to_pixels(cells)
    assert decoded.shape == (2, 2)
    assert np.isfinite(decoded).all()
    assert Cells(dtype, quantity, 1.0).to_pixels(np.empty((0, 3), np.int64)).shape == (0, 3)
