"""Rasters of several formats are read as they are stored, and told apart from what is none."""

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioIOError

from sar_codec.data import georaster
from sar_codec.data.georaster import describe, open_input, stated_quantity
from sar_codec.data.raster import quiet

WriteRaster = Callable[..., Path]
Refused = Callable[[str], AbstractContextManager[None]]


def numbers(*shape: int, dtype: str = "float32") -> Any:
    return np.random.default_rng(0).integers(1, 200, shape).astype(dtype)


def vrt(path: Path, bands: str, size: int = 4) -> Path:
    path.write_text(f'<VRTDataset rasterXSize="{size}" rasterYSize="{size}">{bands}</VRTDataset>')
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_windows_are_what_the_file_holds(
    write_raster: WriteRaster, tmp_path: Path, dtype: str, count: int
) -> None:
    array = numbers(count, 7, 9, dtype=dtype)
    with open_input(write_raster(tmp_path / "a.tif", array, photometric="MINISBLACK")) as source:
        pixels, valid = source.read(2, 3, 4, 5)
        assert pixels.dtype == dtype
        assert (pixels == array[:, 2:6, 3:8]).all()
        assert valid.shape == pixels.shape and valid.all()
        assert source.description.dtype == dtype


@pytest.mark.parametrize(
    ("dtype", "nodata", "stored"),
    [
        ("float32", 0, 0),
        ("float32", -9999, -9999),
        ("float32", np.nan, np.nan),
        ("float32", np.inf, np.inf),
        ("float32", 1e-32, np.float32(1e-32)),
        ("float32", 0.1, np.float32(0.1)),
        ("float32", -3.40282346638529e38, np.finfo("float32").min),
        ("float64", 1 / 3, 1 / 3),
        ("uint16", 0, 0),
        ("int16", -32768, -32768),
        ("uint8", 255, 255),
        ("float32", None, np.nan),  # NaN is no value, whether the file says so or not
    ],
)
def test_nodata_and_nan_are_not_valid(
    write_raster: WriteRaster, tmp_path: Path, dtype: str, nodata: float | None, stored: Any
) -> None:
    array = numbers(2, 5, 5, dtype=dtype)
    array[0, 1, 2] = array[1, 3, 3] = stored
    with open_input(write_raster(tmp_path / "a.tif", array, nodata=nodata)) as source:
        _, valid = source.read(0, 0, 5, 5)
    expected = np.ones((2, 5, 5), bool)
    expected[0, 1, 2] = expected[1, 3, 3] = False
    assert (valid == expected).all()


@pytest.mark.parametrize("nodata", [0.5, -9999])
def test_what_no_pixel_can_be_masks_none(tmp_path: Path, nodata: float) -> None:
    band = f'<VRTRasterBand dataType="Byte"><NoDataValue>{nodata}</NoDataValue></VRTRasterBand>'
    with open_input(vrt(tmp_path / "a.vrt", band)) as source:
        _, valid = source.read(0, 0, 4, 4)
    assert valid.all()


@pytest.mark.parametrize("inner", [True, False])
def test_a_mask_of_all_bands_says_what_is_valid_together_with_nodata(
    write_raster: WriteRaster, tmp_path: Path, inner: bool
) -> None:
    array = numbers(2, 7, 9)
    array[1, 0, 0] = 0
    mask = np.random.default_rng(1).random((7, 9)) > 0.5
    mask[0, 0] = True
    path = write_raster(tmp_path / "a.tif", array, mask=mask, inner_mask=inner, nodata=0)
    with open_input(path) as source:
        assert source.description.has_mask
        _, valid = source.read(0, 0, 7, 9)
        assert (source.read_mask(1, 2, 3, 4) == mask[1:4, 2:6]).all()
    assert (valid[0] == mask).all()
    assert not valid[1, 0, 0] and (valid[1].ravel()[1:] == mask.ravel()[1:]).all()


@pytest.mark.parametrize(
    "dtype", ["uint8", "float32"]
)  # GDAL itself heeds alpha of some types only
def test_alpha_is_kept_apart_and_says_what_is_valid(
    write_raster: WriteRaster, tmp_path: Path, dtype: str
) -> None:
    array = numbers(3, 4, 5, dtype=dtype)
    array[1, 2, 3] = 0
    path = tmp_path / "a.tif"
    size = {"height": 4, "width": 5, "count": 3, "dtype": dtype, "photometric": "MINISBLACK"}
    with quiet(), rasterio.open(path, "w", driver="GTiff", **size) as target:
        target.colorinterp = [ColorInterp.gray, ColorInterp.alpha, ColorInterp.undefined]
        target.write(array)
    with open_input(path) as source:
        pixels, valid = source.read(0, 0, 4, 5)
        assert (source.read_alpha(0, 0, 4, 5) == array[1]).all()
        assert (source.description.measured, source.description.alpha) == ((1, 3), 2)
    assert (pixels == array[[0, 2]]).all()
    assert (valid == (array[1] != 0)).all()


