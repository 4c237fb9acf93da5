"""GeoTIFFs are written window by window, whole or not at all, with mask, alpha and overviews."""

import logging
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling

from sar_codec.data import geotiff
from sar_codec.data.description import BandDescription, Description
from sar_codec.data.georaster import describe, open_input
from sar_codec.data.geotiff import Output, compression, open_output
from sar_codec.data.raster import quiet

Refused = Callable[[str], AbstractContextManager[None]]
WriteRaster = Callable[..., Path]

BAND = BandDescription(None, None, 1.0, 0.0, "gray", {})
PLAIN = Description(
    height=300,
    width=517,
    dtype="float32",
    bands=(BAND,),
    crs=None,
    transform=None,
    ground_points=(),
    ground_points_crs=None,
    tags={},
    nodata=None,
    has_mask=False,
    overviews=(),
    block=(1, 517),
    is_tiled=False,
)
SPECKLE = np.random.default_rng(0).gamma(1, size=(4, 300, 517)).astype("float32")


def write(output: Output, pixels: Any, side: int = 256) -> None:
    for row in range(0, pixels.shape[1], side):
        for column in range(0, pixels.shape[2], side):
            output.write(pixels[:, row : row + side, column : column + side], row, column)


def in_folder(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32"])
def test_whole_numbers_are_written_without_loss(tmp_path: Path, dtype: str) -> None:
    pixels = (SPECKLE[:2] * 30).astype(dtype)
    with open_output(tmp_path / "a.tif", replace(PLAIN, dtype=dtype, bands=(BAND,) * 2)) as output:
        write(output, pixels, 100)
    with quiet(), rasterio.open(tmp_path / "a.tif") as found:
        assert (found.read() == pixels).all() and found.dtypes[0] == dtype


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_are_written_to_the_last_bit(tmp_path: Path, dtype: str) -> None:
    pixels = SPECKLE.astype(dtype)
    pixels[0, :3, 0] = np.nan, np.inf, -0.0
    description = replace(PLAIN, dtype=dtype, bands=(BAND,) * 4)
    with open_output(tmp_path / "a.tif", description) as output:
        write(output, pixels)
    with quiet(), rasterio.open(tmp_path / "a.tif") as found:
        assert found.read().tobytes() == pixels.tobytes()


@pytest.mark.parametrize(
    ("block", "is_tiled", "side"),
    [((1, 517), False, 256), ((256, 256), True, 256), ((512, 512), True, 512), ((9, 9), True, 256)],
)
def test_it_is_tiled_and_compressed(
    tmp_path: Path, block: tuple[int, int], is_tiled: bool, side: int
) -> None:
    description = replace(PLAIN, block=block, is_tiled=is_tiled)
    with open_output(tmp_path / "a.tif", description) as output:
        write(output, SPECKLE[:1])
    with quiet(), rasterio.open(tmp_path / "a.tif") as found:
        assert found.block_shapes == [(side, side)]
        assert found.compression.value == compression()
        assert found.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"


def test_a_compression_that_gdal_has_not_is_not_taken() -> None:
    assert compression(("NO_SUCH", "DEFLATE")) == "DEFLATE"
    assert compression(("DEFLATE", "NO_SUCH")) == "DEFLATE"


def test_extra_tags_join_those_of_the_source(tmp_path: Path) -> None:
    description = replace(PLAIN, tags={"": {"a": "b", "c": "d"}})
    with open_output(tmp_path / "a.tif", description, extra_tags={"codec": "x y"}) as output:
        write(output, SPECKLE[:1])
    assert describe(tmp_path / "a.tif").tags[""] == {"a": "b", "c": "d", "codec": "x y"}


def test_another_type_may_be_written(
    tmp_path: Path, refused: Refused, caplog: pytest.LogCaptureFixture
) -> None:
    description = replace(PLAIN, dtype="uint16", nodata=0.0)
    with open_output(tmp_path / "a.tif", description, dtype="float32") as output:
        write(output, SPECKLE[:1])
    assert (describe(tmp_path / "a.tif").dtype, describe(tmp_path / "a.tif").nodata) == (
        *("float32", 0.0),
    )
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
    for dtype, nodata in (("uint8", -9999.0), ("int16", np.nan), ("float32", 1e300)):
        with (
            refused(f"b.tif: {dtype} does not hold the nodata value"),
            open_output(tmp_path / "b.tif", replace(PLAIN, nodata=nodata), dtype=dtype),
        ):
            pytest.fail("it was opened")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (300, 517), (513, 9)])
def test_a_mask_is_restored_bit_for_bit(tmp_path: Path, height: int, width: int) -> None:
    mask = np.random.default_rng(1).random((height, width)) > 0.5
    description = replace(PLAIN, height=height, width=width, has_mask=True, nodata=7.0)
    with open_output(tmp_path / "a.tif", description) as output:
        write(output, np.zeros((1, height, width), "float32"))
        for row in range(0, height, 128):
            output.write_mask(mask[row : row + 128], row, 0)
    assert in_folder(tmp_path) == ["a.tif"]
    with quiet(), rasterio.open(tmp_path / "a.tif") as found:
        assert (found.dataset_mask() == np.where(mask, 255, 0)).all()
        assert (found.read_masks(1) == np.where(mask, 255, 0)).all()
        assert found.nodata == 7


