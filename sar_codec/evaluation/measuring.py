"""Every codec on every scene: what it takes, loses and costs."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sar_codec.errors import UserError
from sar_codec.evaluation.classes import (
    BandRatio,
    band_ratio_bias,
    kind_of,
    water_agreement,
    water_threshold,
)
from sar_codec.evaluation.codecs import Codec
from sar_codec.evaluation.distortion import distortion
from sar_codec.evaluation.radiometry import bias
from sar_codec.evaluation.ratio import ratio
from sar_codec.evaluation.rows import Row
from sar_codec.evaluation.scenes import Scene
from sar_codec.evaluation.speckle import homogeneous_blocks, speckle
from sar_codec.evaluation.targets import point_targets, targets

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class _Original(NamedTuple):
    """A scene, and what is found in it to be measured."""

    scene: Scene
    kind: str
    homogeneous: NDArray[np.int64]
    targets: NDArray[np.int64]
    water_db: float

    @classmethod
    def of(cls, scene: Scene) -> "_Original":
        found = homogeneous_blocks(scene), point_targets(scene), water_threshold(scene)
        return cls(scene, kind_of(scene), *found)


class _Coded(NamedTuple):
    size: int
    decoded: NDArray[np.float32]
    encoding_seconds: float
    decoding_seconds: float


def measured(scenes: Sequence[Scene], codecs: Sequence[Codec]) -> Iterator[Row]:
    """Rows of all scenes, all codecs in turn at a setting each, so that they have the same clock.

    Each codec is called once before, uncounted. Bands of a scene are coded one by one.

    Raises:
        UserError: a codec does not give back all valid pixels.
    """
    for codec in codecs:
        codec.decode(codec.encode(scenes[0], codec.settings[0]), scenes[0])
    images: dict[tuple[str, str], list[Scene]] = {}
    for scene in scenes:
        images.setdefault((scene.place, scene.name), []).append(scene)
    for number, ((_, name), bands) in enumerate(images.items(), 1):
        log.info("%d of %d: %s %s", number, len(images), name, ", ".join(b.band for b in bands))
        originals = [_Original.of(band) for band in bands]
        for settings in zip_longest(*(codec.settings for codec in codecs)):
            for codec, setting in zip(codecs, settings, strict=True):
                if setting is not None:
                    yield from _measured(originals, codec, setting)


def _measured(originals: Sequence[_Original], codec: Codec, setting: float) -> list[Row]:
    coded = [_coded(original.scene, codec, setting) for original in originals]
    of_bands = _band_ratio([each.scene for each in originals], [each.decoded for each in coded])
    return [
        _row(original, codec, setting, each, of_bands)
        for original, each in zip(originals, coded, strict=True)
    ]


def _coded(scene: Scene, codec: Codec, setting: float) -> _Coded:
    data, encoding_seconds = _timed(lambda: codec.encode(scene, setting))
    decoded, decoding_seconds = _timed(lambda: codec.decode(data, scene))
    if decoded.shape != scene.decibels.shape or not np.isfinite(decoded[scene.valid]).all():
        raise UserError(
            f"{codec.name} at {setting:g} on {scene.name} {scene.band}: valid pixels are missing "
            "from what it decodes to; leave it out of codecs"
        )
    return _Coded(len(data), decoded, encoding_seconds, decoding_seconds)


def _band_ratio(scenes: Sequence[Scene], decoded: Sequence[NDArray[np.float32]]) -> BandRatio:
    """Of two bands that show the same pixels, one polarised as was sent (VV, HH), one across."""
    pairs = sorted(zip(scenes, decoded, strict=True), key=lambda pair: pair[0].is_cross_polarised)
    across = [scene.is_cross_polarised for scene, _ in pairs]
    if across == [False, True] and pairs[0][0].decibels.shape == pairs[1][0].decibels.shape:
        return band_ratio_bias(*pairs[0], *pairs[1])
    return BandRatio(float("nan"), float("nan"))


def _row(
    original: _Original, codec: Codec, setting: float, coded: _Coded, of_bands: BandRatio
) -> Row:
    scene, decoded = original.scene, coded.decoded
    before, after = (speckle(each, original.homogeneous) for each in (scene.decibels, decoded))
    at_targets = targets(scene, decoded, original.targets)
    return Row(
        scene.name,
        scene.band,
        scene.place,
        original.kind,
        codec.name,
        codec.mode,
        setting,
        scene.pixels,
        coded.size,
        8 * coded.size / scene.pixels,
        *distortion(scene, decoded),
        *bias(scene, decoded),
        before.looks,
        after.looks,
        before.correlation,
        after.correlation,
        *ratio(scene, decoded),
        at_targets.number,
        at_targets.peak_loss_db,
        at_targets.largest_peak_loss_db,
        at_targets.offset_pixels,
        water_agreement(scene, decoded, original.water_db),
        *of_bands,
        coded.encoding_seconds,
        coded.decoding_seconds,
    )


def _timed(run: Callable[[], Result]) -> tuple[Result, float]:
    began = time.perf_counter()
    result = run()
    return result, time.perf_counter() - began
