"""What codes images of integers without loss: the last step of several that are compared."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sar_codec.evaluation import tiff

Integers = NDArray[np.uint16]


@dataclass(frozen=True)
class LosslessCoder:
    """A way to code integers without loss.

    Attributes:
        name: of the format.
        about: the library, its version and its options.
        encode: of an image `(height, width)`, uint16, makes bytes.
        decode: of bytes, height and width, makes the image.
    """

    name: str
    about: str
    encode: Callable[[Integers], bytes]
    decode: Callable[[bytes, int, int], Integers]


def jpeg_xl(threads: int) -> LosslessCoder:
    """By libjxl, effort 7.

    Raises:
        ImportError: imagecodecs is not installed.
    """
    import imagecodecs

    def encode(image: Integers) -> bytes:
        options: dict[str, Any] = {"effort": 7, "lossless": True, "usecontainer": False}
        return bytes(imagecodecs.jpegxl_encode(_narrowed(image), numthreads=threads, **options))

    def decode(data: bytes, height: int, width: int) -> Integers:
        image = imagecodecs.jpegxl_decode(data, numthreads=threads)
        return image.reshape(height, width).astype(np.uint16)

    about = f"{imagecodecs.jpegxl_version()}, lossless, effort 7"
    return LosslessCoder("JPEG XL", about, encode, decode)


def jpeg2000(threads: int) -> LosslessCoder:
    """By OpenJPEG, reversible 5/3 wavelets.

    Raises:
        ImportError: imagecodecs is not installed.
    """
    import imagecodecs

    def encode(image: Integers) -> bytes:
        options: dict[str, Any] = {"codecformat": "j2k", "reversible": True, "mct": False}
        return bytes(imagecodecs.jpeg2k_encode(_narrowed(image), 0, numthreads=threads, **options))

    def decode(data: bytes, height: int, width: int) -> Integers:
        image = imagecodecs.jpeg2k_decode(data, numthreads=threads)
        return image.reshape(height, width).astype(np.uint16)

    about = f"{imagecodecs.jpeg2k_version()}, one tile, reversible 5/3 wavelet"
    return LosslessCoder("JPEG 2000", about, encode, decode)


def jpeg_ls() -> LosslessCoder:
    """By CharLS, without loss, by one thread.

    Raises:
        ImportError: imagecodecs is not installed, or built without it.
    """
    import imagecodecs

    if not imagecodecs.JPEGLS.available:
        raise ImportError("this version of imagecodecs lacks JPEG-LS")

    def encode(image: Integers) -> bytes:
        return bytes(imagecodecs.jpegls_encode(_narrowed(image)))

    def decode(data: bytes, height: int, width: int) -> Integers:
        return imagecodecs.jpegls_decode(data).reshape(height, width).astype(np.uint16)

    about = f"{imagecodecs.jpegls_version()}, lossless"
    return LosslessCoder("JPEG-LS", about, encode, decode)


def deflate() -> LosslessCoder:
    """A GeoTIFF of horizontal differences, by zlib at level 9.

    Raises:
        ImportError: GDAL was built without it.
    """
    return _geotiff("DEFLATE", {"predictor": 2, "zlevel": 9})


def zstd() -> LosslessCoder:
    """A GeoTIFF of horizontal differences, by Zstandard at level 22.

    Raises:
        ImportError: GDAL was built without it.
    """
    return _geotiff("ZSTD", {"predictor": 2, "zstd_level": 22})


def _geotiff(compression: str, options: dict[str, int]) -> LosslessCoder:
    tiff.require(compression)
    return LosslessCoder(
        f"GeoTIFF, {compression}",
        tiff.about(compression, options),
        lambda image: tiff.packed(image, compression, options),
        lambda data, height, width: tiff.unpacked(data).astype(np.uint16),
    )


def _narrowed(image: Integers) -> NDArray[np.uint8] | Integers:
    """As bytes where these hold it, which JPEG-LS, whose contexts go by the type, is better for."""
    return image.astype(np.uint8) if image.max(initial=0) < 256 else image
