from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.shutil
from numpy.typing import NDArray

from sar_codec.data.raster import Band, find_bands
from sar_codec.data.scaling import Quantity

Write = Callable[..., Path]
Refused = Callable[[str], AbstractContextManager[None]]

HEIGHT, WIDTH = 37, 53
SENTINEL_1_GRD = {"TIFFTAG_IMAGEDESCRIPTION": "Sentinel-1A IW GRD HR L1"}


def some_power(bands: int = 1, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.float32]:
    power = np.random.default_rng(0).gamma(2, 0.5, (bands, height, width)).astype(np.float32)
    return power[0] if bands == 1 else power


def whole(band: Band) -> NDArray[np.float32]:
    return band.read(0, 0, band.height, band.width)


def only_band(root: Path, **settings: Any) -> Band:
    (band,) = find_bands(root, **settings)
    return band


def decibels_of(power: NDArray[Any]) -> NDArray[np.float64]:
    return 10 * np.log10(power.astype(np.float64))


# What the values become


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (HEIGHT, WIDTH)])
def test_power_is_read_as_ten_times_its_logarithm(
    tmp_path: Path, write_raster: Write, shape: tuple[int, int]
) -> None:
    power = some_power(1, *shape)
    read = whole(only_band(write_raster(tmp_path / "a.tif", power), quantity="power"))
    assert read.dtype == np.float32 and read.shape == shape
    np.testing.assert_allclose(read, decibels_of(power), atol=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_amplitude_is_read_as_twenty_times_its_logarithm(
    tmp_path: Path, write_raster: Write, dtype: str
) -> None:
    amplitude = np.random.default_rng(1).integers(1, 250, (HEIGHT, WIDTH)).astype(dtype)
    read = whole(only_band(write_raster(tmp_path / "a.tif", amplitude), quantity="amplitude"))
    np.testing.assert_allclose(read, 2 * decibels_of(amplitude), atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_decibels_are_read_as_they_are(tmp_path: Path, write_raster: Write, dtype: str) -> None:
    decibels = decibels_of(some_power()).astype(dtype)
    read = whole(only_band(write_raster(tmp_path / "a.tif", decibels), quantity="db"))
    np.testing.assert_array_equal(read, decibels.astype(np.float32))


@pytest.mark.parametrize("dtype", ["complex64", "complex_int16"])
@pytest.mark.parametrize("quantity", [None, "power"])
def test_complex_values_are_read_as_their_squared_modulus(
    tmp_path: Path, write_raster: Write, dtype: str, quantity: Quantity | None
) -> None:
    rng = np.random.default_rng(2)
    values = rng.integers(1, 99, (5, 8)) + 1j * rng.integers(-99, 99, (5, 8))
    path = write_raster(tmp_path / "slc.tif", values.astype(np.complex64), dtype=dtype)
    band = only_band(path, quantity=quantity)
    assert band.quantity == "power"
    np.testing.assert_allclose(whole(band), decibels_of(values.real**2 + values.imag**2), atol=1e-4)


def test_the_offset_is_added_to_the_decibels(tmp_path: Path, write_raster: Write) -> None:
    power = some_power()
    path = write_raster(tmp_path / "a.tif", power)
    read = whole(only_band(path, quantity="power", offset_db=-55.6))
    np.testing.assert_allclose(read, decibels_of(power) - 55.6, atol=1e-4)


def test_stored_values_are_scaled_and_shifted_before_the_logarithm(
    tmp_path: Path, write_raster: Write
) -> None:
    stored = np.random.default_rng(3).integers(1, 1000, (HEIGHT, WIDTH)).astype(np.int16)
    path = write_raster(tmp_path / "a.tif", stored, scale=0.25, offset=3.0)
    read = whole(only_band(path, quantity="power"))
    np.testing.assert_allclose(read, decibels_of(stored * 0.25 + 3), atol=1e-4)


# What is invalid


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("quantity", ["power", "amplitude"])
@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_values_without_decibels_are_nan(
    tmp_path: Path, write_raster: Write, value: float, quantity: Quantity, suffix: str
) -> None:
    power = some_power()
    power[3:7, 5] = value
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, power)
    else:
        write_raster(path, power)
    expected = np.zeros(power.shape, bool)
    expected[3:7, 5] = True
    read = whole(only_band(path, quantity=quantity))
    np.testing.assert_array_equal(np.isnan(read), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_decibels_that_are_not_finite_are_nan(
    tmp_path: Path, write_raster: Write, value: float
) -> None:
    decibels = np.array([[value, 0, -30]], np.float32)
    read = whole(only_band(write_raster(tmp_path / "a.tif", decibels), quantity="db"))
    np.testing.assert_array_equal(read, [[np.nan, 0, -30]])


@pytest.mark.parametrize(
    "dtype, nodata",
    [
        ("float32", -99.0),
        ("float32", 7.0),
        ("float32", -9999.9),
        ("float32", -3.4028234663852886e38),
        ("float64", -1.7976931348623157e308),
        ("uint16", 65535),
        ("int16", -32768),
    ],
)
@pytest.mark.parametrize("quantity", ["power", "db"])
@pytest.mark.parametrize("scale", [None, 10.0])
def test_the_nodata_value_of_the_file_is_nan(
    tmp_path: Path,
    write_raster: Write,
    dtype: str,
    nodata: float,
    quantity: Quantity,
    scale: float | None,
) -> None:
    values = np.arange(1, 13).reshape(3, 4).astype(dtype)
    values[values == 7] = 20
    values[1, 2] = nodata
    path = write_raster(tmp_path / "a.tif", values, nodata=nodata, scale=scale)
    read = whole(only_band(path, quantity=quantity))
    assert np.argwhere(np.isnan(read)).tolist() == [[1, 2]]


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("scale", [None, 3.0])
def test_the_nodata_value_given_is_nan_besides_that_of_the_file(
    tmp_path: Path, write_raster: Write, dtype: str, scale: float | None
) -> None:
    values = np.array([[1, 2, 3, 9]], dtype)
    path = write_raster(tmp_path / "a.tif", values, nodata=9, scale=scale)
    read = whole(only_band(path, quantity="db", nodata=3.0))
    np.testing.assert_array_equal(np.isnan(read), [[False, False, True, True]])


@pytest.mark.parametrize("nodata", [np.nan, -99.0, 1e9])
def test_a_nodata_value_that_no_pixel_can_have_takes_none_away(
    tmp_path: Path, write_raster: Write, nodata: float
) -> None:
    values = np.arange(1, 7, dtype=np.uint8).reshape(2, 3)
    read = whole(only_band(write_raster(tmp_path / "a.tif", values), quantity="db", nodata=nodata))
    np.testing.assert_array_equal(read, values)


def test_the_nodata_value_given_holds_for_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1, -99, 3]], np.float32))
    read = whole(only_band(tmp_path, quantity="db", nodata=-99.0))
    np.testing.assert_array_equal(read, [[1, np.nan, 3]])


