"""JPEG 2000 and JPEG XL, by the package imagecodecs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sar_codec.evaluation.codecs import IntegerCodec


def jpeg2000(threads: int) -> IntegerCodec:
    """By OpenJPEG, 9/7 wavelets, rates by the quality (dB) that it is to reach.

    Raises:
        ImportError: imagecodecs is not installed.
    """
    import imagecodecs

    def encode(image: NDArray[np.uint16], quality_db: float) -> bytes:
        # A bare codestream: the boxes of .jp2 would be 85 bytes more.
        options: dict[str, Any] = {"codecformat": "j2k", "reversible": False, "mct": False}
        options["level"] = quality_db
        return bytes(imagecodecs.jpeg2k_encode(image, numthreads=threads, **options))

    def decode(data: bytes, height: int, width: int) -> NDArray[np.uint16]:
        return imagecodecs.jpeg2k_decode(data, numthreads=threads).reshape(height, width)

    about = f"{imagecodecs.jpeg2k_version()}, 16 bit, one tile, 9/7 wavelet, fixed quality"
    settings = (23, 24, 25, 26, 28, 30, 32.5, 35, 38, 41, 44, 48, 53)
    return IntegerCodec("JPEG 2000", about, settings, 16, encode, decode)


def jpeg_xl(threads: int) -> IntegerCodec:
    """By libjxl, effort 7, rates by its distance.

    Raises:
        ImportError: imagecodecs is not installed.
    """
    import imagecodecs

    def encode(image: NDArray[np.uint16], negative_distance: float) -> bytes:
        options: dict[str, Any] = {"effort": 7, "lossless": False, "usecontainer": False}
        options["distance"] = -negative_distance
        return bytes(imagecodecs.jpegxl_encode(image, numthreads=threads, **options))

    def decode(data: bytes, height: int, width: int) -> NDArray[np.uint16]:
        return imagecodecs.jpegxl_decode(data, numthreads=threads).reshape(height, width)

    about = f"{imagecodecs.jpegxl_version()}, 16 bit, effort 7"
    # Negative, so that settings grow with the rate.
    settings = (-25, -15, -10, -6, -4, -2.5, -1.5, -1, -0.5, -0.2, -0.1)
    return IntegerCodec("JPEG XL", about, settings, 16, encode, decode)
