"""What is compared: codecs that take decibels, and those that take integers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from sar_codec.evaluation.scenes import Scene

Mode = Literal["rate", "bounded", "lossless"]


class Codec(Protocol):
    """A codec and the settings along which its rate goes.

    Attributes:
        name: in tables.
        about: the library, its version and its options, in a line.
        settings: from the lowest rate to the highest.
        mode: what the settings are: "rate", a quality or a quantiser; "bounded", the largest error
            in dB that a pixel may have, so that they fall; "lossless", nothing, a single 0.
    """

    @property
    def name(self) -> str: ...
    @property
    def about(self) -> str: ...
    @property
    def settings(self) -> tuple[float, ...]: ...
    @property
    def mode(self) -> Mode: ...
    def encode(self, scene: Scene, setting: float) -> bytes: ...
    def decode(self, data: bytes, scene: Scene) -> NDArray[np.float32]:
        """Decibels `(height, width)`; of the scene it takes no more than shape and window."""
        ...


@dataclass(frozen=True)
class IntegerCodec:
    """A codec of pictures, which has decibels mapped to integers over the scene's window.

    That window, and which pixels are valid, would have to be sent besides; neither is counted.

    Attributes:
        name: in tables.
        about: the library, its version and its options.
        settings: from the lowest rate to the highest.
        bits: of the integers.
        encode_integers: of an image `(height, width)`, uint16, and a setting, makes bytes.
        decode_integers: of bytes, height and width, makes the image.
        mode: what the settings are.
    """

    name: str
    about: str
    settings: tuple[float, ...]
    bits: int
    encode_integers: Callable[[NDArray[np.uint16], float], bytes]
    decode_integers: Callable[[bytes, int, int], NDArray[np.uint16]]
    mode: Mode = "rate"

    def encode(self, scene: Scene, setting: float) -> bytes:
        return self.encode_integers(scene.to_integers(self.bits), setting)

    def decode(self, data: bytes, scene: Scene) -> NDArray[np.float32]:
        values = self.decode_integers(data, *scene.decibels.shape)
        return scene.from_integers(values, self.bits)
