"""Every codec on every scene: what it takes, loses and costs."""

import csv
import io
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sar_codec.errors import UserError
from sar_codec.evaluation.codecs import Codec
from sar_codec.evaluation.distortion import distortion
from sar_codec.evaluation.radiometry import bias
from sar_codec.evaluation.ratio import mean_ratio
from sar_codec.evaluation.scenes import Scene
from sar_codec.evaluation.speckle import homogeneous_blocks, speckle
from sar_codec.files import write_whole

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Row(NamedTuple):
    """One codec at one setting on one band of one scene; a line of metrics.csv.

    Attributes:
        scene: its name.
        band: of it.
        place: the ground that it shows.
        codec: the codec's name.
        setting: of the codec; a quality, or a quantiser with its sign changed.
        pixels: that are valid.
        size: bytes.
        bits_per_pixel: of valid pixels.
        rmse_db: and the following, see `distortion.Distortion`.
        max_error_db: likewise.
        psnr_db: likewise.
        ssim: likewise.
        bias_db: and the following, see `radiometry.Bias`.
        block_bias_db: likewise.
        largest_block_bias_db: likewise.
        dark_bias_db: likewise.
        middle_bias_db: likewise.
        bright_bias_db: likewise.
        looks_before: of the original, see `speckle.Speckle`.
        looks_after: of the decoded.
        correlation_before: likewise.
        correlation_after: likewise.
        mean_ratio: of original over decoded power.
        encoding_seconds: of all threads together by the clock.
        decoding_seconds: likewise.
    """

    scene: str
    band: str
    place: str
    codec: str
    setting: float
    pixels: int
    size: int
    bits_per_pixel: float
    rmse_db: float
    max_error_db: float
    psnr_db: float
    ssim: float
    bias_db: float
    block_bias_db: float
    largest_block_bias_db: float
    dark_bias_db: float
    middle_bias_db: float
    bright_bias_db: float
    looks_before: float
    looks_after: float
    correlation_before: float
    correlation_after: float
    mean_ratio: float
    encoding_seconds: float
    decoding_seconds: float


def measured(scenes: Sequence[Scene], codecs: Sequence[Codec]) -> Iterator[Row]:
    """Rows of all scenes, all codecs in turn at a setting each, so that they have the same clock.

    Each codec is called once before, uncounted.

    Raises:
        UserError: a codec does not give back all valid pixels.
    """
    for codec in codecs:
        codec.decode(codec.encode(scenes[0], codec.settings[0]), scenes[0])
    for number, scene in enumerate(scenes, 1):
        log.info("%d of %d: %s %s", number, len(scenes), scene.name, scene.band)
        corners = homogeneous_blocks(scene)
        for settings in zip_longest(*(codec.settings for codec in codecs)):
            for codec, setting in zip(codecs, settings, strict=True):
                if setting is not None:
                    yield _measured(scene, codec, setting, corners)


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Writes a .csv with a line a row.

    Raises:
        UserError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(
        [f"{each:.6g}" if isinstance(each, float) else each for each in row] for row in rows
    )
    write_whole(path, [text.getvalue().encode()])


def _measured(scene: Scene, codec: Codec, setting: float, corners: NDArray[np.int64]) -> Row:
    data, encoding_seconds = _timed(lambda: codec.encode(scene, setting))
    decoded, decoding_seconds = _timed(lambda: codec.decode(data, scene))
    if decoded.shape != scene.decibels.shape or not np.isfinite(decoded[scene.valid]).all():
        raise UserError(
            f"{codec.name} at {setting:g} on {scene.name} {scene.band}: valid pixels are missing "
            "from what it decodes to; leave it out of codecs"
        )
    before, after = speckle(scene.decibels, corners), speckle(decoded, corners)
    return Row(
        scene.name,
        scene.band,
        scene.place,
        codec.name,
        setting,
        scene.pixels,
        len(data),
        8 * len(data) / scene.pixels,
        *distortion(scene, decoded),
        *bias(scene, decoded),
        before.looks,
        after.looks,
        before.correlation,
        after.correlation,
        mean_ratio(scene, decoded),
        encoding_seconds,
        decoding_seconds,
    )


def _timed(run: Callable[[], Result]) -> tuple[Result, float]:
    began = time.perf_counter()
    result = run()
    return result, time.perf_counter() - began
