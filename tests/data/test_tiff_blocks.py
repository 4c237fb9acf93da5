"""Of a TIFF that was cut short, blocks that are not in the file are noticed."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioIOError

from sar_codec.data.raster import quiet
from sar_codec.data.tiff_blocks import check_blocks

WriteRaster = Callable[..., Path]
PIXELS = np.random.default_rng(0).gamma(1, size=(2, 300, 517)).astype("float32")
TILES = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "DEFLATE"}


def test_a_whole_file_passes(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", PIXELS, mask=PIXELS[0] > 1, **TILES)
    with quiet(), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4], Resampling.average)
    check_blocks(path)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(OSError, match=r"cut short|directory"):
        check_blocks(path)


@pytest.mark.parametrize("part", ["image", "overview"])
def test_the_last_byte_is_missed(write_raster: WriteRaster, tmp_path: Path, part: str) -> None:
    path = write_raster(tmp_path / "a.tif", PIXELS, **TILES)
    if part == "overview":
        with quiet(), rasterio.open(path, "r+") as dataset:
            dataset.build_overviews([2], Resampling.average)
    length = path.stat().st_size
    os.truncate(path, length - 1)
    with pytest.raises(OSError, match=f"cut short at {length - 1:,} bytes"):
        check_blocks(path)


def test_blocks_that_were_never_written_are_missed(tmp_path: Path) -> None:
    size = {"height": 300, "width": 517, "count": 1, "dtype": "uint8"}
    with quiet():
        rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", sparse_ok=True, **size).close()
    with pytest.raises(OSError, match="cut short"):
        check_blocks(tmp_path / "a.tif")


def test_what_is_no_tiff_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("no TIFF")
    with pytest.raises(RasterioIOError):
        check_blocks(tmp_path / "a.tif")
