"""Codecs whose setting is the decibels that no pixel is off by more than."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.cells import Cells
from sar_codec.coding.rulers import STEPS_A_DB, EvenRuler
from sar_codec.evaluation import tiff
from sar_codec.evaluation.codecs import Mode
from sar_codec.evaluation.integers import LosslessCoder
from sar_codec.evaluation.scenes import Scene

BOUNDS_DB = (2.0, 1.0, 0.5, 0.25)
"""From the lowest rate to the highest."""

Decibels = NDArray[np.float32]
_HEADER = struct.Struct("<di")


@dataclass(frozen=True)
class FloatCodec:
    """A codec of floating point numbers, which has decibels as they are.

    Which pixels are valid would have to be sent besides, and is not counted.

    Attributes:
        name: in tables.
        about: the library, its version and its options.
        encode_floats: of an image `(height, width)`, float32, and a bound, makes bytes.
        decode_floats: of bytes, height and width, makes the image.
        settings: bounds in dB.
        mode: along what these go.
    """

    name: str
    about: str
    encode_floats: Callable[[Decibels, float], bytes]
    decode_floats: Callable[[bytes, int, int], Decibels]
    settings: tuple[float, ...] = BOUNDS_DB
    mode: Mode = "bounded"

    def encode(self, scene: Scene, setting: float) -> bytes:
        return self.encode_floats(scene.filled, setting)

    def decode(self, data: bytes, scene: Scene) -> Decibels:
        return self.decode_floats(data, *scene.decibels.shape)


def quantised(coder: LosslessCoder) -> FloatCodec:
    """Decibels rounded to multiples of twice the bound, and their numbers coded without loss.

    Steps are as wide as in our files, a hair below twice the bound. Counted are twelve bytes
    besides: the bound, and the least of the numbers.
    """

    def encode(decibels: Decibels, bound_db: float) -> bytes:
        numbers = np.round(decibels.astype(np.float64) / _step_db(bound_db)).astype(np.int64)
        lowest = int(numbers.min())
        return _HEADER.pack(bound_db, lowest) + coder.encode((numbers - lowest).astype(np.uint16))

    def decode(data: bytes, height: int, width: int) -> Decibels:
        bound_db, lowest = _HEADER.unpack_from(data)
        numbers = coder.decode(data[_HEADER.size :], height, width).astype(np.int64) + lowest
        return (numbers * _step_db(bound_db)).astype(np.float32)

    about = f"dB quantised in steps of twice the bound, {coder.about}"
    return FloatCodec(f"quantised in dB, {coder.name}", about, encode, decode)


def sz3() -> FloatCodec:
    """By SZ3 with its own choice of predictor, by one thread.

    Raises:
        ImportError: imagecodecs is not installed, or built without it.
    """
    import imagecodecs

    if not imagecodecs.SZ3.available:
        raise ImportError("this version of imagecodecs lacks SZ3")

    def encode(decibels: Decibels, bound_db: float) -> bytes:
        return bytes(imagecodecs.sz3_encode(decibels, mode="abs", abs=bound_db))

    def decode(data: bytes, height: int, width: int) -> Decibels:
        return imagecodecs.sz3_decode(data, (height, width), np.float32)

    about = f"{imagecodecs.sz3_version()}, float32, absolute error"
    return FloatCodec("SZ3", about, encode, decode)


def zfp(threads: int) -> FloatCodec:
    """By zfp to a fixed accuracy, of which it takes the worst case, so that errors are far smaller.

    Raises:
        ImportError: imagecodecs is not installed, or built without it.
    """
    import imagecodecs

    if not imagecodecs.ZFP.available:
        raise ImportError("this version of imagecodecs lacks ZFP")

    def encode(decibels: Decibels, bound_db: float) -> bytes:
        options: dict[str, Any] = {"level": bound_db}  # for which the hint wants an integer
        options["mode"] = imagecodecs.ZFP.MODE.FIXED_ACCURACY
        return bytes(imagecodecs.zfp_encode(decibels, numthreads=threads, **options))

    def decode(data: bytes, height: int, width: int) -> Decibels:
        return imagecodecs.zfp_decode(data, numthreads=threads).reshape(height, width)

    about = f"{imagecodecs.zfp_version()}, float32, fixed accuracy"
    return FloatCodec("ZFP", about, encode, decode)


def lerc_zstd() -> FloatCodec:
    """By LERC and then Zstandard at level 22, in a GeoTIFF.

    Raises:
        ImportError: GDAL was built without it.
    """
    tiff.require("LERC_ZSTD")
    options: dict[str, float] = {"zstd_level": 22}

    def encode(decibels: Decibels, bound_db: float) -> bytes:
        return tiff.packed(decibels, "LERC_ZSTD", {**options, "max_z_error": bound_db})

    def decode(data: bytes, height: int, width: int) -> Decibels:
        return tiff.unpacked(data)

    about = f"{tiff.about('LERC_ZSTD', options)}, MAX_Z_ERROR=the bound"
    return FloatCodec("GeoTIFF, LERC_ZSTD", about, encode, decode)


def _step_db(bound_db: float) -> float:
    ruler = Cells("float32", "db", bound_db).ruler
    assert isinstance(ruler, EvenRuler)
    return ruler.step / STEPS_A_DB
