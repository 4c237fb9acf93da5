"""The two ways in which the pixels of a tile are coded: by a network, and to a maximum error."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding import bounded
from sar_codec.coding.about import Header
from sar_codec.coding.cells import Cells
from sar_codec.coding.layout import crc32c
from sar_codec.coding.lossy import Encoded, Network
from sar_codec.coding.parts import Method, Part
from sar_codec.coding.pixels import filled, pack_exceptions
from sar_codec.coding.power import pack_gains
from sar_codec.coding.tiling import Window
from sar_codec.models.interlaced import Interlaced

_GAINS_SHARE = 0.01  # of a tile's bytes, that finer gains may take more


@dataclass(frozen=True)
class QualityCoder:
    """Codes tiles by a network, at a quality.

    Attributes:
        network: a trained codec.
        quality: from 1, the smallest files, to 8.
        keeps_power: whether gains keep blocks' mean power; else the error in dB is least.
    """

    network: Network
    quality: float
    keeps_power: bool = True

    @property
    def margin(self) -> int:
        # Gains depend on decoded pixels, and these on more latents around the tile, but so little
        # that it is lost in the steps of gains.
        return self.network.encoding_margin

    def encode(
        self,
        header: Header,
        band: int,
        pixels: NDArray[Any],
        valid: NDArray[np.bool_],
        tile: Window,
    ) -> tuple[Part, int]:
        decibels = header.stored(band).to_decibels(pixels)
        decibels[~valid] = np.nan
        inner = tile.within(Window(0, 0, *decibels.shape))
        is_coded = np.isfinite(decibels[inner])
        exceptions = pack_exceptions(pixels[inner], is_coded)
        if not is_coded.any():
            return Part(Method.NOTHING, exceptions, b"", b""), 0
        shift_db = header.about.shift_db[band]
        coded = self.coded(decibels, tile, shift_db)
        gains = self.gains(coded, decibels, tile, shift_db) if self.keeps_power else b""
        return Part(Method.NETWORK, exceptions, gains, coded.data), coded.check

    def coded(self, decibels: NDArray[np.float32], tile: Window, shift_db: float) -> Encoded:
        """The latents of a tile, where `decibels` has it; NaN is what need not be coded."""
        shifted = filled(decibels + np.float32(shift_db))
        return self.network.encode(shifted, tile, self.quality)

    def gains(
        self, coded: Encoded, decibels: NDArray[np.float32], tile: Window, shift_db: float
    ) -> bytes:
        """Gains that keep the power of what was `coded`."""
        inner = tile.within(Window(0, 0, *decibels.shape))
        found = self.network.image(coded.around, self.quality)[inner]
        found -= np.float32(shift_db)
        return pack_gains(decibels[inner], found, _GAINS_SHARE * len(coded.data))


@dataclass(frozen=True)
class BoundedCoder:
    """Codes tiles such that no valid pixel is off by more than a maximum error.

    Attributes:
        model: that predicts pixels by those around.
        cells: of the file's type of pixels.
    """

    model: Interlaced
    cells: Cells

    @property
    def margin(self) -> int:
        return 0

    def encode(
        self,
        header: Header,
        band: int,
        pixels: NDArray[Any],
        valid: NDArray[np.bool_],
        tile: Window,
    ) -> tuple[Part, int]:
        stored = header.stored(band)
        is_coded = valid & np.isfinite(stored.to_decibels(pixels))
        exceptions = pack_exceptions(pixels, is_coded)
        if not is_coded.any():
            return Part(Method.NOTHING, exceptions, b"", b""), 0
        numbers = self.cells.to_numbers(pixels, is_coded)
        data, decoded = bounded.encode(numbers, is_coded, self.cells, self.model)
        part = Part(method_of(self.cells), exceptions, b"", data)
        return part, numbers_check(decoded, is_coded)


def method_of(cells: Cells) -> Method:
    """How pixels are coded within a maximum error."""
    return Method.NEAR if cells.is_of_near_integers else Method.BOUNDED


def numbers_check(numbers: NDArray[np.int64], is_coded: NDArray[np.bool_]) -> int:
    """CRC32C of numbers, as little-endian integers of 32 bits, without those that are not coded."""
    return crc32c(np.where(is_coded, numbers, 0).astype("<i4").tobytes())
