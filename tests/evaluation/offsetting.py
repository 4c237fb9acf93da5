"""A codec whose rate and error are known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sar_codec.evaluation.codecs import Mode
from sar_codec.evaluation.scenes import Scene


@dataclass(frozen=True)
class Offsetting:
    """Adds 8 / setting dB, and takes setting squared bytes times a factor."""

    name: str
    factor: float
    settings: tuple[float, ...] = (8, 16, 32, 64)
    about: str = "a test"
    mode: Mode = "rate"

    def encode(self, scene: Scene, setting: float) -> bytes:
        return bytes([round(setting)]) * round(self.factor * setting**2)

    def decode(self, data: bytes, scene: Scene) -> NDArray[np.float32]:
        return scene.decibels + np.float32(8 / data[0])