def test_a_file_that_has_lost_its_mask_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.setattr(geotiff, "differences", lambda *_: iter(["has_mask"]))
    with (
        refused(r"a.tif: cannot be written \(the mask is not in the file\)"),
        open_output(tmp_path / "a.tif", PLAIN) as output,
    ):
        write(output, SPECKLE[:1])
    assert in_folder(tmp_path) == []


def test_alpha_is_restored_in_all_its_grades(tmp_path: Path) -> None:
    bands = (BAND, replace(BAND, colour="alpha"), replace(BAND, colour="undefined"))
    description = replace(PLAIN, dtype="uint16", bands=bands)
    pixels = (SPECKLE * 1000).astype("uint16")
    with open_output(tmp_path / "a.tif", description) as output:
        write(output, pixels[:2])
        for row in (0, 150):
            output.write_alpha(pixels[2, row : row + 150], row, 0)
    with quiet(), rasterio.open(tmp_path / "a.tif") as found:
        assert (found.read([1, 3, 2]) == pixels[:3]).all()
        assert found.colorinterp[1].name == "alpha"


@pytest.mark.parametrize("nodata", [0.0, np.nan, -9999.0])
def test_overviews_are_means_of_what_is_valid(tmp_path: Path, nodata: float) -> None:
    pixels = SPECKLE[:1, :, :516] + 1
    pixels[0, :100, :200] = pixels[0, 200, 401] = nodata
    description = replace(PLAIN, width=516, nodata=nodata, overviews=(2, 4))
    with open_output(tmp_path / "a.tif", description) as output:
        write(output, pixels)
    assert in_folder(tmp_path) == ["a.tif"]
    with quiet(), rasterio.open(tmp_path / "a.tif", overview_level=0) as found:
        half = found.read(1, masked=True)
    known = pixels[0] != nodata if nodata == nodata else ~np.isnan(pixels[0])
    sums = np.where(known, pixels[0], 0).astype("float64").reshape(150, 2, 258, 2).sum((1, 3))
    counts = known.reshape(150, 2, 258, 2).sum((1, 3))
    assert (half.mask == (counts == 0)).all() and counts[100, 200] == 3
    np.testing.assert_allclose(half.data[counts > 0], (sums / counts.clip(1))[counts > 0], 1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 1000), (5, 7)])
def test_overviews_of_the_smallest_images_can_be_asked_for(
    tmp_path: Path, height: int, width: int
) -> None:
    description = replace(PLAIN, height=height, width=width, overviews=(2, 4, 8, 16, 1024, 4096))
    with open_output(tmp_path / "a.tif", description) as output:
        write(output, np.ones((1, height, width), "float32"))
    assert set(describe(tmp_path / "a.tif").overviews) <= {2, 4, 8, 16, 7, 1000}


def test_an_existing_file_is_only_replaced_when_asked(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "a.tif"
    path.write_text("mine")
    with (
        refused("a.tif: exists already; choose another name"),
        open_output(path, PLAIN),
    ):
        pytest.fail("it was opened")
    assert path.read_text() == "mine"
    with open_output(path, PLAIN, overwrite=True) as output:
        write(output, SPECKLE[:1])
        assert path.read_text() == "mine"
    assert describe(path).height == 300


@pytest.mark.parametrize("part", ["aux.xml", "msk", "ovr"])
def test_nothing_of_an_older_file_becomes_part_of_a_new_one(
    tmp_path: Path, part: str, refused: Refused
) -> None:
    path, old = tmp_path / "a.tif", tmp_path / f"a.tif.{part}"
    old.write_text("<PAMDataset><GeoTransform>1, 2, 3, 4, 5, 6</GeoTransform></PAMDataset>")
    with refused(f"a.tif.{part}: exists already"), open_output(path, PLAIN):
        pytest.fail("it was opened")
    with open_output(path, PLAIN, overwrite=True) as output:
        write(output, SPECKLE[:1])
    assert in_folder(tmp_path) == ["a.tif"]
    assert describe(path).transform is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ValueError])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_exception_leaves_nothing(
    tmp_path: Path, error: type[BaseException], overwrite: bool
) -> None:
    path = tmp_path / "a.tif"
    if overwrite:
        path.write_text("mine")
    with (
        pytest.raises(error, match=r"^mine$"),
        open_output(path, PLAIN, overwrite=overwrite) as output,
    ):
        output.write(SPECKLE[:1, :256, :256], 0, 0)
        raise error("mine")
    assert in_folder(tmp_path) == (["a.tif"] if overwrite else [])
    assert not overwrite or path.read_text() == "mine"


