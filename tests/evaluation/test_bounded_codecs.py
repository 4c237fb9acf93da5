"""No valid pixel is off by more than the bound, and what is quantised fills it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sar_codec.coding.decompressing import Image
from sar_codec.evaluation.bounded import BOUNDS_DB, quantised
from sar_codec.evaluation.codecs import Codec
from sar_codec.evaluation.contestants import contestants
from sar_codec.evaluation.integers import LosslessCoder
from sar_codec.evaluation.measuring import measured
from sar_codec.evaluation.scenes import Scene, make_scene
from sar_codec.networks import finder

Speckled = Callable[..., NDArray[np.float32]]
NAMES = ["ours_bounded", "quantised_jpegxl", "jpegls", "sz3", "zfp", "lerc_zstd"]
ROUNDING_DB = 1e-4  # of float32


def made(name: str) -> Codec:
    codecs, missing = contestants([name, "ours"], None, 1)
    if missing:
        pytest.skip(missing[0])
    return codecs[name]


def largest_error_db(scene: Scene, decoded: NDArray[np.float32]) -> float:
    error = decoded.astype(np.float64) - scene.decibels
    return float(np.abs(error[scene.valid]).max())


@pytest.mark.parametrize("bound_db", [*BOUNDS_DB, 0.3, 0.05])
@pytest.mark.parametrize("name", NAMES)
def test_no_pixel_is_off_by_more_than_the_bound(name: str, bound_db: float, scene: Scene) -> None:
    codec = made(name)
    found = largest_error_db(scene, codec.decode(codec.encode(scene, bound_db), scene))
    assert 0.05 * bound_db < found <= bound_db + ROUNDING_DB


@pytest.mark.parametrize("shape", [(1, 2), (1, 101), (75, 1), (67, 33)])
@pytest.mark.parametrize("name", NAMES)
def test_so_it_is_with_odd_shapes(name: str, shape: tuple[int, int], speckled: Speckled) -> None:
    codec = made(name)
    scene = make_scene("a", "VV", "here", speckled(*shape, 1))
    decoded = codec.decode(codec.encode(scene, 0.5), scene)
    assert decoded.shape == shape
    assert decoded.dtype == np.float32
    assert largest_error_db(scene, decoded) <= 0.5 + ROUNDING_DB


@pytest.mark.parametrize("name", NAMES)
def test_absurd_decibels_are_bounded_too(name: str, speckled: Speckled) -> None:
    codec = made(name)
    decibels = speckled(64, 64, 1)
    decibels[5, 7], decibels[50, 9] = 300, -300
    scene = make_scene("a", "VV", "here", decibels)
    decoded = codec.decode(codec.encode(scene, 0.25), scene)
    assert largest_error_db(scene, decoded) <= 0.25 + ROUNDING_DB


@pytest.mark.parametrize("name", NAMES)
def test_bounds_fall_and_rates_grow(name: str, scene: Scene) -> None:
    codec = made(name)
    assert codec.mode == "bounded"
    assert codec.settings == BOUNDS_DB
    sizes = [row.size for row in measured([scene], [codec])]
    assert sizes == sorted(set(sizes))


def test_ours_keeps_what_is_invalid_and_its_file_says_the_bound(
    scene: Scene, tmp_path: Path
) -> None:
    codec = made("ours_bounded")
    data = codec.encode(scene, 0.5)
    (tmp_path / "x.sarc").write_bytes(data)
    with Image(tmp_path / "x.sarc", finder(None), 1) as image:
        assert image.header.about.max_error_db == 0.5
    assert (np.isfinite(codec.decode(data, scene)) == scene.valid).all()


def test_what_is_quantised_is_steps_of_twice_the_bound_and_counts_twelve_bytes() -> None:
    given = []

    def encode(image: NDArray[np.uint16]) -> bytes:
        given.append(image)
        return image.tobytes()

    def decode(data: bytes, height: int, width: int) -> NDArray[np.uint16]:
        return np.frombuffer(data, np.uint16).reshape(height, width)

    codec = quantised(LosslessCoder("none", "a test", encode, decode))
    scene = make_scene("a", "VV", "here", np.array([[-3.9, -0.9, 0.9, 2.1]], np.float32))
    data = codec.encode(scene, 1)
    assert given[0].tolist() == [[0, 2, 2, 3]]  # of -4, 0, 0 and 2 dB
    assert len(data) == 12 + 2 * 4
    assert codec.decode(data, scene) == pytest.approx(np.array([[-4, 0, 0, 2]]), abs=1e-3)
    assert codec.name == "quantised in dB, none"
