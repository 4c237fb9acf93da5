"""Codecs give back what they were given, at all their settings, and are left out if missing."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sar_codec.errors import UserError
from sar_codec.evaluation.codecs import Codec
from sar_codec.evaluation.contestants import contestants
from sar_codec.evaluation.distortion import distortion
from sar_codec.evaluation.own import OwnCodec
from sar_codec.evaluation.scenes import Scene, make_scene
from sar_codec.networks import BOUNDED, QUALITY

Speckled = Callable[..., NDArray[np.float32]]
PEERS = ["jpeg2000", "jpegxl", "avif12", "avif10", "hevc12", "vvc10"]


def made(name: str) -> Codec:
    codecs, missing = contestants([name, "ours"], None, 1)
    if missing:
        pytest.skip(missing[0])
    return codecs[name]


@pytest.mark.parametrize("name", PEERS)
def test_more_rate_is_less_error_down_to_the_rounding_of_integers(
    name: str, speckled: Speckled
) -> None:
    codec = made(name)
    scene = make_scene("a", "VV", "here", speckled(75, 101, 5))  # odd: padded and cut by some
    sizes, errors = [], []
    for setting in (codec.settings[0], codec.settings[-3], codec.settings[-1]):
        data = codec.encode(scene, setting)
        sizes.append(len(data))
        errors.append(distortion(scene, codec.decode(data, scene)).rmse_db)
    assert sizes == sorted(set(sizes))
    assert errors == sorted(set(errors), reverse=True)
    assert errors[-1] < 0.25  # clipped speckle is some of it


@pytest.mark.parametrize("name", PEERS)
def test_settings_grow(name: str) -> None:
    settings = made(name).settings
    assert list(settings) == sorted(set(settings))


@pytest.mark.parametrize("keeps_power", [True, False])
def test_ours_is_counted_whole_and_keeps_what_is_invalid(scene: Scene, keeps_power: bool) -> None:
    codec = OwnCodec(QUALITY, keeps_power, 1)
    data = codec.encode(scene, 6)
    assert data.startswith(b"\x89SAR")
    decoded = codec.decode(data, scene)
    assert (np.isfinite(decoded) == scene.valid).all()
    assert distortion(scene, decoded).rmse_db < 2


@pytest.mark.parametrize("package", ["imagecodecs", "imageio_ffmpeg"])
def test_what_is_not_installed_is_left_out_and_said(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    codecs, missing = contestants(["ours", *PEERS], None, 1)
    assert "ours" in codecs
    left_out = {line.partition(":")[0] for line in missing}
    assert left_out >= ({"jpeg2000", "jpegxl"} if package == "imagecodecs" else {"hevc12", "vvc10"})
    assert all("pip install 'sar_codec[baselines]'" in line for line in missing)


@pytest.mark.parametrize("names", [["jpeg"], ["ours", "ours"]])
def test_wrong_names_are_refused(names: list[str]) -> None:
    with pytest.raises(UserError, match=r"expected some of ours, .*each once"):
        contestants(names, None, 1)


def test_nothing_to_compare_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(UserError, match="none is installed"):
        contestants(["jpegxl"], None, 1)


def test_an_ffmpeg_without_the_encoder_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed")
    from sar_codec.evaluation import video

    monkeypatch.setattr(video, "_encoders", lambda program: "libx265")
    codecs, missing = contestants(["ours", "hevc12", "vvc10"], None, 1)
    assert list(codecs) == ["ours", "hevc12"]
    assert "lacks libvvenc" in missing[0]


def test_a_failure_of_ffmpeg_shows_what_it_said() -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed")
    from sar_codec.evaluation.video import Frame

    frame = Frame(ffmpeg.get_ffmpeg_exe(), "hevc", "gray12le", ("-c:v", "nothing"), 1)
    with pytest.raises(RuntimeError, match="nothing"):
        frame.encode(np.zeros((8, 8), np.uint16), 1)


def test_a_model_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match="no such file"):
        contestants(["ours"], Path("nowhere.safetensors"), 1)


def test_a_model_is_for_the_codecs_of_its_kind() -> None:
    names = ["ours", "ours_bounded", "ours_lossless"]
    codecs, _ = contestants(names, BOUNDED, 1)
    assert [codecs[name].model for name in names] == [QUALITY, BOUNDED, BOUNDED]
    with pytest.raises(UserError, match="is for ours_bounded and ours_lossless"):
        contestants(["ours"], BOUNDED, 1)
