"""The two ways in which the pixels of a tile are coded: by a network, and to a maximum error."""

from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding import bounded
from sar_codec.coding.about import Header
from sar_codec.coding.cells import Cells
from sar_codec.coding.gains import BLOCK
from sar_codec.coding.layout import crc32c
from sar_codec.coding.lossy import Encoded, Network
from sar_codec.coding.lost import lost
from sar_codec.coding.parts import Method, Part
from sar_codec.coding.pixels import filled, pack_exceptions
from sar_codec.coding.power import Gains, gains_of
from sar_codec.coding.tiling import Window
from sar_codec.models.interlaced import Interlaced

_GAINS_SHARE = 0.01  # of a tile's bytes, that finer gains may take more
# Pixels of a block whose power is lost, that are kept as they are, until it is right: at first, and
# so on; then all of them.
_LOST = 1, 4, 16, 64, 256


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
        coded, gains = self._coded(decibels, tile, header.about.shift_db[band])
        is_coded = np.isfinite(decibels[inner])
        exceptions = pack_exceptions(pixels[inner], is_coded)
        if coded is None:
            return Part(Method.NOTHING, exceptions, b"", b""), 0
        return Part(Method.NETWORK, exceptions, gains, coded.data), coded.check

    def coded(self, decibels: NDArray[np.float32], tile: Window, shift_db: float) -> Encoded:
        """The latents of a tile, where `decibels` has it; NaN is what need not be coded."""
        shifted = filled(decibels + np.float32(shift_db))
        return self.network.encode(shifted, tile, self.quality)

    def gains(
        self, coded: Encoded, decibels: NDArray[np.float32], tile: Window, shift_db: float
    ) -> Gains:
        """Gains that keep the power of what was `coded`."""
        wanted, found = self._before_gains(coded, decibels, tile, shift_db)
        return gains_of(wanted, found, _GAINS_SHARE * len(coded.data))

    def _coded(
        self, decibels: NDArray[np.float32], tile: Window, shift_db: float
    ) -> tuple[Encoded | None, bytes]:
        """Latents, None if there is nothing to code, and gains; what is lost becomes NaN."""
        inside = decibels[tile.within(Window(0, 0, *decibels.shape))]
        for count in chain(_LOST, repeat(BLOCK**2)):
            if not np.isfinite(inside).any():
                break
            coded = self.coded(decibels, tile, shift_db)
            if not self.keeps_power:
                return coded, b""
            gains = self.gains(coded, decibels, tile, shift_db)
            if gains.are_right and count == _LOST[0]:
                return coded, gains.data
            before = self._before_gains(coded, decibels, tile, shift_db)
            are_lost = lost(*before, gains.data, count)
            if not are_lost.any():
                return coded, gains.data
            inside[are_lost] = np.nan
        return None, b""

    def _before_gains(
        self, coded: Encoded, decibels: NDArray[np.float32], tile: Window, shift_db: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A tile's decibels, and those that the decoder has before gains."""
        inner = tile.within(Window(0, 0, *decibels.shape))
        found = self.network.image(coded.around, self.quality)[inner]
        found -= np.float32(shift_db)
        return decibels[inner], found


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