def test_an_exception_after_the_pixels_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(geotiff, "check_blocks", interrupted)
    description = replace(PLAIN, ground_points=())
    with pytest.raises(KeyboardInterrupt), open_output(tmp_path / "a.tif", description) as output:
        write(output, SPECKLE[:1])
    assert in_folder(tmp_path) == []


@pytest.mark.parametrize("what", ["pixels", "mask", "alpha"])
def test_a_file_of_which_some_is_not_written_is_a_mistake(tmp_path: Path, what: str) -> None:
    bands = (BAND, replace(BAND, colour="alpha"))
    described = replace(PLAIN, bands=bands, has_mask=True)
    with (
        pytest.raises(ValueError, match=f"517 of 155100 pixels of {what} were written"),
        open_output(tmp_path / "a.tif", described) as output,
    ):
        height = {each: 1 if each == what else 300 for each in ("pixels", "mask", "alpha")}
        output.write(SPECKLE[:1, : height["pixels"]], 0, 0)
        output.write_mask(np.ones((height["mask"], 517), bool), 0, 0)
        output.write_alpha(SPECKLE[0, : height["alpha"]], 0, 0)
    assert in_folder(tmp_path) == []


@pytest.mark.parametrize(
    ("call", "pattern"),
    [
        (lambda output: output.write(SPECKLE[:2], 0, 0), "2 bands of float32 given"),
        (lambda output: output.write(SPECKLE[:1].astype("float64"), 0, 0), "1 bands of float64"),
        (lambda output: output.write(SPECKLE[:1], 1, 0), "not within 300 x 517"),
        (lambda output: output.write(SPECKLE[:1], 0, -1), "not within 300 x 517"),
        (lambda output: output.write_mask(np.ones((1, 1), bool), 0, 0), "the file has no mask"),
        (lambda output: output.write_alpha(SPECKLE[0], 0, 0), "the file has no alpha"),
    ],
)
def test_what_does_not_fit_is_a_mistake(
    tmp_path: Path, call: Callable[[Output], None], pattern: str
) -> None:
    with (
        pytest.raises(ValueError, match=pattern),
        open_output(tmp_path / "a.tif", PLAIN) as output,
    ):
        call(output)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "file").write_text("")
    with refused("a.tif: cannot be written"), open_output(tmp_path / "file" / "a.tif", PLAIN):
        pytest.fail("it was opened")


def test_a_file_too_large_for_tiff_is_refused(tmp_path: Path, refused: Refused) -> None:
    huge = replace(PLAIN, height=2**31 - 1, width=2**31 - 1)
    with refused("a.tif: cannot be written .*tile"), open_output(tmp_path / "a.tif", huge):
        pytest.fail("it was opened")
    assert in_folder(tmp_path) == []


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, {folder!r})
from test_geotiff import PLAIN, SPECKLE, write
from sar_codec.data.geotiff import open_output
from sar_codec.errors import UserError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
try:
    with open_output({path!r}, PLAIN) as output:
        write(output, SPECKLE[:1])
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("missing", [1, 300_000])
def test_a_full_disk_is_told_even_where_gdal_is_silent(tmp_path: Path, missing: int) -> None:
    with open_output(tmp_path / "a.tif", PLAIN) as output:
        write(output, SPECKLE[:1])
    size = (tmp_path / "a.tif").stat().st_size - missing
    program = FULL_DISK.format(
        folder=os.path.dirname(__file__), size=size, path=str(tmp_path / "b.tif")
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert "b.tif: cannot be written" in done.stdout, done.stderr
    assert in_folder(tmp_path) == ["a.tif"]


@pytest.mark.slow
def test_memory_is_flat(tmp_path: Path) -> None:
    """A scene of 1 GB of pixels, with mask and overviews, in less than half of it."""
    side, block = 2**14, 2048
    described = replace(
        PLAIN, height=side, width=side, has_mask=True, overviews=(2, 4, 8, 16), nodata=0.0
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open_output(tmp_path / "a.tif", described) as output:
        for row in range(0, side, block):
            for column in range(0, side, block):
                output.write(np.full((1, block, block), row + column, "float32"), row, column)
                output.write_mask(np.ones((block, block), bool), row, column)
    with open_input(tmp_path / "a.tif") as source:
        for row in range(0, side, block):
            source.read(row, 0, 512, side)
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    assert used < 0.4, f"{used:.2f} GB more"


def test_overviews_average_by_gdals_own_means(write_raster: WriteRaster, tmp_path: Path) -> None:
    source = write_raster(tmp_path / "source.tif", SPECKLE[0], nodata=0)
    with quiet(), rasterio.open(source, "r+") as target:
        target.build_overviews([2, 8], Resampling.average)
    description = describe(source)
    assert description.overviews == (2, 8)
    with open_output(tmp_path / "a.tif", description) as output:
        write(output, SPECKLE[:1])
    for level in (0, 1):
        with (
            quiet(),
            rasterio.open(source, overview_level=level) as expected,
            rasterio.open(tmp_path / "a.tif", overview_level=level) as found,
        ):
            assert (found.read() == expected.read()).all()
