from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from sar_codec.data.sources import RasterSource, reported_bands
from sar_codec.errors import UserError
from sar_codec.evaluation.scenes import Scene, make_scene, read_scenes


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_integers_lose_half_a_step_within_the_window_and_clip_beyond(
    scene: Scene, bits: int
) -> None:
    values = scene.to_integers(bits)
    assert (values.min(), values.max()) == (0, 2**bits - 1)
    back = scene.from_integers(values, bits)
    clipped = scene.filled.clip(scene.low_db, scene.high_db)
    assert np.abs(back - clipped).max() < 0.51 * scene.range_db / (2**bits - 1) + 1e-5


def test_the_window_is_that_of_valid_pixels(scene: Scene) -> None:
    assert scene.pixels == 200 * 264 - 2000
    outside = (scene.decibels < scene.low_db) | (scene.decibels > scene.high_db)
    assert 0 < outside.sum() <= 2e-4 * scene.pixels + 2


@pytest.mark.parametrize(
    ("decibels", "word"), [(np.full((8, 8), np.nan), "valid"), (np.ones((8, 8)), "same value")]
)
def test_what_shows_nothing_is_refused(decibels: np.ndarray, word: str) -> None:
    with pytest.raises(UserError, match=word):
        make_scene("a", "VV", "here", decibels.astype(np.float32))


def test_bands_are_named_by_polarisation_and_share_their_place(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(32, 32))
    for name in ("town_VV.npy", "town_VH.npy", "lake.npy"):
        (tmp_path / "a").mkdir(exist_ok=True)
        np.save(tmp_path / "a" / name, image)
    scenes = read_scenes(reported_bands(root=str(tmp_path), quantity="db"))
    assert [(each.name, each.band) for each in scenes] == [
        ("lake", "band 1"),
        ("town", "VH"),
        ("town", "VV"),
    ]
    assert scenes[1].place == scenes[2].place != scenes[0].place


def test_descriptions_name_bands_too(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(2, 32, 32)).astype(np.float32)
    form = {"count": 2, "height": 32, "width": 32, "dtype": "float32"}
    place = Affine(1e-4, 0, 10, 0, -1e-4, 50)
    with rasterio.open(tmp_path / "a.tif", "w", crs="EPSG:4326", transform=place, **form) as target:
        target.write(image)
        target.descriptions = ["VV", "VH"]
    scenes = read_scenes(reported_bands(root=str(tmp_path), quantity="db"))
    assert [each.band for each in scenes] == ["VV", "VH"]


def test_only_what_is_held_out_is_reported_of(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(32, 32))
    for name in ("seen", "unseen"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", image)
    sources = [RasterSource("seen", "db"), RasterSource("unseen", "db", val=True)]
    assert [Path(each.path).parent.name for each in reported_bands(str(tmp_path), sources)] == [
        "unseen"
    ]
    assert len(reported_bands(str(tmp_path), sources[:1])) == 1
    with pytest.raises(UserError, match=r"data\.root is not set"):
        reported_bands()
