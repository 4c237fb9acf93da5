"""Arrays through bytes and back, in Python."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from numpy.typing import NDArray

import sar_codec
from sar_codec.coding.parts import Method
from sar_codec.coding.pixels import Stored
from sar_codec.data.scaling import Quantity
from sar_codec.errors import UserError

Weights = dict[str, Path]

ODD_SIZES = [(1, 1), (1, 300), (300, 1), (3, 65), (64, 64), (130, 67)]
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]


def speckle(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Power near -10 dB, of four looks."""
    return np.random.default_rng(seed).gamma(4, 0.025, shape).astype(np.float32)


def quantity_of(dtype: str) -> Quantity:
    return "power" if dtype.startswith("float") else "amplitude"


def scaled(power: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """As the type would hold it: power, or integer amplitudes that are not 0."""
    if quantity_of(dtype) == "power":
        return power.astype(dtype)
    top = min(float(np.iinfo(dtype).max), 1000.0)
    return (np.sqrt(power) * top).clip(1, top).astype(dtype)


@pytest.mark.parametrize("kind", ["hyperprior", "factorized"])
@pytest.mark.parametrize("size", ODD_SIZES, ids=str)
def test_any_size_comes_back_in_its_shape(
    kind: str, size: tuple[int, int], tiny_weights: Weights
) -> None:
    data = sar_codec.compress(speckle(*size), "power", model=tiny_weights[kind])
    found = sar_codec.decompress(data, model=tiny_weights[kind])
    assert found.shape == size and found.dtype == np.float32
    assert (found > 0).all() and np.isfinite(found).all()


@pytest.mark.parametrize(
    "bands", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_types_and_bands_come_back(dtype: str, bands: int, tiny_weights: Weights) -> None:
    array = scaled(speckle(bands, 40, 50), dtype)
    options: dict[str, Any] = {"model": tiny_weights["factorized"]}
    data = sar_codec.compress(array, quantity_of(dtype), **options)
    found = sar_codec.decompress(data, **options)
    assert found.dtype == dtype
    assert found.shape == (array.shape if bands > 1 else array.shape[1:])


def test_bytes_of_either_order_are_the_same_image(tiny_weights: Weights) -> None:
    array = scaled(speckle(33, 20), "uint16")
    codes = [
        sar_codec.compress(each, "amplitude", model=tiny_weights["factorized"])
        for each in (array, array.astype(">u2"), np.asfortranarray(array))
    ]
    assert codes[0] == codes[1] == codes[2]


@pytest.mark.parametrize("nodata", [None, 0.0, float("nan"), 3.4028234663852886e38])
def test_what_has_no_decibels_comes_back_to_the_last_bit(
    nodata: float | None, tiny_weights: Weights
) -> None:
    array = speckle(70, 90)
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, -1.5]
    array[5, : len(special)] = special
    array[6, 0] = np.array(0x7FC12345, np.uint32).view(np.float32)  # a NaN of its own
    array[20:40, 30:50] = 0 if nodata is None else nodata
    data = sar_codec.compress(array, "power", nodata=nodata, model=tiny_weights["factorized"])
    found = sar_codec.decompress(data, model=tiny_weights["factorized"])
    is_kept = ~np.isfinite(Stored(array.dtype, "power").to_decibels(array))
    if nodata is not None:
        is_kept |= array == np.float32(nodata)
    assert found[is_kept].tobytes() == array[is_kept].tobytes()
    assert (found[~is_kept] > 0).all()
    assert nodata is None or not (found[~is_kept] == np.float32(nodata)).any()


def test_a_mask_comes_back_and_hides_what_is_behind_it(tiny_weights: Weights) -> None:
    array, valid = speckle(2, 70, 90), np.random.default_rng(1).random((70, 90)) > 0.3
    options: dict[str, Any] = {"model": tiny_weights["factorized"]}
    data = sar_codec.compress(array, "power", valid=valid, nodata=-1, **options)
    with sar_codec.open(data, **options) as image:
        assert (image.read_valid() == valid).all()
        assert (image.read_valid((3, 4, 5, 6)) == valid[3:8, 4:10]).all()
        assert (image.read()[:, ~valid] == -1).all() and (image.read()[:, valid] > 0).all()


def test_a_reader_says_what_it_reads_from_bytes_or_a_file(
    tiny_weights: Weights, tmp_path: Path
) -> None:
    array, model = speckle(2, 100, 150), tiny_weights["hyperprior"]
    data = sar_codec.compress(array, "power", nodata=0, model=model)
    (tmp_path / "a.sarc").write_bytes(data)
    whole = sar_codec.decompress(data, model=model)
    for source in (data, tmp_path / "a.sarc", str(tmp_path / "a.sarc")):
        with sar_codec.open(source, model=model) as image:
            assert (image.shape, image.dtype, image.quantity, image.nodata) == (
                *((2, 100, 150), np.float32, "power", 0),
            )
            assert image.read_valid().all()
            assert (
                np.abs(np.log10(image.read((17, 60, 30, 90)) / whole[:, 17:47, 60:])).max() < 1e-5
            )
            with pytest.raises(ValueError, match="not within"):
                image.read((90, 0, 20, 10))
            with pytest.raises(ValueError, match="not within"):
                image.read_valid((90, 0, 20, 10))


def test_windows_are_parts_of_the_whole_to_the_last_bits() -> None:
    """Of the package's own network, which sums up 32x32 pixels at a time."""
    sigma0 = np.random.default_rng(0).gamma(4, 0.02, (330, 410)).astype(np.float32)
    data = sar_codec.compress(sigma0, quantity="power", quality=5, verify=False)
    whole = sar_codec.decompress(data)
    with sar_codec.open(data) as image:
        for row, column in ((100, 200), (83, 61), (17, 0)):
            part = image.read((row, column, 150, 200))
            expected = whole[row : row + 150, column : column + 200]
            np.testing.assert_allclose(part, expected, rtol=3e-6)
            assert (part != expected).mean() < 0.001


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_integers_can_be_kept_without_loss(dtype: str, tiny_weights: Weights) -> None:
    array = scaled(speckle(61, 40), dtype)
    array[3:9, 4:30] = 0
    options: dict[str, Any] = {"model": tiny_weights["interlaced"]}
    data = sar_codec.compress(array, "amplitude", max_error_db=0, **options)
    assert (sar_codec.decompress(data, **options) == array).all()


@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
@pytest.mark.parametrize("max_error_db", [0.1, 1.0])
def test_no_pixel_is_off_by_more_than_allowed(
    dtype: str, max_error_db: float, tiny_weights: Weights
) -> None:
    array, quantity = scaled(speckle(61, 40), dtype), quantity_of(dtype)
    options: dict[str, Any] = {"model": tiny_weights["interlaced"]}
    data = sar_codec.compress(array, quantity, max_error_db=max_error_db, **options)
    stored = Stored(np.dtype(dtype), quantity)
    before, after = (
        stored.to_decibels(each).astype(float)
        for each in (array, sar_codec.decompress(data, **options))
    )
    assert np.abs(after - before).max() <= max_error_db + 1e-5


@pytest.mark.parametrize(
    ("array", "options", "pattern"),
    [
        (np.ones(3), {}, r"an array \(3,\): expected \(H, W\)"),
        (np.ones((0, 3)), {}, r"an array \(0, 3\)"),
        (np.ones((5, 3, 3)), {}, "5 bands: expected 1 to 4"),
        (np.ones((3, 3), complex), {}, "an array of complex128: expected one of uint8"),
        (np.ones((3, 3), np.int64), {}, "an array of int64"),
        (np.ones((3, 3)), {"quantity": "sigma"}, "quantity='sigma': expected one of power"),
        (np.ones((3, 3)), {"valid": np.ones((3, 2), bool)}, r"valid \(3, 2\) of bool"),
        (np.ones((3, 3)), {"valid": np.ones((3, 3))}, "of float64: expected"),
        (np.ones((3, 3), np.uint8), {"nodata": -9999}, "nodata -9999.0, which no pixel of uint8"),
        (np.ones((3, 3)), {"quality": float("nan")}, "quality=nan: expected a number from 1"),
        (np.ones((3, 3)), {"quality": 9}, "quality=9: expected a number from 1"),
        (np.ones((3, 3)), {"target_bpp": -1}, "target_bpp=-1: expected a number above 0"),
        (np.ones((3, 3)), {"target_bpp": float("inf")}, "target_bpp=inf"),
        (np.ones((3, 3)), {"max_error_db": -1}, "max_error_db=-1: expected 0, lossless, or more"),
        (np.ones((3, 3)), {"max_error_db": float("nan")}, "max_error_db=nan"),
        (np.ones((3, 3)), {"max_error_db": 1, "quality": 3}, "quality=3 and max_error_db=1: give"),
        (np.ones((3, 3)), {"threads": 0}, "threads=0: expected 1 to"),
        (np.ones((3, 3)), {"threads": -2}, "threads=-2: expected 1 to"),
    ],
)
def test_what_cannot_be_coded_is_refused_in_one_line(
    array: NDArray[Any], options: dict[str, Any], pattern: str, tiny_weights: Weights
) -> None:
    arguments = {"quantity": "power", "model": tiny_weights["factorized"], **options}
    with pytest.raises(UserError, match=pattern) as caught:
        sar_codec.compress(array, **arguments)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_image_are_refused_without_the_name_of_a_file(
    tiny_weights: Weights,
) -> None:
    data = sar_codec.compress(speckle(20, 20), "power", model=tiny_weights["factorized"])
    for spoilt in (b"", b"II*\0" * 99, data[:-9], data[:99]):
        with pytest.raises(UserError, match=r"^the bytes given: "):
            sar_codec.decompress(spoilt, model=tiny_weights["factorized"])
    with pytest.raises(UserError, match="400 pixels, more than the 399 that are allowed"):
        sar_codec.decompress(data, model=tiny_weights["factorized"], max_pixels=399)
    with pytest.raises(UserError, match=r"^the bytes given: needs the model with the SHA-256"):
        sar_codec.decompress(data)
    with pytest.raises(UserError, match="the one given has"):
        sar_codec.decompress(data, model=tiny_weights["hyperprior"])
    with pytest.raises(UserError, match="not of its kind, quality"):
        sar_codec.decompress(data, model=tiny_weights["interlaced"])
    with pytest.raises(UserError, match="threads=0"):
        sar_codec.decompress(data, model=tiny_weights["factorized"], threads=0)


def test_the_package_is_imported_at_once() -> None:
    program = (
        "import sys, sar_codec; assert not {'torch', 'numpy', 'rasterio'} & set(sys.modules); "
        "assert sar_codec.UserError"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    with pytest.raises(AttributeError, match="no attribute 'encode'"):
        _ = sar_codec.encode


KINDS = st.sampled_from(["factorized", "interlaced"])
SHAPES = numpy_strategies.array_shapes(min_dims=2, max_dims=2, max_side=40)


@st.composite
def images(draw: st.DrawFn) -> tuple[NDArray[Any], Quantity, float | None]:
    """Anything an array can hold, with a quantity and maybe nodata."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    elements = None
    if dtype.kind == "f":
        ordinary = st.floats(width=dtype.itemsize * 8)
        edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 1.2e-38, 3.4028234663852886e38, 1.0]
        elements = st.one_of(ordinary, st.sampled_from(edges), st.floats(0.0078125, 1.0, width=32))
    array = draw(numpy_strategies.arrays(dtype, SHAPES, elements=elements, fill=st.nothing()))
    nodata: float | None = None
    if draw(st.booleans()):
        nodata = float(array.flat[0]) if draw(st.booleans()) else 0.0
    return array, draw(st.sampled_from(["power", "amplitude", "db"])), nodata


def holds_for_any_image(
    image: tuple[NDArray[Any], Quantity, float | None],
    kind: str,
    has_mask: bool,
    quality: float,
    weights: Weights,
) -> None:
    array, quantity, nodata = image
    valid = np.arange(array.size).reshape(array.shape) % 3 > 0 if has_mask else None
    how: dict[str, Any] = {"quality": quality} if kind == "factorized" else {"max_error_db": 0.5}
    stored = Stored(array.dtype, quantity, nodata)
    try:
        # With a look at what it decodes to: see `checking.check`.
        data = sar_codec.compress(
            array, quantity, **how, nodata=nodata, valid=valid, model=weights[kind], threads=1
        )
    except UserError as error:
        # Not all types and values have cells.
        assert kind == "interlaced", error
        return
    found = sar_codec.decompress(data, model=weights[kind], threads=1)
    is_coded = np.isfinite(stored.to_decibels(array)) & ~stored.is_nodata(array)
    shown = np.ones(array.shape, bool) if valid is None else valid
    assert found[~is_coded & shown].tobytes() == array[~is_coded & shown].tobytes()
    assert np.isfinite(stored.to_decibels(found[is_coded & shown])).all()
    assert not stored.is_nodata(found[is_coded & shown]).any()
    if not is_coded.any():
        assert valid is not None or found.tobytes() == array.tobytes()


EXAMPLES = {"deadline": None, "database": None, "derandomize": True}
UNTIMED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]


@settings(max_examples=25, suppress_health_check=UNTIMED, **EXAMPLES)
@given(images(), KINDS, st.booleans(), st.floats(1, 8))
def test_any_image_goes_through(
    tiny_weights: Weights,
    image: tuple[NDArray[Any], Quantity, float | None],
    kind: str,
    has_mask: bool,
    quality: float,
) -> None:
    holds_for_any_image(image, kind, has_mask, quality, tiny_weights)


@pytest.mark.slow
@settings(max_examples=1000, suppress_health_check=UNTIMED, **EXAMPLES)
@given(images(), KINDS, st.booleans(), st.floats(1, 8))
def test_a_thousand_images_go_through(
    tiny_weights: Weights,
    image: tuple[NDArray[Any], Quantity, float | None],
    kind: str,
    has_mask: bool,
    quality: float,
) -> None:
    holds_for_any_image(image, kind, has_mask, quality, tiny_weights)


def test_what_an_image_is_filled_up_with_takes_few_bytes() -> None:
    """Networks code multiples of 64 pixels: of 200 x 200, more than half of it again."""
    power = np.random.default_rng(0).gamma(1, 1, (258, 258))
    smooth = sum(power[row : row + 256, column : column + 256] for row, column in np.ndindex(3, 3))
    decibels = (10 * np.log10(smooth / 9) - 12).astype(np.float32)
    whole, part = (
        len(sar_codec.compress(decibels[:side, :side], "db", quality=5, verify=False))
        for side in (256, 200)
    )
    assert part < 0.7 * whole


def test_integers_in_cells_of_before_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sar_codec.coding.coders.method_of", lambda _: Method.BOUNDED)
    pixels = np.arange(1, 901, dtype=np.uint16).reshape(30, 30)
    data = sar_codec.compress(pixels, "amplitude", max_error_db=1.0, verify=False)
    with pytest.raises(UserError, match="in cells that this version does not know; compress"):
        sar_codec.decompress(data)
