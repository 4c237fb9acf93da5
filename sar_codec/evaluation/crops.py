"""Pieces of scenes as codecs leave them at the same rate, to be looked at."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sar_codec.evaluation.codecs import Codec
from sar_codec.evaluation.rows import Row
from sar_codec.evaluation.scenes import Scene

SIDE = 192  # pixels
RATIO_DB = 5.0  # shown as black and white, below and above


class Crop(NamedTuple):
    """A piece of a scene, decoded.

    Attributes:
        codec: that decoded it.
        bits_per_pixel: of the whole scene, as near as the codec comes to what was asked for.
        image: a PNG.
        ratio: a PNG of original over decoded, grey where they are the same.
    """

    codec: str
    bits_per_pixel: float
    image: bytes
    ratio: bytes


def crops(
    scene: Scene, codecs: Sequence[Codec], rows: Sequence[Row], bits_per_pixel: float
) -> list[Crop]:
    """The middle of a scene by each codec that comes to about that rate.

    Args:
        scene: the scene.
        codecs: to be shown.
        rows: of all settings of these on the scene, which tell the setting to take.
        bits_per_pixel: that all are to take.
    """
    found = []
    for codec in codecs:
        setting = setting_for(codec, scene, rows, bits_per_pixel)
        if setting is not None:
            data = codec.encode(scene, setting)
            decoded = codec.decode(data, scene)
            ratio_db = scene.filled - decoded
            found.append(
                Crop(
                    codec.name,
                    8 * len(data) / scene.pixels,
                    shown(middle(decoded), scene.low_db, scene.high_db),
                    shown(middle(ratio_db), -RATIO_DB, RATIO_DB),
                )
            )
    return found


def setting_for(
    codec: Codec, scene: Scene, rows: Sequence[Row], bits_per_pixel: float
) -> float | None:
    """Between which settings a rate lies, in proportion; None if a codec does not reach it."""
    mine = sorted(
        (row.bits_per_pixel, row.setting)
        for row in rows
        if (row.codec, row.scene, row.band) == (codec.name, scene.name, scene.band)
    )
    if len(mine) < 2 or not mine[0][0] <= bits_per_pixel <= mine[-1][0]:
        return None
    rates, settings = zip(*mine, strict=True)
    return float(np.interp(math.log(bits_per_pixel), np.log(rates), settings))


def middle(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """At most `SIDE` pixels to a side."""
    top, left = (max(side - SIDE, 0) // 2 for side in image.shape)
    return image[top : top + SIDE, left : left + SIDE]


def shown(image: NDArray[np.float32], low: float, high: float) -> bytes:
    """A PNG of decibels, black at `low` and white at `high`."""
    unit = np.nan_to_num((image - low) / (high - low)).clip(0, 1)
    content = io.BytesIO()
    Image.fromarray(np.rint(255 * unit).astype(np.uint8)).save(content, "png", optimize=True)
    return content.getvalue()


def one_of_each_place(scenes: Sequence[Scene], most: int) -> list[Scene]:
    """The first scene of each place, of the first places."""
    first: Mapping[str, Scene] = {scene.place: scene for scene in reversed(scenes)}
    wanted = set(map(id, first.values()))
    return [scene for scene in scenes if id(scene) in wanted][:most]
