"""Digital numbers come back bit for bit."""

import sys
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sar_codec.data import geotiff
from sar_codec.evaluation import integers, tiff
from sar_codec.evaluation.bounded import lerc_zstd
from sar_codec.evaluation.codecs import Codec
from sar_codec.evaluation.contestants import contestants
from sar_codec.evaluation.integers import LosslessCoder
from sar_codec.evaluation.lossless import from_digital_numbers, to_digital_numbers
from sar_codec.evaluation.measuring import measured
from sar_codec.evaluation.own import ArraySource
from sar_codec.evaluation.scenes import Scene, make_scene

Speckled = Callable[..., NDArray[np.float32]]
NAMES = ["ours_lossless", "jpeg2000_lossless", "jpegxl_lossless", "deflate", "zstd"]
CODERS = {
    "jpeg_xl": lambda: integers.jpeg_xl(1),
    "jpeg2000": lambda: integers.jpeg2000(1),
    "jpeg_ls": integers.jpeg_ls,
    "deflate": integers.deflate,
    "zstd": integers.zstd,
}


def made(name: str) -> Codec:
    codecs, missing = contestants([name, "ours"], None, 1)
    if missing:
        pytest.skip(missing[0])
    return codecs[name]


def coder(name: str) -> LosslessCoder:
    try:
        return CODERS[name]()
    except ImportError as error:
        pytest.skip(str(error))


def scene_of(numbers: list[list[int]]) -> Scene:
    return make_scene("a", "VV", "here", from_digital_numbers(np.array(numbers, np.uint16)))


def test_zero_decibels_are_the_calibration() -> None:
    scene = make_scene("a", "VV", "here", np.array([[0, 20, np.nan, -90, 60]], np.float32))
    assert to_digital_numbers(scene).tolist() == [[603, 6026, 0, 1, 65535]]


def test_every_number_is_that_of_its_decibels() -> None:
    numbers = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    decibels = from_digital_numbers(numbers)
    assert np.isnan(decibels[0, 0])
    scene = make_scene("a", "VV", "here", decibels)
    assert (to_digital_numbers(scene) == numbers).all()


@pytest.mark.parametrize("shape", [(200, 264), (1, 2), (1, 101), (75, 1), (67, 33)])
@pytest.mark.parametrize("name", NAMES)
def test_numbers_come_back(name: str, shape: tuple[int, int], speckled: Speckled) -> None:
    codec = made(name)
    decibels = speckled(*shape, 1)
    decibels[: shape[0] // 4, : shape[1] // 3] = np.nan
    scene = make_scene("a", "VV", "here", decibels)
    decoded = codec.decode(codec.encode(scene, 0), scene)
    wanted = from_digital_numbers(to_digital_numbers(scene))
    assert decoded.dtype == np.float32
    assert decoded.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_extreme_numbers_come_back(name: str) -> None:
    codec = made(name)
    scene = scene_of([[1, 65535, 0, 2], [255, 256, 257, 65534], [0, 0, 1, 1]])
    decoded = codec.decode(codec.encode(scene, 0), scene)
    assert decoded.tobytes() == scene.decibels.tobytes()


@pytest.mark.parametrize("largest", [0, 255, 256, 65535])
@pytest.mark.parametrize("name", CODERS)
def test_coders_give_back_any_integers(name: str, largest: int) -> None:
    numbers = np.random.default_rng(0).integers(0, largest + 1, (41, 37)).astype(np.uint16)
    numbers[0, 0] = largest
    decoded = coder(name).decode(coder(name).encode(numbers), 41, 37)
    assert decoded.dtype == np.uint16
    assert (decoded == numbers).all()


@pytest.mark.parametrize("name", NAMES)
def test_there_is_one_setting_and_the_error_is_of_rounding(name: str, scene: Scene) -> None:
    codec = made(name)
    assert codec.mode == "lossless"
    (row,) = measured([scene], [codec])
    assert row.setting == 0
    assert 0 < row.bits_per_pixel < 16
    # Half a number of the smallest that there is.
    smallest = to_digital_numbers(scene)[scene.valid].min()
    assert row.max_error_db <= 20 * np.log10(smallest / (smallest - 0.5)) + 1e-4


def test_a_source_of_integers_has_zero_as_nodata() -> None:
    source = ArraySource(np.array([[0, 1], [2, 65535]], np.uint16))
    pixels, valid = source.read(0, 0, 2, 2)
    assert (source.description.dtype, source.description.nodata) == ("uint16", 0)
    assert pixels.dtype == np.uint16
    assert valid.tolist() == [[[False, True], [True, True]]]


def test_tall_images_are_of_several_strips() -> None:
    image = np.arange(1100 * 3, dtype=np.uint16).reshape(1100, 3)
    assert (tiff.unpacked(tiff.packed(image, "DEFLATE", {"predictor": 2})) == image).all()


@pytest.mark.parametrize("make", [integers.zstd, integers.deflate, lerc_zstd])
def test_a_gdal_without_the_way_to_compress_is_as_none(
    make: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff, "first_of", lambda candidates: candidates[-1])
    with pytest.raises(ImportError, match="this GDAL lacks"):
        make()


@pytest.mark.parametrize("name", ["deflate", "zstd", "lerc_zstd"])
def test_gdal_takes_all_options(name: str, scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    codec = made(name)
    codec.encode(scene, codec.settings[-1])
    assert not caplog.records


def test_gdal_is_asked() -> None:
    assert geotiff.compression(("NO_SUCH", "NONE")) == "NONE"
    with pytest.raises(ImportError, match="lacks NO_SUCH"):
        tiff.require("NO_SUCH")


def test_without_imagecodecs_the_others_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    wanted = [*NAMES, "quantised_jpegxl", "jpegls", "sz3", "zfp", "ours_bounded"]
    codecs, missing = contestants(wanted, None, 1)
    assert {"ours_lossless", "ours_bounded"} <= codecs.keys()
    left_out = {line.partition(":")[0] for line in missing}
    assert left_out >= {"jpegxl_lossless", "quantised_jpegxl", "jpegls", "sz3", "zfp"}


@pytest.mark.parametrize(("name", "part"), [("jpegls", "JPEGLS"), ("sz3", "SZ3"), ("zfp", "ZFP")])
def test_an_imagecodecs_without_the_codec_is_as_none(
    name: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    imagecodecs = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    monkeypatch.setattr(imagecodecs, part, type("Absent", (), {"available": False}))
    _, missing = contestants(["ours", name], None, 1)
    assert "this version of imagecodecs lacks" in missing[0]
