"""Tiles of decibels to bytes and back, by a codec network."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sar_codec.coding.layout import crc32c
from sar_codec.coding.parts import Method
from sar_codec.coding.tiling import Window
from sar_codec.data.scaling import from_unit, to_unit
from sar_codec.entropy.trellis import LONG, SHORT
from sar_codec.models.autoencoder import BLOCK
from sar_codec.models.codec import Codec, places_of
from sar_codec.models.lapping import HALF
from sar_codec.precision import has_native_bf16


class Encoded(NamedTuple):
    """A tile's latents.

    Attributes:
        data: as bytes.
        check: of them.
        latents: as the decoder will have them, `(1, latents, h, w)`, float32.
    """

    data: bytes
    check: int
    latents: Tensor


@dataclass(frozen=True)
class Network:
    """A trained codec and what it needs to be told.

    Attributes:
        model: in evaluation.
        id: the SHA-256 of its weights, 64 hex digits.
        vmin: dB that it knows as 0.
        vmax: dB that it knows as 1.
    """

    model: Codec
    id: str
    vmin: float
    vmax: float

    @property
    def encoding_margin(self) -> int:
        """How many pixels around a tile tell about its latents."""
        return BLOCK * self.model.analysis.reach

    @property
    def decoding_margin(self) -> int:
        """How many pixels around a tile have latents that tell about its pixels."""
        return BLOCK * self.model.synthesis.reach

    @property
    def overlap(self) -> int:
        """How many pixels beside a tile are lost without its latents."""
        return HALF if self.model.analysis.across is not None else 0

    def with_nothing(self, decibels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Decibels, NaN where there are none, with a level where a block of 16x16 has none.

        Of pixels beside such a block a part is told by its latents, if blocks overlap. So it has to
        be the same for the tiles on both sides, of which neither sees all that is around it.

        Args:
            decibels: of blocks, `(h, w)`; the last ones need not be whole.
        """
        if not self.overlap:
            return decibels
        height, width = decibels.shape
        rows, columns = places_of(height, width)
        is_known = np.zeros((BLOCK * rows, BLOCK * columns), np.bool_)
        is_known[:height, :width] = np.isfinite(decibels)
        counts = is_known.reshape(rows, BLOCK, columns, BLOCK).sum((1, 3))
        has_some = counts > 0
        if has_some.all():
            return decibels
        has_some = has_some.repeat(BLOCK, 0).repeat(BLOCK, 1)[:height, :width]
        return np.where(has_some, decibels, np.float32((self.vmin + self.vmax) / 2))

    def encode(self, decibels: NDArray[np.float32], tile: Window, quality: float) -> Encoded:
        """Codes a tile.

        Args:
            decibels: of the tile and what is around it, `(h, w)`, finite; above and to the left,
                a multiple of 16 pixels of it, at least `encoding_margin`, or none.
            tile: where in that.
            quality: 1 to 8.
        """
        aligned = [side + -side % self.model.alignment for side in tile[2:]]
        ends = [begin + side for begin, side in zip(tile[:2], aligned, strict=True)]
        x = torch.from_numpy(to_unit(_filled_up(decibels, ends), self.vmin, self.vmax))
        rows, columns = (
            slice(begin // BLOCK, end // BLOCK) for begin, end in zip(tile[:2], ends, strict=True)
        )
        with fast():
            latents = self.model.latents(x[None, None], quality, places_of(*decibels.shape))
            data, y_hat = self.model.compress_latents(
                latents[..., rows, columns], quality, places_of(*tile[2:])
            )
        return Encoded(data, check_of(y_hat), y_hat.float())

    def decode(
        self, data: bytes, method: Method, height: int, width: int, quality: float
    ) -> tuple[Tensor, int]:
        """The latents of a tile, exact, `(1, latents, h, w)`, float32; and their check.

        Raises:
            UserError: the data are no tile of that size.
        """
        y_hat = self.model.decompress_latents(
            data,
            quality,
            height,
            width,
            codes_padding=method == Method.NETWORK_PADDED,
            trellis=LONG if method == Method.NETWORK else SHORT,
        )
        return y_hat.float(), check_of(y_hat)

    def window(
        self,
        window: Window,
        shape: tuple[int, int],
        tiles: Iterable[tuple[Window, Tensor | None]],
        quality: float,
    ) -> NDArray[np.float32]:
        """The decibels of a window of an image.

        Args:
            window: which.
            shape: height and width of the image.
            tiles: that hold pixels of it or are within `decoding_margin`, and the latents of each,
                None where there are none or they are damaged.
            quality: 1 to 8.
        """
        needed = window.grown(self.decoding_margin, *shape)
        # Even, as networks sum up 32x32 pixels at a time: so windows are equal to parts of the
        # whole but for some pixels' last bits.
        top, left = (each // (2 * BLOCK) * 2 for each in needed[:2])
        bottom = -(-(needed.row + needed.height) // BLOCK)
        right = -(-(needed.column + needed.width) // BLOCK)
        wanted = Window(top, left, bottom - top, right - left)
        channels = self.model.gains.log_gain.shape[1]
        latents = torch.zeros(1, channels, *wanted[2:])
        for tile, of_tile in tiles:
            if of_tile is None:
                continue  # nothing that tells of pixels which are still wanted: zeros
            has = Window(tile.row // BLOCK, tile.column // BLOCK, *of_tile.shape[2:])
            shared = has.shared_with(wanted)
            rows, columns = shared.within(wanted)
            latents[:, :, rows, columns] = of_tile[:, :, *shared.within(has)]
        image = self.image(latents, quality)
        return image[window.within(Window(BLOCK * top, BLOCK * left, *image.shape))]

    def image(self, latents: Tensor, quality: float) -> NDArray[np.float32]:
        """The decibels of latents `(1, latents, h, w)`: `(16 h, 16 w)`.

        Machines differ by some 0.003 dB (root mean square), as some compute with bf16.
        """
        with fast():
            x = self.model.image(latents, quality)[0, 0].float().numpy()
        return from_unit(x, self.vmin, self.vmax)


def _filled_up(decibels: NDArray[np.float32], ends: list[int]) -> NDArray[np.float32]:
    """An image with more rows and columns below and to the right.

    What belongs to blocks of 16x16 pixels that hold some of the image is coded, and takes the
    fewest bits where it repeats the last row and column. What is beyond tells of what networks see
    around these and of hyper-latents alone: there the image is mirrored.
    """
    sides = decibels.shape
    begun = [min(end, side + -side % BLOCK) for end, side in zip(ends, sides, strict=True)]
    return _up_to(ends, _up_to(begun, decibels, "edge"), "symmetric")


def _up_to(
    ends: list[int], decibels: NDArray[np.float32], mode: Literal["edge", "symmetric"]
) -> NDArray[np.float32]:
    """An image whose sides reach some length; the same one, not copied, if they do already."""
    more = [(0, max(end - side, 0)) for end, side in zip(ends, decibels.shape, strict=True)]
    return np.pad(decibels, more, mode) if any(end for _, end in more) else decibels


def fast() -> AbstractContextManager[None]:
    """A context in which networks compute with bf16, where the processor has that."""
    return torch.autocast("cpu", torch.bfloat16, enabled=has_native_bf16(torch.device("cpu")))


def check_of(y_hat: Tensor) -> int:
    """CRC32C of exact latents, in their order, as little-endian integers of 32 bits."""
    least, most = -(2**31), 2**31 - 1
    if any(not least <= float(end) <= most for end in y_hat.aminmax()):
        y_hat = y_hat.clamp(least, most)
    return crc32c(y_hat.int().numpy().astype("<i4", copy=False).tobytes())
