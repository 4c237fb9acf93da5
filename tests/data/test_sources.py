import io
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sar_codec.data.datasets import FixedPatches, PatchLoader, RandomPatches
from sar_codec.data.patches import Area
from sar_codec.data.raster import Band
from sar_codec.data.scaling import Quantity
from sar_codec.data.sources import Data, RasterSource, raster, synthetic
from sar_codec.data.synthetic import SyntheticScene

Write = Callable[..., Path]
Refused = Callable[[str], AbstractContextManager[None]]

DN_OFFSET_DB = -55.6
SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
# The folder is not part of the repository; without it one name remains, whose tests skip.
SHARED_FOLDERS = sorted(each.name for each in SHARED_DATA.glob("*") if each.is_dir()) or [
    "s1sigma0_absent"
]


def some_dn(height: int = 96, width: int = 80, seed: int = 0) -> NDArray[np.uint16]:
    """Amplitude as Sentinel-1 products hold it, no zeros."""
    amplitude = 100 * np.sqrt(np.random.default_rng(seed).gamma(4, 0.25, (height, width)))
    return amplitude.clip(1).astype(np.uint16)


def some_db(height: int = 96, width: int = 80, seed: int = 0) -> NDArray[np.float32]:
    dn = some_dn(height, width, seed).astype(np.float32)
    return 20 * np.log10(dn) + np.float32(DN_OFFSET_DB)


@pytest.fixture
def three_grounds(tmp_path: Path, write_raster: Write) -> Path:
    """A folder of decibels: three grounds, the first with two images."""
    folder = tmp_path / "three"
    for index, west in enumerate((10.0, 20.0, 30.0)):
        image = some_db(seed=index)
        write_raster(folder / f"{index}.tif", image, units=["dB"], west_north=(west, 50))
    write_raster(folder / "0b.tif", some_db(seed=9), units=["dB"], west_north=(10.001, 50))
    return folder


@pytest.fixture
def one_image(tmp_path: Path, write_raster: Write) -> Path:
    return write_raster(tmp_path / "one" / "a.tif", some_db(), units=["dB"]).parent


def load(root: Path | str | None = None, **settings: Any) -> Data:
    settings = {"patch_size": 32, "batch_size": 4, "num_workers": 0} | settings
    return raster(seed=settings.pop("seed", 0), root=root and str(root), **settings)


def areas_of(loader: PatchLoader) -> list[Area]:
    dataset = loader.dataset
    if isinstance(dataset, FixedPatches):
        areas = [each.area for each in dataset.windows]
    else:
        assert isinstance(dataset, RandomPatches)
        areas = [each.area for each in dataset.areas]
    return list(dict.fromkeys(areas))


def files_of(loader: PatchLoader) -> set[str]:
    return {Path(each.scene.name.rpartition(":")[0]).name for each in areas_of(loader)}


def all_of(loader: PatchLoader) -> torch.Tensor:
    return torch.cat(list(loader))


# Rasters


def test_rasters_give_image_tensors_for_training_and_validation(three_grounds: Path) -> None:
    data = load(three_grounds)
    for loader in (data.train, data.val):
        patches = all_of(loader)
        assert patches.dtype == torch.float32 and patches.shape[1:] == (1, 32, 32)
        assert patches.min() >= 0 and patches.max() <= 1 and patches.std() > 0.05
    assert not torch.equal(all_of(data.train), (data.train.set_epoch(1), all_of(data.train))[1])


@pytest.mark.parametrize("seed", range(5))
def test_training_and_validation_are_of_different_grounds(three_grounds: Path, seed: int) -> None:
    data = load(three_grounds, seed=seed)
    training, validation = files_of(data.train), files_of(data.val)
    assert training and validation
    assert sorted(training | validation) == ["0.tif", "0b.tif", "1.tif", "2.tif"]
    assert not training & validation
    assert ({"0.tif", "0b.tif"} & training) in (set(), {"0.tif", "0b.tif"})