@pytest.mark.parametrize("inner_mask", [True, False])
def test_what_a_mask_band_takes_away_is_nan(
    tmp_path: Path, write_raster: Write, inner_mask: bool
) -> None:
    valid = np.random.default_rng(4).random((HEIGHT, WIDTH)) > 0.3
    write_raster(tmp_path / "a.tif", some_power(), mask=valid, inner_mask=inner_mask)
    read = whole(only_band(tmp_path, quantity="power"))
    np.testing.assert_array_equal(np.isfinite(read), valid)


def test_an_alpha_band_is_a_mask_and_no_image(tmp_path: Path, write_raster: Write) -> None:
    values = np.full((2, 4, 5), 100, np.uint8)
    values[1] = 255
    values[1, 1:3, 2] = 0
    path = write_raster(tmp_path / "a.tif", values, photometric="MINISBLACK", alpha="YES")
    read = whole(only_band(path, quantity="amplitude"))
    np.testing.assert_array_equal(np.isnan(read), values[1] == 0)


# Windows


@pytest.mark.parametrize(
    "row, column, height, width",
    [
        (0, 0, 1, 1),
        (HEIGHT - 1, WIDTH - 1, 1, 1),
        (5, 0, 2, WIDTH),
        (0, 50, HEIGHT, 3),
        (9, 7, 21, 19),
    ],
)
@pytest.mark.parametrize("form", ["striped", "tiled", "envi", "npy"])
def test_a_window_is_that_part_of_the_whole(
    tmp_path: Path, write_raster: Write, form: str, row: int, column: int, height: int, width: int
) -> None:
    power = some_power()
    power[::5, ::3] = 0
    if form == "npy":
        np.save(tmp_path / "a.npy", power)
    elif form == "envi":
        write_raster(tmp_path / "a.img", power, driver="ENVI")
    elif form == "tiled":
        tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
        write_raster(tmp_path / "a.tif", power, **tiles)
    else:
        write_raster(tmp_path / "a.tif", power)
    band = only_band(tmp_path, quantity="power")
    part = band.read(row, column, height, width)
    np.testing.assert_array_equal(part, whole(band)[row : row + height, column : column + width])
    expected = power[row : row + height, column : column + width]
    np.testing.assert_allclose(part[expected > 0], decibels_of(expected[expected > 0]), atol=1e-4)