def test_the_tag_of_nodata_values_is_a_mask_but_none_to_be_written(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    array = numbers(2, 4, 4, dtype="uint8")
    array[:, 1, 1] = 0, 7
    array[0, 2, 2] = 0
    path = write_raster(tmp_path / "a.tif", array, tags={"NODATA_VALUES": "0 7"})
    with open_input(path) as source:
        _, valid = source.read(0, 0, 4, 4)
        assert not source.description.has_mask
    assert not valid[:, 1, 1].any() and valid.sum() == 2 * 15


@pytest.mark.parametrize("window", [(-1, 0, 1, 1), (0, 0, 8, 1), (0, 9, 1, 1), (0, 0, 0, 1)])
def test_windows_beyond_the_image_are_a_mistake(
    write_raster: WriteRaster, tmp_path: Path, window: tuple[int, int, int, int]
) -> None:
    with (
        open_input(write_raster(tmp_path / "a.tif", numbers(7, 9))) as source,
        pytest.raises(ValueError, match="not within 7 x 9"),
    ):
        source.read(*window)


def test_describing_reads_no_pixels(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", numbers(600, 600), tiled=True, compress="DEFLATE")
    whole = describe(path)
    with quiet(), rasterio.open(path) as source:
        first = int(source.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
        last = int(source.get_tag_item("BLOCK_OFFSET_2_2", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[first:last] = bytes(last - first)
    path.write_bytes(content)
    assert describe(path) == whole


@pytest.mark.parametrize("driver", ["GTiff", "ENVI", "PNG"])
def test_files_cut_short_are_refused(
    write_raster: WriteRaster, tmp_path: Path, driver: str, refused: Refused
) -> None:
    path = tmp_path / {"GTiff": "a.tif", "ENVI": "a.img", "PNG": "a.png"}[driver]
    write_raster(path, numbers(300, 300, dtype="uint8"), driver=driver)
    os.truncate(path, path.stat().st_size // 2)
    with (
        refused(f"{path.name}: cannot be (opened|read).*damaged or was cut short"),
        open_input(path) as source,
    ):
        source.read(0, 0, 300, 300)


def test_a_file_that_is_not_there_is_named(tmp_path: Path, refused: Refused) -> None:
    with refused("nothing.tif: no such file"):
        describe(tmp_path / "nothing.tif")


def test_a_file_that_is_no_raster_is_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "a.tif").write_text("no raster")
    with refused("a.tif: cannot be opened"):
        describe(tmp_path / "a.tif")


def test_a_file_that_opens_but_cannot_be_described_is_refused(
    write_raster: WriteRaster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Refused,
) -> None:
    def damaged(*_: object) -> None:
        raise RasterioIOError("no such overview")

    monkeypatch.setattr(georaster, "overview_factors", damaged)
    with refused(r"a.tif: cannot be opened \(no such overview\)"):
        describe(write_raster(tmp_path / "a.tif", numbers(3, 3)))


BYTE = '<VRTRasterBand dataType="Byte" band="{}">{}</VRTRasterBand>'


@pytest.mark.parametrize(
    ("bands", "pattern"),
    [
        ("".join(BYTE.format(n, "") for n in range(1, 6)), "5 bands and 0 of alpha"),
        (BYTE.format(1, "<ColorInterp>Alpha</ColorInterp>"), "no bands of measurements"),
        (
            "".join(
                BYTE.format(n, f"<ColorInterp>{colour}</ColorInterp>")
                for n, colour in enumerate(["Gray", "Alpha", "Alpha"], 1)
            ),
            "1 bands and 2 of alpha",
        ),
        (BYTE.format(1, "") + '<VRTRasterBand dataType="Float32" band="2"/>', "different types"),
        ('<VRTRasterBand dataType="CFloat32"/>', "complex values"),
        ('<VRTRasterBand dataType="Int64"/>', "dtype"),
        (BYTE.format(1, "<ColorInterp>Palette</ColorInterp>"), "table of colours"),
        (
            BYTE.format(1, "<NoDataValue>1</NoDataValue>") + BYTE.format(2, ""),
            r"nodata values \(1.0, None\)",
        ),
        (
            BYTE.format(1, '<MaskBand><VRTRasterBand dataType="Byte"/></MaskBand>'),
            "a mask of each band",
        ),
    ],
)
def test_what_a_geotiff_of_measurements_cannot_hold_is_refused(
    tmp_path: Path, bands: str, pattern: str, refused: Refused
) -> None:
    with refused(pattern):
        describe(vrt(tmp_path / "a.vrt", bands))


@pytest.mark.parametrize("units", [["dB", "dB"], ["", ""], ["amplitude", "dB"]])
def test_the_quantity_is_what_all_bands_say(
    write_raster: WriteRaster, tmp_path: Path, units: list[str], refused: Refused
) -> None:
    path = write_raster(tmp_path / "a.tif", numbers(2, 3, 3), units=units)
    if len(set(units)) > 1:
        with refused("hold different things"):
            stated_quantity(path)
    else:
        assert stated_quantity(path) == ("db" if units[0] else None)


def test_a_sidecar_of_gdal_is_part_of_the_raster(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster(
        tmp_path / "a.png", numbers(3, 3, dtype="uint8"), driver="PNG", west_north=(1 / 3, 50)
    )
    assert path.with_name("a.png.aux.xml").exists()
    described = describe(path)
    assert described.crs is not None and described.transform is not None
    assert described.transform[2] == 1 / 3


def test_the_cache_of_blocks_is_bounded_while_reading(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    path = write_raster(tmp_path / "a.tif", numbers(3, 3))
    with open_input(path) as source, source._reading(0, 0):
        assert rasterio.env.getenv()["GDAL_CACHEMAX"] == georaster.CACHE_BYTES


def test_a_real_measurement_file_is_described(shared_data: Path, tmp_path: Path) -> None:
    found = sorted((shared_data / "safe_grd_blank").rglob("*.tiff"))
    described = describe(found[0])
    assert (described.dtype, described.height) == ("uint16", 16685)
    assert stated_quantity(found[0]) == "amplitude"
    alone = shutil.copy(sorted((shared_data / "s1grd_dn_gcps").rglob("*.tif*"))[0], tmp_path)
    assert len(describe(alone).ground_points) == 231
