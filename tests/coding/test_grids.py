import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import sar_codec
from sar_codec.arrays import _ArraySource
from sar_codec.coding.about import Header
from sar_codec.coding.decompressing import Image
from sar_codec.coding.gridded import GridSource, on_its_grid
from sar_codec.coding.grids import Grid
from sar_codec.coding.pixels import Stored
from sar_codec.coding.tiling import Window
from sar_codec.data.raster import find_bands
from sar_codec.errors import UserError
from sar_codec.information import in_words, information
from sar_codec.networks import finder

Weights = dict[str, Path]


def taken_from_coarser(height: int, width: int, bands: int = 1) -> NDArray[Any]:
    """Speckle on a grid that is coarser and turned a little, by the nearest pixel."""
    random = np.random.default_rng(0)
    power = random.gamma(4, 0.25, (bands, height + 40, width + 40)).astype(np.float32)
    power[:, 40:60, 100:180] = np.nan
    power[:, 70, 20:140] = -1
    y, x = np.mgrid[:height, :width]
    row = np.rint(0.99317 * y + 0.03123 * x + 5).astype(int)
    column = np.rint(0.80131 * x - 0.03377 * y + 1e-5 * x * y + 25).astype(int)
    return power[:, row, column]


def on_grid(pixels: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> GridSource | None:
    stored = [Stored(pixels.dtype, "power", None)] * len(pixels)
    return on_its_grid(_ArraySource(pixels, None, valid), stored)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_raster_is_the_nearest_pixels_of_its_grid(transposed: bool) -> None:
    pixels = taken_from_coarser(300, 350, bands=2)
    if transposed:
        pixels = np.ascontiguousarray(pixels.transpose(0, 2, 1))
    found = on_grid(pixels)
    assert found is not None
    grid = found.grid
    whole = Window(0, 0, *pixels.shape[1:])
    places = grid.places(whole)
    assert grid.height * grid.width < 0.95 * pixels[0].size
    assert (found.description.height, found.description.width) == (grid.height, grid.width)
    moved, valid = found.read(0, 0, grid.height, grid.width)
    at, decibels = grid.alone_in(whole, len(pixels))
    assert len(at[0]) < 30
    same = (moved[:, *places] == pixels) | np.isnan(pixels)
    same[:, *at] = np.abs(10 * np.log10(pixels[:, *at]) - decibels) <= 0.125 + 1e-4
    assert same.all()
    assert (np.isnan(moved[:, *places]) == np.isnan(pixels)).all()
    assert np.isfinite(moved[valid & ~np.isnan(moved)]).all()
    # Without what is noted of single pixels it is nearly so.
    roughly = replace(grid, moved=()).places(whole)
    assert (moved[:, *roughly] != pixels)[~np.isnan(pixels)].mean() < 1e-3
    part = Window(33, 120, 90, 77)
    for of_part, of_whole in zip(grid.places(part), places, strict=True):
        assert np.array_equal(of_part, of_whole[part.within(whole)])


@pytest.mark.parametrize("odd", [np.nan, 0.0, -9999.0, 1000.0])
def test_single_pixels_come_back_whatever_they_are(odd: float, tiny_weights: Weights) -> None:
    """Where pixels repeat, one of them that is other than the rest has no place on the grid."""
    pixels = taken_from_coarser(300, 350)
    random = np.random.default_rng(0)
    at = random.integers(200, 300, 40), random.integers(0, 350, 40)
    pixels[0][at] = odd
    found = on_grid(pixels)
    if found is not None:
        places = found.grid.places(Window(0, 0, 300, 350))
        moved, _ = found.read(0, 0, found.grid.height, found.grid.width)
        is_other = moved[:, *places].view("u4") != pixels.view("u4")
        alone, _ = found.grid.alone_in(Window(0, 0, 300, 350), 1)
        is_other[:, *alone] = False
        assert not is_other.any()
    options: dict[str, Any] = {"nodata": -9999.0, "model": tiny_weights["hyperprior"]}
    data = sar_codec.compress(pixels, "power", quality=8, **options)
    again = sar_codec.decompress(data, model=options["model"])
    if not odd > 0:
        assert np.array_equal(again[at], pixels[0][at], equal_nan=True)


def noise(height: int, width: int) -> NDArray[Any]:
    return np.random.default_rng(1).gamma(4, 0.25, (1, height, width)).astype(np.float32)


@pytest.mark.parametrize(
    "make",
    [
        lambda: noise(200, 300),
        lambda: np.ones((1, 200, 200), np.float32),
        lambda: noise(100, 100).repeat(2, 1).repeat(2, 2)[:, :, :150],
        lambda: taken_from_coarser(60, 300),
        lambda: np.where(np.random.default_rng(0).random((1, 200, 200)) < 0.3, 1, noise(200, 200)),
    ],
    ids=["noise", "even", "doubled", "small", "spotted"],
)
def test_what_has_no_such_grid_stays_as_it_is(make: Callable[[], NDArray[Any]]) -> None:
    pixels = make()
    found = on_grid(pixels)
    if found is not None:  # then it must be one
        places = found.grid.places(Window(0, 0, *pixels.shape[1:]))
        moved, _ = found.read(0, 0, found.grid.height, found.grid.width)
        assert (moved[:, *places] == pixels).mean() > 0.999


def test_rasters_with_masks_or_too_large_ones_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixels = taken_from_coarser(200, 200)
    assert on_grid(pixels) is not None
    assert on_grid(pixels, np.ones((200, 200), bool)) is None
    for limit, value in (("MOST_PIXELS", 200 * 199), ("LONGEST", 199)):
        with monkeypatch.context() as patched:
            patched.setattr(f"sar_codec.coding.gridded.{limit}", value)
            assert on_grid(pixels) is None


@pytest.mark.parametrize("bands", [1, 3])
def test_files_of_such_rasters_are_smaller_and_read_by_windows(
    bands: int, tiny_weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = taken_from_coarser(300, 350, bands)
    options: dict[str, Any] = {"quality": 7.5, "model": tiny_weights["hyperprior"]}
    data = sar_codec.compress(pixels, "power", **options)
    whole = sar_codec.decompress(data, model=options["model"])
    assert whole.shape == (pixels.shape if bands > 1 else pixels.shape[1:])
    is_kept = ~(pixels > 0)
    assert np.array_equal(whole.reshape(pixels.shape)[is_kept], pixels[is_kept], equal_nan=True)
    with sar_codec.open(data, model=options["model"]) as image:
        part = image.read((31, 90, 120, 201))
    np.testing.assert_allclose(part, whole[..., 31:151, 90:291], rtol=1e-4)
    monkeypatch.setattr("sar_codec.conversion.on_its_grid", lambda *_: None)
    assert len(data) < 0.98 * len(sar_codec.compress(pixels, "power", **options))


def test_a_rate_that_is_wanted_is_that_of_the_raster(tiny_weights: Weights) -> None:
    pixels = taken_from_coarser(300, 350)[0]
    data = sar_codec.compress(pixels, "power", target_bpp=0.3, model=tiny_weights["hyperprior"])
    # Of what is kept as it is, 3 %, no rate tells.
    assert 8 * len(data) / pixels.size == pytest.approx(0.3, rel=0.05)


HUGE = 2**31 - 1
STRANGE = [
    Grid(70, 80, (HUGE, *[2**40] * 5), (-HUGE, *[-(2**40)] * 5), 90, (5, 4 * 90 * 75 + 3)),
    Grid(70, 80, (0,) * 6, (0, HUGE, -HUGE, 0, 0, 7), 1),
]


@pytest.mark.parametrize("grid", STRANGE)
def test_any_numbers_are_a_grid(grid: Grid) -> None:
    rows, columns = grid.places(Window(3, 5, 60, 70))
    assert rows.shape == columns.shape == (60, 70)
    assert rows.min() >= 0 and rows.max() < 70
    assert columns.min() >= 0 and columns.max() < 80


def test_information_tells_of_the_grid(tiny_weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "a.sarc"
    pixels = taken_from_coarser(200, 200)
    path.write_bytes(
        sar_codec.compress(pixels, "power", quality=4, model=tiny_weights["hyperprior"])
    )
    told = in_words(information(path))
    assert re.search(r"200 x 200 pixels.*quality 4 of 8 on the grid of \d+ x \d+ that", told, re.S)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"mode": "bounded", "quality": None, "max_error_db": 1.0}, "a grid, which"),
        ({"grid": Grid(2**15, 2**15, (0,) * 6, (0,) * 6, 200)}, "a grid of more pixels"),
        ({"grid": Grid(20, 20, (0,) * 6, (0,) * 6, 201)}, "a grid of another raster"),
        ({"grid": Grid(20, 20, (0,) * 6, (0,) * 6, 200, (), ((2**70, 6),))}, "less than"),
        ({"grid": Grid(20, 20, (2**40, *[0] * 5), (0,) * 6, 200)}, "less than"),
        ({"grid": Grid(20, 20, (0,) * 6, (0,) * 6, 200, (2**70,))}, "less than"),
        ({"grid": Grid(20, 20, (0,) * 6, (0,) * 6, 200, (), ((5, 6, 7),))}, "of another raster"),
        ({"grid": Grid(20, 20, (0,) * 6, (0,) * 6, 200, (), ((-5, 6),))}, "of another raster"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(
    how: dict[str, Any], message: str, tiny_weights: Weights, tmp_path: Path
) -> None:
    path = tmp_path / "a.sarc"
    path.write_bytes(
        sar_codec.compress(
            taken_from_coarser(200, 200), "power", quality=6, model=tiny_weights["hyperprior"]
        )
    )
    with Image(path, finder(tiny_weights["hyperprior"])) as image:
        header = image.header
    assert header.about.grid is not None
    changed = Header(replace(header.about, **how), header.raster)
    with pytest.raises(UserError, match=message):
        Header.from_json(changed.to_json(), header.tiling.count * header.parts)


def test_real_scenes_that_were_taken_to_degrees_have_one(shared_data: Path) -> None:
    for folder, has_one in (("s1sigma0_spain", True), ("s1sigma0_somalia", False)):
        pixels = find_bands(shared_data / folder, "db")[0].read(0, 0, 512, 512)[None]
        stored = [Stored(pixels.dtype, "db", None)]
        found = on_its_grid(_ArraySource(pixels, None, None), stored)
        assert (found is not None) == has_one
        if found is not None:
            assert found.grid.height * found.grid.width < 0.9 * pixels.size