def test_the_only_image_is_cut_in_two(one_image: Path) -> None:
    data = load(one_image, val_fraction=0.4)
    (kept,), (held_out,) = areas_of(data.train), areas_of(data.val)
    assert (kept.row, kept.height) == (0, 58) and (held_out.row, held_out.height) == (58, 38)
    assert kept.width == held_out.width == 80


def test_the_summary_is_one_line_that_counts(three_grounds: Path) -> None:
    data = load(three_grounds, val_root=str(three_grounds / "2.tif"))
    assert "3 images for training (18 patches of 32x32 an epoch)" in data.summary
    assert "1 for validation (6 patches)" in data.summary and "\n" not in data.summary


def test_images_smaller_than_a_patch_and_useless_ones_are_left_out(
    three_grounds: Path, write_raster: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write_raster(three_grounds / "small.tif", some_db(31, 200), units=["dB"])
    nothing = np.full((64, 64), np.nan, np.float32)
    write_raster(three_grounds / "nothing.tif", nothing, units=["dB"], west_north=(40, 0))
    blank = np.zeros((64, 64), np.float32)
    write_raster(three_grounds / "blank.tif", blank, units=["dB"], west_north=(50, 0))
    rows = some_db(64, 64)
    rows[::20] = np.nan
    write_raster(three_grounds / "rows.tif", rows, units=["dB"], west_north=(60, 0))
    with caplog.at_level(logging.WARNING):
        data = load(three_grounds)
    expected = {"0.tif", "0b.tif", "1.tif", "2.tif"}
    assert files_of(data.train) | files_of(data.val) == expected
    assert "1 of 8 images are smaller than data.patch_size=32 and are left out" in caplog.text
    assert "nothing.tif:1 holds no valid pixel: all are nodata, zero or not finite" in caplog.text
    assert "blank.tif:1 is blank: all valid pixels have the same value; left out" in caplog.text
    assert "rows.tif:1 has no window of 32 x 32 pixels that are all valid" in caplog.text


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_settings_reach_the_loaders(one_image: Path, num_workers: int) -> None:
    settings = {"augment": False, "seed": 3, "batch_size": 2, "num_workers": num_workers}
    data = load(one_image, patch_size=16, vmin=-30.0, vmax=5.0, **settings)
    dataset = data.train.dataset
    assert isinstance(dataset, RandomPatches)
    assert (dataset.size, dataset.vmin, dataset.vmax) == (16, -30.0, 5.0)
    assert (dataset.seed, dataset.augment) == (3, False)
    assert data.train.positions.seed == 3
    assert data.train.positions.shuffle and not data.val.positions.shuffle
    assert data.train.num_workers == data.val.num_workers == num_workers
    assert next(iter(data.train)).shape == (2, 1, 16, 16)


# The window of decibels


def test_what_is_kept_in_memory_is_what_windows_would_be_read_as(
    three_grounds: Path, one_image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (three_grounds, one_image):
        read, held = load(folder), load(folder, in_memory=True)
        expected = [all_of(read.train), all_of(read.val)]
        assert read.train.describe(0) == held.train.describe(0)
        with monkeypatch.context() as patch:
            patch.setattr(Band, "read", None)
            found = [all_of(held.train), all_of(held.val)]
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    scenes = {id(each.scene) for loader in (held.train, held.val) for each in areas_of(loader)}
    assert len(scenes) == 1  # the only image, which is cut in two


def test_an_epoch_has_each_area_as_often_as_it_is_repeated(three_grounds: Path) -> None:
    once, thrice = load(three_grounds), load(three_grounds, repeat=3)
    assert len(all_of(thrice.train).unique(dim=0)) == 3 * len(all_of(once.train))
    assert torch.equal(all_of(thrice.val), all_of(once.val))


def test_the_window_is_percentiles_of_the_valid_training_pixels(three_grounds: Path) -> None:
    data = load(three_grounds)
    pixels = [area.read(0, 0, area.height, area.width) for area in areas_of(data.train)]
    expected = np.percentile(np.stack(pixels), [0.01, 99.99], method="inverted_cdf")
    params = data.preprocessing_params
    np.testing.assert_allclose([params["vmin"], params["vmax"]], expected, atol=0.04)


@pytest.mark.parametrize("offset_db", [-40, 40])
def test_validation_images_do_not_change_the_window(
    tmp_path: Path, write_raster: Write, offset_db: float
) -> None:
    train, val = tmp_path / "train", tmp_path / "val"
    write_raster(train / "a.tif", some_db(), units=["dB"])
    write_raster(val / "b.tif", some_db(seed=1) + np.float32(offset_db), units=["dB"])
    params = load(train, val_root=str(val)).preprocessing_params
    assert params["vmin"] == pytest.approx(some_db().min(), abs=0.04)
    assert params["vmax"] == pytest.approx(some_db().max(), abs=0.04)


def test_the_validation_part_of_an_image_does_not_change_the_window(
    tmp_path: Path, write_raster: Write
) -> None:
    image = some_db(160, 64)
    image[128:] += 50
    write_raster(tmp_path / "a.tif", image, units=["dB"])
    params = load(tmp_path, val_fraction=0.2).preprocessing_params
    assert params["vmax"] == pytest.approx(image[:128].max(), abs=0.04)


@pytest.mark.parametrize("seed", range(3))
def test_validation_grounds_do_not_change_the_window(
    tmp_path: Path, write_raster: Write, seed: int
) -> None:
    for index in range(3):
        image = some_db(seed=index) + np.float32(40 * index)
        write_raster(tmp_path / f"{index}.tif", image, units=["dB"], west_north=(10 * index, 50))
    data = load(tmp_path, seed=seed)
    pixels = np.stack([each.read(0, 0, 96, 80) for each in areas_of(data.train)])
    params = data.preprocessing_params
    expected = np.percentile(pixels, [0.01, 99.99], method="inverted_cdf")
    np.testing.assert_allclose([params["vmin"], params["vmax"]], expected, atol=0.04)


def test_a_window_that_is_given_is_taken(one_image: Path) -> None:
    params = load(one_image, vmin=-30.0, vmax=3.5).preprocessing_params
    assert (params["vmin"], params["vmax"]) == (-30, 3.5)
    params = load(one_image, vmin=-30.0).preprocessing_params
    assert params["vmin"] == -30 and params["vmax"] == pytest.approx(some_db().max(), abs=1)


@pytest.mark.parametrize("sources", [False, True])
def test_params_are_plain_containers_that_a_checkpoint_may_hold(
    one_image: Path, sources: bool
) -> None:
    part = RasterSource(str(one_image), "db", nodata=-99.0, offset_db=1.5)
    data = load(sources=[part]) if sources else load(one_image, nodata=-99.0, offset_db=1.5)
    params = data.preprocessing_params
    file = io.BytesIO()
    torch.save(params, file)
    file.seek(0)
    assert torch.load(file, weights_only=True) == params
    assert type(params["vmin"]) is type(params["vmax"]) is float
    assert params["quantity"] == "db"
    (source,) = params["sources"]
    assert source["root"] == str(one_image)
    assert (source["nodata"], source["offset_db"]) == (-99, 1.5)


# Several folders


@pytest.mark.parametrize("quantity", ["amplitude", "power"])
def test_digital_numbers_and_decibels_of_a_scene_give_the_same_tensors(
    tmp_path: Path, write_raster: Write, quantity: Quantity
) -> None:
    dn: NDArray[Any] = some_dn()
    if quantity == "power":
        dn = dn.astype(np.float32) ** 2
    write_raster(tmp_path / "dn" / "scene.tif", dn)
    write_raster(tmp_path / "db" / "scene.tif", some_db())
    of_dn, of_db = (
        load(tmp_path / "dn", quantity=quantity, offset_db=DN_OFFSET_DB, vmin=-30.0, vmax=0.0),
        load(tmp_path / "db", quantity="db", vmin=-30.0, vmax=0.0),
    )
    torch.testing.assert_close(all_of(of_dn.train), all_of(of_db.train), atol=1e-5, rtol=0)
    torch.testing.assert_close(all_of(of_dn.val), all_of(of_db.val), atol=1e-5, rtol=0)


def test_folders_of_different_quantities_train_together(
    tmp_path: Path, write_raster: Write
) -> None:
    """Both hold the same scene, whose parts are to look the same whichever file they come from."""
    write_raster(tmp_path / "dn" / "scene.tif", some_dn(), west_north=(10, 50))
    write_raster(tmp_path / "db" / "scene.tif", some_db(), west_north=(10, 50))
    parts = [RasterSource("dn", "amplitude", None, DN_OFFSET_DB), RasterSource("db", "db")]
    data = load(tmp_path, sources=parts)
    val = all_of(data.val)
    assert len(val) == 2 * 2
    torch.testing.assert_close(val[0::2], val[1::2], atol=1e-5, rtol=0)
    first, second = (area.read(0, 0, area.height, area.width) for area in areas_of(data.train))
    np.testing.assert_allclose(first, second, atol=1e-4)
    params = data.preprocessing_params
    assert params["quantity"] == "amplitude/db"
    assert [each["offset_db"] for each in params["sources"]] == [DN_OFFSET_DB, 0]


def test_sources_are_folders_below_root_files_and_wildcards(
    tmp_path: Path, write_raster: Write
) -> None:
    for index, name in enumerate(("s1_a/a.tif", "s1_b/b.tif", "other/c.tif")):
        write_raster(tmp_path / name, some_db(), west_north=(10 * index, 50))
    elsewhere = write_raster(tmp_path / "else" / "d.tif", some_db(), west_north=(90, 50))
    parts = [RasterSource("s1_*", "db"), RasterSource(str(elsewhere), "db")]
    data = load(tmp_path, sources=parts)
    assert files_of(data.train) | files_of(data.val) == {"a.tif", "b.tif", "d.tif"}


def test_the_nodata_value_of_a_source_is_its_own(tmp_path: Path, write_raster: Write) -> None:
    for index, name in enumerate("ab"):
        image = some_db()
        image[:20] = -20
        write_raster(tmp_path / name / "x.tif", image, west_north=(10 * index, 50))
    parts = [RasterSource("a", "db", nodata=-20.0), RasterSource("b", "db")]
    data = load(tmp_path, sources=parts)
    valid = {
        Path(area.scene.name).parent.name: np.isfinite(area.read(0, 0, 20, 80)).any()
        for area in areas_of(data.train) + areas_of(data.val)
    }
    assert valid == {"a": False, "b": True}


# Validation images of their own


def test_validation_images_may_be_given(three_grounds: Path, one_image: Path) -> None:
    data = load(three_grounds, val_root=str(one_image))
    assert files_of(data.val) == {"a.tif"} and len(files_of(data.train)) == 4


def test_validation_images_are_read_like_training_images(
    tmp_path: Path, write_raster: Write
) -> None:
    dn = some_dn()
    dn[:32] = 9
    for name in ("train", "val"):
        write_raster(tmp_path / name / f"{name}.tif", dn)
    settings: dict[str, Any] = {"quantity": "amplitude", "nodata": 9.0, "offset_db": DN_OFFSET_DB}
    data = load(tmp_path / "train", val_root=str(tmp_path / "val"), **settings)
    (training,), (validation,) = areas_of(data.train), areas_of(data.val)
    decibels = training.read(0, 0, 96, 80), validation.read(0, 0, 96, 80)
    np.testing.assert_array_equal(*decibels)
    assert np.isnan(decibels[1][:32]).all() and -25 < np.nanmean(decibels[1]) < -10


def test_training_images_of_the_grounds_of_validation_are_left_out(
    three_grounds: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        data = load(three_grounds, val_root=str(three_grounds / "0b.tif"))
    assert files_of(data.train) == {"1.tif", "2.tif"} and files_of(data.val) == {"0b.tif"}
    assert "2 training images show ground of the validation images" in caplog.text


def test_sources_marked_val_are_for_validation(three_grounds: Path) -> None:
    sources = [RasterSource("[02].tif"), RasterSource("1.tif", val=True)]
    data = load(three_grounds, sources=sources)
    assert files_of(data.train) == {"0.tif", "2.tif"} and files_of(data.val) == {"1.tif"}
    assert [each["val"] for each in data.preprocessing_params["sources"]] == [False, True]


# Refusals


def test_sources_that_are_all_for_validation_are_refused(
    three_grounds: Path, refused: Refused
) -> None:
    with refused("data.sources: all have val"):
        load(three_grounds, sources=[RasterSource("*.tif", val=True)])


@pytest.mark.parametrize(
    "setting", [{"quantity": "db"}, {"nodata": 0.0}, {"offset_db": 1.0}, {"val_root": "x"}]
)
def test_settings_that_belong_into_each_source_are_refused(
    three_grounds: Path, refused: Refused, setting: dict[str, Any]
) -> None:
    (name,) = setting
    with refused(rf"data.{name}=.*: give {name.removesuffix('_root')} in each of data.sources"):
        load(three_grounds, sources=[RasterSource("*.tif")], **setting)


@pytest.mark.parametrize("sources", [None, []])
def test_rasters_without_a_folder_are_refused(
    one_image: Path,
    refused: Refused,
    sources: list[RasterSource] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(one_image)
    with refused("data.root is not set: give the folder"):
        load(sources=sources)


def test_images_that_are_all_too_small_are_refused(
    tmp_path: Path, write_raster: Write, refused: Refused
) -> None:
    write_raster(tmp_path / "a.tif", some_db(20, 90), units=["dB"])
    write_raster(tmp_path / "b.tif", some_db(31, 45), units=["dB"])
    with refused(r"b\.tif: 31 x 45 pixels, .*data\.patch_size=32: lower it"):
        load(tmp_path)


@pytest.mark.parametrize("value", [0.0, np.nan, -9.0, np.inf])
@pytest.mark.parametrize("images", [1, 2])
def test_images_without_a_valid_pixel_are_refused(
    tmp_path: Path, write_raster: Write, refused: Refused, value: float, images: int
) -> None:
    for index in range(images):
        write_raster(tmp_path / f"{index}.tif", np.full((40, 50), value, np.float32))
    others = ", and the other 1 images are of no use" if images == 2 else ""
    with refused(rf"{images - 1}\.tif:1 holds no valid pixel: .*negative.*{others}; check data"):
        load(tmp_path, quantity="power")


def test_images_of_the_nodata_value_given_are_refused(
    tmp_path: Path, write_raster: Write, refused: Refused
) -> None:
    write_raster(tmp_path / "a.tif", np.full((40, 50), 7, np.float32))
    with refused("holds no valid pixel.* not finite; check data.quantity and data.nodata"):
        load(tmp_path, quantity="db", nodata=7.0)


@pytest.mark.parametrize("value", [1.0, 250.0])
def test_a_blank_image_is_refused(
    tmp_path: Path, write_raster: Write, refused: Refused, value: float
) -> None:
    write_raster(tmp_path / "a.tif", np.full((40, 50), value, np.float32))
    with refused(r"a\.tif:1 is blank: all valid pixels have the same value; check data"):
        load(tmp_path, quantity="amplitude")


def test_images_without_a_valid_window_are_refused(
    tmp_path: Path, write_raster: Write, refused: Refused
) -> None:
    image = some_db()
    image[:, ::20] = np.nan
    write_raster(tmp_path / "a.tif", image)
    with refused("has no window of 32 x 32 pixels that are all valid; .*lower data.patch_size"):
        load(tmp_path, quantity="db")


def test_an_image_of_which_a_part_is_useless_after_the_cut_is_refused(
    tmp_path: Path, write_raster: Write, refused: Refused
) -> None:
    image = some_db(160, 64)
    image[128:] = np.nan
    write_raster(tmp_path / "a.tif", image)
    with refused("a.tif:1 holds no valid pixel"):
        load(tmp_path, quantity="db", val_fraction=0.2)


def test_one_ground_without_room_for_validation_is_refused(
    one_image: Path, refused: Refused
) -> None:
    with refused(r"a\.tif:1: the only ground there is, 96 x 80 .* data\.patch_size to 48 or less"):
        load(one_image, patch_size=60)
    assert load(one_image, patch_size=48).summary


def test_overlapping_images_of_different_pixels_are_refused(
    tmp_path: Path, write_raster: Write, refused: Refused
) -> None:
    write_raster(tmp_path / "a.tif", some_db(), units=["dB"], west_north=(10, 50))
    write_raster(tmp_path / "b.tif", some_db(), units=["dB"], west_north=(10.001, 50))
    with refused(r"a\.tif:1 and .*b\.tif:1 overlap but do not cover the same pixels"):
        load(tmp_path)


@pytest.mark.parametrize("pattern", ["s1_*", "[xyz]", "nothing?"])
def test_a_wildcard_that_matches_nothing_is_refused(
    tmp_path: Path, refused: Refused, pattern: str
) -> None:
    with refused("matches no folder; check data.root and data.sources"):
        load(tmp_path, sources=[RasterSource(pattern, "db")])


@pytest.mark.parametrize("setting", ["root", "val_root", "sources"])
def test_a_folder_that_is_not_there_is_refused(
    tmp_path: Path, one_image: Path, refused: Refused, setting: str
) -> None:
    settings: dict[str, Any] = {"root": str(one_image), setting: str(tmp_path / "nowhere")}
    if setting == "sources":
        settings["sources"] = [RasterSource("nowhere", "db")]
    with refused("nowhere: no such folder"):
        load(**settings)


@pytest.mark.parametrize("vmin, vmax", [(0.0, 0.0), (5.0, -5.0), (float("nan"), 0.0)])
def test_a_window_the_wrong_way_round_is_refused(
    one_image: Path, refused: Refused, vmin: float, vmax: float
) -> None:
    with refused(f"data.vmin={vmin}, data.vmax={vmax}: expected vmin below vmax"):
        load(one_image, vmin=vmin, vmax=vmax)
    with refused("expected vmin below vmax"):
        synthetic(0, vmin=vmin, vmax=vmax)


def test_a_lower_end_above_the_images_is_refused(one_image: Path, refused: Refused) -> None:
    with refused("data.vmin=60.0, data.vmax=-?[0-9.]+: expected vmin below vmax"):
        load(one_image, vmin=60.0)
    with refused("data.vmax=-90.0: expected vmin below vmax"):
        load(one_image, vmax=-90.0)


def test_validation_images_of_all_the_ground_are_refused(
    three_grounds: Path, refused: Refused
) -> None:
    with refused("the validation images show all the ground that the training images do"):
        load(three_grounds, val_root=str(three_grounds))


@pytest.mark.parametrize("kept", [4, 0.5])
def test_a_file_that_was_cut_short_is_refused(
    one_image: Path, refused: Refused, kept: float
) -> None:
    path = one_image / "a.tif"
    length = kept if kept > 1 else kept * path.stat().st_size
    with open(path, "r+b") as file:
        file.truncate(int(length))
    with refused(r"a\.tif: cannot be (opened|read at row 0, column 0) \(.*take it out of the"):
        load(one_image)


# Synthetic scenes


def test_synthetic_scenes_give_image_tensors_for_training_and_validation() -> None:
    data = synthetic(0, scenes=5, size=64, patch_size=32, batch_size=4)
    for loader, scenes in ((data.train, 4), (data.val, 1)):
        patches = all_of(loader)
        assert patches.dtype == torch.float32 and patches.shape == (4 * scenes, 1, 32, 32)
        assert patches.min() >= 0 and patches.max() <= 1 and patches.std() > 0.05
        assert len(areas_of(loader)) == scenes
    assert "4 images for training" in data.summary and "-35.00 to 20.00 dB" in data.summary


@pytest.mark.parametrize(
    "scenes, val_fraction, held_out", [(2, 0.01, 1), (2, 0.99, 1), (10, 0.2, 2), (10, 0.99, 9)]
)
def test_training_and_validation_are_of_different_scenes(
    scenes: int, val_fraction: float, held_out: int
) -> None:
    data = synthetic(0, scenes=scenes, size=16, patch_size=16, val_fraction=val_fraction)
    training, validation = ({each.scene.place for each in areas_of(x)} for x in data[:2])
    assert len(validation) == held_out and len(training) == scenes - held_out
    assert not training & validation


def test_the_seed_names_the_synthetic_scenes() -> None:
    first, again, other = (
        all_of(synthetic(seed, scenes=2, size=32, patch_size=32).val) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_settings_reach_the_synthetic_scenes() -> None:
    data = synthetic(4, scenes=3, size=40, looks=2, correlation=0.3, patch_size=20)
    expected = [SyntheticScene(4, index, 40, 2, 0.3) for index in range(3)]
    assert [each.scene for each in areas_of(data.train) + areas_of(data.val)] == expected


def test_synthetic_params_are_plain_containers_that_a_checkpoint_may_hold() -> None:
    params = synthetic(0, scenes=2, size=16, patch_size=8).preprocessing_params
    file = io.BytesIO()
    torch.save(params, file)
    file.seek(0)
    assert torch.load(file, weights_only=True) == params
    assert (params["vmin"], params["vmax"]) == (-35, 20)


def test_patches_larger_than_the_synthetic_scenes_are_refused(refused: Refused) -> None:
    with refused("data.patch_size=65: expected at most data.size, which is 64"):
        synthetic(0, size=64, patch_size=65)


# Real images


def stated_quantity(folder: str) -> Quantity | None:
    """What README.md beside the folders says of those whose files do not say it."""
    if folder.startswith(("s1sigma0_", "s1rtc_")) or folder.endswith("_db"):
        return "db"
    others: dict[str, Quantity] = {"losangeles_8bit": "amplitude", "opera_rtc_series": "power"}
    return others.get(folder)


@pytest.mark.parametrize("folder", [each for each in SHARED_FOLDERS if each != "safe_grd_blank"])
def test_every_folder_of_real_images_gives_batches(shared_data: Path, folder: str) -> None:
    data = load(shared_data / folder, quantity=stated_quantity(folder), patch_size=64)
    for loader in (data.train, data.val):
        batch = next(iter(loader))
        assert batch.shape[1:] == (1, 64, 64) and len(batch) >= 1
        assert batch.min() >= 0 and batch.max() <= 1 and batch.isfinite().all()
    assert data.preprocessing_params["vmin"] < data.preprocessing_params["vmax"] - 15


@pytest.mark.parametrize(
    "folder", [each for each in SHARED_FOLDERS if stated_quantity(each) is not None]
)
def test_folders_of_real_images_that_do_not_say_what_they_hold_are_refused(
    shared_data: Path, folder: str, refused: Refused
) -> None:
    with refused("does not say whether it holds power, amplitude or dB"):
        load(shared_data / folder, patch_size=64)


def test_a_real_folder_of_images_smaller_than_a_patch_is_refused(
    shared_data: Path, refused: Refused
) -> None:
    with refused(r"100 x 100 pixels, and no image is larger; expected .*patch_size=256"):
        load(shared_data / "opera_rtc_series", quantity="power", patch_size=256)


@pytest.mark.slow  # Reads 436 million pixels.
def test_a_real_product_without_its_data_is_refused(shared_data: Path, refused: Refused) -> None:
    with refused("is blank: all valid pixels have the same value"):
        load(shared_data / "safe_grd_blank", patch_size=64)