# Which bands there are


@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_every_band_of_a_file_is_an_image(tmp_path: Path, write_raster: Write, suffix: str) -> None:
    power = some_power(bands=3)
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, power)
    else:
        write_raster(path, power)
    bands = find_bands(path, "power")
    assert [band.index for band in bands] == [1, 2, 3]
    assert len({band.name for band in bands}) == 3
    for band, values in zip(bands, power, strict=True):
        assert (band.height, band.width) == (HEIGHT, WIDTH)
        np.testing.assert_allclose(whole(band), decibels_of(values), atol=1e-4)


@pytest.mark.parametrize("dtype", [">f4", "<f8", "float16", "uint16", "int64", "complex64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_any_numbers_are_images(tmp_path: Path, dtype: str, order: Any) -> None:
    values = np.arange(1, 16).reshape(3, 5)
    np.save(tmp_path / "a.npy", np.asarray(values.astype(dtype), order=order))
    band = only_band(tmp_path, quantity="power")
    expected = values**2 if dtype == "complex64" else values
    np.testing.assert_allclose(whole(band), decibels_of(expected), atol=1e-2)


def test_bands_come_in_order_of_path_from_folders_within_folders(
    tmp_path: Path, write_raster: Write
) -> None:
    for name in ("b/z.tif", "b/a.tif", "a/deep/er/m.tif", "c.tif"):
        write_raster(tmp_path / name, some_power())
    found = [Path(band.path).relative_to(tmp_path) for band in find_bands(tmp_path, "power")]
    assert found == [Path("c.tif"), Path("a/deep/er/m.tif"), Path("b/a.tif"), Path("b/z.tif")]


def test_folders_that_are_links_are_followed(tmp_path: Path, write_raster: Write) -> None:
    write_raster(tmp_path / "elsewhere" / "a.tif", some_power())
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    assert len(find_bands(tmp_path / "root", "power")) == 1


def test_what_is_no_raster_is_left_out(tmp_path: Path, write_raster: Write) -> None:
    write_raster(tmp_path / "a.img", some_power(), driver="ENVI")  # a.hdr beside it
    for name in ("README", "notes.txt", "a.img.aux.xml", "model.pth", "x.dat", ".hidden.tif"):
        (tmp_path / name).write_text("no raster")
    assert [Path(band.path).name for band in find_bands(tmp_path, "power")] == ["a.img"]


def test_a_raster_needs_no_suffix(tmp_path: Path, write_raster: Write) -> None:
    write_raster(tmp_path / "image", some_power())
    assert only_band(tmp_path, quantity="power").height == HEIGHT


# What the values are


@pytest.mark.parametrize("word", ["dB", "db", "sigma0 [dB]", "decibels"])
@pytest.mark.parametrize("where", ["units", "descriptions", "tags", "band_tags"])
def test_a_file_may_say_that_it_holds_decibels(
    tmp_path: Path, write_raster: Write, word: str, where: str
) -> None:
    said: dict[str, Any] = {"tags": {"UNITS": word}, "band_tags": {"unit_of_values": word}}
    write_raster(tmp_path / "a.tif", some_power(), **{where: said.get(where, [word])})
    assert only_band(tmp_path).quantity == "db"


@pytest.mark.parametrize(
    "word, quantity",
    [
        ("Intensity_VV", "power"),
        ("linear power", "power"),
        ("Amplitude_VH", "amplitude"),
        ("Sigma0_VV_db", "db"),
        ("intensity_db", "db"),
        ("amplitude of adBc", "amplitude"),
    ],
)
@pytest.mark.parametrize("form", ["GTiff", "ENVI"])
def test_the_name_of_a_band_says_what_it_holds(
    tmp_path: Path, write_raster: Write, word: str, quantity: Quantity, form: str
) -> None:
    path = tmp_path / ("a.img" if form == "ENVI" else "a.tif")
    write_raster(path, some_power(), descriptions=[word], driver=form)
    assert only_band(tmp_path).quantity == quantity


def test_each_band_speaks_for_itself(tmp_path: Path, write_raster: Write, refused: Refused) -> None:
    write_raster(tmp_path / "a.tif", some_power(2), descriptions=["VV intensity", "VH amplitude"])
    with refused("mixed units: power in .*a.tif, amplitude in .*a.tif"):
        find_bands(tmp_path)


def test_uint16_of_a_sentinel_1_product_is_amplitude(tmp_path: Path, write_raster: Write) -> None:
    write_raster(tmp_path / "a.tif", some_power().astype(np.uint16), tags=SENTINEL_1_GRD)
    assert only_band(tmp_path).quantity == "amplitude"


def test_float32_made_of_a_sentinel_1_product_does_not_say_what_it_is(
    tmp_path: Path, write_raster: Write, refused: Refused
) -> None:
    write_raster(tmp_path / "a.tif", some_power(), tags=SENTINEL_1_GRD)
    with refused("does not say"):
        find_bands(tmp_path)


def write_safe(folder: Path, write_raster: Write, values: NDArray[Any]) -> Path:
    product = folder / "S1A_IW_GRDH_1SDV_20240101T000000_20240101T000025_052000_064800_ABCD.SAFE"
    for number, polarisation in enumerate(("vv", "vh"), start=1):
        name = f"s1a-iw-grd-{polarisation}-20240101t000000-052000-064800-00{number}.tiff"
        write_raster(product / "measurement" / name, values)
        xml = product / "annotation" / name.replace("tiff", "xml")
        xml.parent.mkdir(exist_ok=True)
        xml.write_text("<product/>")
    write_raster(product / "preview" / "quick-look.png", values.astype(np.uint8), driver="PNG")
    (product / "manifest.safe").write_text("<xfdu/>")
    return product


@pytest.mark.parametrize("at_product", [True, False])
def test_of_a_safe_folder_the_measurements_are_read_as_amplitude(
    tmp_path: Path, write_raster: Write, at_product: bool
) -> None:
    product = write_safe(tmp_path, write_raster, (some_power() * 100).astype(np.uint16))
    bands = find_bands(product if at_product else tmp_path)
    assert [Path(band.path).parent.name for band in bands] == ["measurement"] * 2
    assert {band.quantity for band in bands} == {"amplitude"}


def test_a_picture_outside_a_safe_folder_would_be_read(tmp_path: Path, write_raster: Write) -> None:
    product = write_safe(tmp_path, write_raster, (some_power() * 100).astype(np.uint16))
    assert len(find_bands(product / "preview", "amplitude")) == 1


def test_single_look_data_of_a_safe_folder_is_power(tmp_path: Path, write_raster: Write) -> None:
    product = tmp_path / "S1A_IW_SLC.SAFE"
    name = "s1a-iw1-slc-vv-001.tiff"
    values = some_power().astype(np.complex64)
    write_raster(product / "measurement" / name, values, dtype="complex_int16")
    (product / "manifest.safe").write_text("<xfdu/>")
    assert only_band(tmp_path).quantity == "power"


@pytest.mark.parametrize("asked", ["power", "amplitude"])
def test_a_quantity_that_the_file_contradicts_is_refused(
    tmp_path: Path, write_raster: Write, refused: Refused, asked: Quantity
) -> None:
    write_raster(tmp_path / "a.tif", some_power(), units=["dB"])
    with refused(rf"a\.tif: band 1 says it holds db, data\.quantity says {asked}; leave"):
        find_bands(tmp_path, asked)


def test_a_quantity_that_the_file_confirms_is_taken(tmp_path: Path, write_raster: Write) -> None:
    write_raster(tmp_path / "a.tif", some_power(), units=["dB"])
    assert only_band(tmp_path, quantity="db").quantity == "db"


@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_a_file_that_does_not_say_what_it_holds_is_refused(
    tmp_path: Path, write_raster: Write, refused: Refused, suffix: str
) -> None:
    if suffix == "npy":
        np.save(tmp_path / "a.npy", some_power())
    else:
        write_raster(tmp_path / "a.tif", some_power())
    with refused(rf"a\.{suffix}: does not say .*data\.quantity=power\|amplitude\|db"):
        find_bands(tmp_path)


def test_mixed_units_are_refused(tmp_path: Path, write_raster: Write, refused: Refused) -> None:
    write_raster(tmp_path / "a.tif", some_power(), units=["dB"])
    write_raster(tmp_path / "b.tif", some_power(), units=["linear power"])
    with refused(r"mixed units: db in .*a\.tif, power in .*b\.tif; .*data\.sources"):
        find_bands(tmp_path)


# Where the images lie


def test_the_footprint_is_that_of_the_transform(tmp_path: Path, write_raster: Write) -> None:
    write_raster(tmp_path / "a.tif", some_power(), west_north=(10.0, 50.0), step=0.01)
    expected = (10, 50 - 0.01 * HEIGHT, 10 + 0.01 * WIDTH, 50)
    assert only_band(tmp_path, quantity="power").footprint == pytest.approx(expected)


def test_the_footprint_is_in_degrees_for_any_system(tmp_path: Path, write_raster: Write) -> None:
    # The central meridian of UTM zone 32 is 9 E, at 500 km; 10 m pixels.
    corner = (500_000.0, 5_500_000.0)
    write_raster(tmp_path / "a.tif", some_power(), west_north=corner, step=10, crs="EPSG:32632")
    footprint = only_band(tmp_path, quantity="power").footprint
    assert footprint is not None
    west, south, east, north = footprint
    assert west == pytest.approx(9, abs=1e-6) and north == pytest.approx(49.65, abs=0.01)
    metres_per_degree = 40_008_000 / 360
    assert north - south == pytest.approx(HEIGHT * 10 / metres_per_degree, rel=0.01)
    at_latitude = metres_per_degree * np.cos(np.radians(north))
    assert east - west == pytest.approx(WIDTH * 10 / at_latitude, rel=0.01)


def test_the_footprint_holds_all_control_points(tmp_path: Path, write_raster: Write) -> None:
    write_raster(tmp_path / "a.tif", some_power(), gcps=[(10, 50), (12, 49.5), (9.5, 48)])
    expected = (9.5, 48, 12, 50)
    assert only_band(tmp_path, quantity="power").footprint == pytest.approx(expected)


def test_the_footprint_goes_on_across_the_antimeridian(tmp_path: Path, write_raster: Write) -> None:
    corner = (700_000.0, 8_000_000.0)
    write_raster(tmp_path / "a.tif", some_power(), west_north=corner, step=5000, crs="EPSG:32760")
    footprint = only_band(tmp_path, quantity="power").footprint
    assert footprint is not None
    west, _, east, _ = footprint
    assert 178 < west < 180 < east < 183


@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_images_in_radar_geometry_have_no_footprint(
    tmp_path: Path, write_raster: Write, suffix: str
) -> None:
    if suffix == "npy":
        np.save(tmp_path / "a.npy", some_power())
    else:
        write_raster(tmp_path / "a.tif", some_power())
    assert only_band(tmp_path, quantity="power").footprint is None


def test_local_coordinates_are_no_footprint(tmp_path: Path, write_raster: Write) -> None:
    local = 'LOCAL_CS["arbitrary",UNIT["metre",1]]'
    write_raster(tmp_path / "a.tif", some_power(), west_north=(5, 5), step=2, crs=local)
    assert only_band(tmp_path, quantity="power").footprint is None


@pytest.mark.parametrize(
    "first, second, same",
    [
        ("x_VV.tif", "x_VH.tif", True),
        ("VV/x.tif", "VH/x.tif", True),
        ("x-vv-1.tif", "x-vh-1.tif", True),
        ("HH.img", "HV.img", True),
        ("x_VV.tif", "y_VV.tif", False),
        ("a/VV.tif", "b/VV.tif", False),
        ("savvy.tif", "sahhy.tif", False),
    ],
)
def test_paths_equal_but_for_the_polarisation_are_one_place(
    tmp_path: Path, first: str, second: str, same: bool
) -> None:
    for name in (first, second):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with open(tmp_path / name, "wb") as file:
            np.save(file, some_power())
        (tmp_path / name).rename((tmp_path / name).with_suffix(".npy"))
    places = {band.place for band in find_bands(tmp_path, "power")}
    assert len(places) == (1 if same else 2)


# What cannot be read


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, refused: Refused) -> None:
    with refused(r"nowhere: no such folder; .*data\.root=FOLDER"):
        find_bands(tmp_path / "nowhere")


@pytest.mark.parametrize("files", [[], ["README.md"], ["x.dat", "notes.txt"]])
def test_a_folder_without_rasters_is_refused(
    tmp_path: Path, refused: Refused, files: list[str]
) -> None:
    for name in files:
        (tmp_path / name).write_text("no raster")
    with refused("no readable raster in or below it; expected GeoTIFF"):
        find_bands(tmp_path, "power")


@pytest.mark.parametrize("length", [0, 3, 100])
@pytest.mark.parametrize("name", ["a.tif", "a.TIFF", "a.png", "a.h5"])
def test_a_file_whose_header_cannot_be_read_is_refused(
    tmp_path: Path, write_raster: Write, refused: Refused, name: str, length: int
) -> None:
    complete = write_raster(tmp_path / "complete.tif", some_power()).read_bytes()
    (tmp_path / "complete.tif").unlink()
    (tmp_path / name).write_bytes(complete[:length])
    with refused(rf"{name}: cannot be opened \(.*\); the file is damaged.* replace it or take it"):
        find_bands(tmp_path, "power")


@pytest.mark.parametrize("compress", ["none", "deflate", "lzw"])
def test_a_file_whose_data_is_cut_short_is_refused_when_read(
    tmp_path: Path, write_raster: Write, refused: Refused, compress: str
) -> None:
    path = write_raster(tmp_path / "a.tif", some_power(1, 300, 200), compress=compress)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size * 6 // 10)
    band = only_band(path, quantity="power")
    assert np.isfinite(band.read(0, 0, 10, 200)).all()
    with refused(r"a\.tif: cannot be read at row 280, column 0 \(.*\); the file is damaged"):
        band.read(280, 0, 20, 200)


def test_an_envi_file_shorter_than_its_header_says_is_refused(
    tmp_path: Path, write_raster: Write, refused: Refused
) -> None:
    path = write_raster(tmp_path / "a.img", some_power(), driver="ENVI")
    assert len(find_bands(tmp_path, "db")) == 1
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 1)
    with refused(r"a\.img: cannot be opened \(7843 bytes, its header says 7844\); the file is"):
        find_bands(tmp_path, "db")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(5.0),
        np.zeros((2, 3, 4, 5)),
        np.array(3.0),
        np.array([["a", "b"]]),
        np.zeros((3, 4), bool),
        np.zeros((3, 4), [("vv", "f4"), ("vh", "f4")]),
    ],
    ids=["1-D", "4-D", "0-D", "text", "bool", "records"],
)
def test_an_array_that_is_no_image_is_refused(
    tmp_path: Path, refused: Refused, array: NDArray[Any]
) -> None:
    np.save(tmp_path / "a.npy", array)
    with refused(r"a\.npy: cannot be opened \(expected numbers of shape \(height, width\)"):
        find_bands(tmp_path, "power")


