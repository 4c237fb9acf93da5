"""Codecs without loss, of the integers that a scene would be as a Sentinel-1 product."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sar_codec.evaluation.codecs import Mode
from sar_codec.evaluation.integers import Integers, LosslessCoder
from sar_codec.evaluation.scenes import Scene

CALIBRATION_DB = 55.6
"""Decibels of the square of the digital number that is 0 dB of sigma nought."""
ERRORS = "of amplitudes as 16 bit integers, so that errors are of rounding to these"


def to_digital_numbers(scene: Scene) -> Integers:
    """Amplitudes as integers `(height, width)`, uint16, 0 where the scene is invalid.

    A Sentinel-1 GRD product divides squares of these by those of a calibration, which goes by
    range and is near 602.6, 55.6 dB, for sigma nought of interferometric wide swaths; here it is
    that everywhere.
    """
    decibels = np.where(scene.valid, scene.decibels, 0).astype(np.float64)
    amplitude = 10 ** ((decibels + CALIBRATION_DB) / 20)
    # What is valid stays so: 0 is -inf dB.
    numbers = np.rint(amplitude).clip(1, 2**16 - 1)
    return np.where(scene.valid, numbers, 0).astype(np.uint16)


def from_digital_numbers(numbers: Integers) -> NDArray[np.float32]:
    """Decibels `(height, width)`, NaN where a number is 0; off by what rounding to these loses."""
    amplitude = np.where(numbers, numbers, np.nan).astype(np.float64)
    return (20 * np.log10(amplitude) - CALIBRATION_DB).astype(np.float32)


@dataclass(frozen=True)
class LosslessCodec:
    """A codec of digital numbers. Counted is all of the file: 0 says which pixels are invalid.

    Attributes:
        coder: of integers.
        settings: the only one, which says nothing.
        mode: that there is none to choose.
    """

    coder: LosslessCoder
    settings: tuple[float, ...] = (0.0,)
    mode: Mode = "lossless"

    @property
    def name(self) -> str:
        return f"{self.coder.name}, lossless"

    @property
    def about(self) -> str:
        return f"{self.coder.about}; {ERRORS}"

    def encode(self, scene: Scene, setting: float) -> bytes:
        return self.coder.encode(to_digital_numbers(scene))

    def decode(self, data: bytes, scene: Scene) -> NDArray[np.float32]:
        return from_digital_numbers(self.coder.decode(data, *scene.decibels.shape))
