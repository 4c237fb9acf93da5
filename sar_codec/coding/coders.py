"""The two ways in which the pixels of a tile are coded: by a network, and to a maximum error."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sar_codec.coding import bounded
from sar_codec.coding.about import Header
from sar_codec.coding.cells import Cells
from sar_codec.coding.layout import crc32c
from sar_codec.coding.lossy import Encoded, Network
from sar_codec.coding.lost import Kept, kept_power
from sar_codec.coding.parts import Method, Part
from sar_codec.coding.pixels import filled, pack_exceptions
from sar_codec.coding.tiling import Window
from sar_codec.models.interlaced import Interlaced

_GAINS_SHARE = 0.01  # of a tile's bytes, that finer gains may take more


class Begun(NamedTuple):
    """A tile whose latents are coded.

    Attributes:
        pixels: as they are stored, `(h, w)`.
        decibels: NaN where pixels have none.
        encoded: None if none has.
    """

    pixels: NDArray[Any]
    decibels: NDArray[np.float32]
    encoded: Encoded | None


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
        return self.network.encoding_margin

    @property
    def reach(self) -> int:
        return self.network.decoding_margin if self.keeps_power else 0

    def begin(
        self,
        header: Header,
        band: int,
        pixels: NDArray[Any],
        valid: NDArray[np.bool_],
        tile: Window,
    ) -> tuple[Begun, Tensor | None]:
        decibels = header.stored(band).to_decibels(pixels)
        decibels[~valid] = np.nan
        whole = Window(0, 0, *decibels.shape)
        inner = tile.within(whole)
        encoded = None
        # Of pixels beside a tile in which there is nothing, its latents may tell a part.
        if np.isfinite(decibels[tile.grown(self.network.overlap, *whole[2:]).within(whole)]).any():
            encoded = self.encoded(decibels, tile, header.about.shift_db[band])
        # Copies, as what is around the tile is not needed any more.
        begun = Begun(pixels[inner].copy(), decibels[inner].copy(), encoded)
        return begun, encoded and encoded.latents

    def finish(
        self,
        header: Header,
        band: int,
        tile: int,
        own: Begun,
        around: Mapping[int, Tensor | None],
    ) -> tuple[Part, int]:
        tiling, is_coded = header.tiling, np.isfinite(own.decibels)
        if own.encoded is None:
            return Part(Method.NOTHING, pack_exceptions(own.pixels, is_coded), b"", b""), 0
        data, check, _ = own.encoded
        gains = b""
        if self.keeps_power:
            kept = self.kept(
                own.decibels,
                tiling.window(tile),
                (tiling.height, tiling.width),
                {tiling.window(number): latents for number, latents in around.items()},
                len(data),
                header.about.shift_db[band],
            )
            gains = kept.gains
            is_coded &= ~kept.are_lost
        return Part(Method.NETWORK, pack_exceptions(own.pixels, is_coded), gains, data), check

    def encoded(self, decibels: NDArray[np.float32], tile: Window, shift_db: float) -> Encoded:
        """The latents of a tile, where `decibels` has it; NaN is what need not be coded."""
        shifted = self.network.with_nothing(decibels + np.float32(shift_db))
        return self.network.encode(filled(shifted), tile, self.quality)

    def kept(
        self,
        decibels: NDArray[np.float32],
        window: Window,
        shape: tuple[int, int],
        around: Mapping[Window, Tensor | None],
        size: int,
        shift_db: float,
    ) -> Kept:
        """What keeps the power of a tile.

        Args:
            decibels: of the tile, NaN where they do not count.
            window: that it covers.
            shape: height and width of the image.
            around: latents of it and of what is within `reach`.
            size: of its own, in bytes.
            shift_db: that was added before.
        """
        found = self.network.window(window, shape, around.items(), self.quality)
        found -= np.float32(shift_db)
        return kept_power(decibels, found, _GAINS_SHARE * size)


@dataclass(frozen=True)
class BoundedCoder:
    """Codes tiles such that no valid pixel is off by more than a maximum error.

    Attributes:
        model: that predicts pixels by those around.
        cells: of the file's type of pixels.
    """

    model: Interlaced
    cells: Cells

    margin = reach = 0

    def begin(
        self,
        header: Header,
        band: int,
        pixels: NDArray[Any],
        valid: NDArray[np.bool_],
        tile: Window,
    ) -> tuple[tuple[Part, int], None]:
        stored = header.stored(band)
        is_coded = valid & np.isfinite(stored.to_decibels(pixels))
        exceptions = pack_exceptions(pixels, is_coded)
        if not is_coded.any():
            return (Part(Method.NOTHING, exceptions, b"", b""), 0), None
        numbers = self.cells.to_numbers(pixels, is_coded)
        data, decoded = bounded.encode(numbers, is_coded, self.cells, self.model)
        part = Part(method_of(self.cells), exceptions, b"", data)
        return (part, numbers_check(decoded, is_coded)), None

    def finish(
        self,
        header: Header,
        band: int,
        tile: int,
        own: tuple[Part, int],
        around: Mapping[int, None],
    ) -> tuple[Part, int]:
        return own


def method_of(cells: Cells) -> Method:
    """How pixels are coded within a maximum error."""
    return Method.NEAR if cells.is_of_near_integers else Method.BOUNDED


def numbers_check(numbers: NDArray[np.int64], is_coded: NDArray[np.bool_]) -> int:
    """CRC32C of numbers, as little-endian integers of 32 bits, without those that are not coded."""
    return crc32c(np.where(is_coded, numbers, 0).astype("<i4").tobytes())