def test_an_array_of_objects_is_refused_and_not_unpickled(tmp_path: Path, refused: Refused) -> None:
    np.save(tmp_path / "a.npy", np.array([[{"a": 1}, None]], object), allow_pickle=True)
    with refused(r"a\.npy: cannot be opened"):
        find_bands(tmp_path, "power")


@pytest.mark.parametrize("length", [0, 4, 60, 1000])
def test_an_array_cut_short_is_refused(tmp_path: Path, refused: Refused, length: int) -> None:
    np.save(tmp_path / "a.npy", some_power())
    with open(tmp_path / "a.npy", "r+b") as file:
        file.truncate(length)
    with refused(r"a\.npy: cannot be opened \(.*\); the file is damaged"):
        find_bands(tmp_path, "power")


def test_an_archive_named_like_an_array_is_refused(tmp_path: Path, refused: Refused) -> None:
    with open(tmp_path / "a.npy", "wb") as file:
        np.savez(file, some_power())
    with refused(r"a\.npy: cannot be opened"):
        find_bands(tmp_path, "power")


def test_images_within_a_file_are_found(tmp_path: Path, write_raster: Write) -> None:
    power = some_power(2)
    source = write_raster(tmp_path / "source.tif", power, west_north=(10, 50))
    rasterio.shutil.copy(source, tmp_path / "product.nc", driver="netCDF")
    source.unlink()
    bands = find_bands(tmp_path, "power")
    assert len(bands) == 2
    for band, values in zip(bands, power, strict=True):
        np.testing.assert_allclose(whole(band), decibels_of(values), atol=1e-4)


def test_of_an_hdf5_product_the_image_is_read_and_not_its_tables(shared_data: Path) -> None:
    band = only_band(shared_data / "slc_winnipeg")
    assert band.quantity == "power" and (band.height, band.width) == (250, 250)
    assert np.isfinite(whole(band)).mean() > 0.99
