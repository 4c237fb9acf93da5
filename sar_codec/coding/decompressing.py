"""Pixels from a .sarc file, of any window, reading no more tiles than it needs."""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sar_codec.coding import bounded
from sar_codec.coding.about import Header, open_header
from sar_codec.coding.cells import Cells
from sar_codec.coding.coders import method_of, numbers_check
from sar_codec.coding.container import Reader
from sar_codec.coding.emphasis import AROUND
from sar_codec.coding.gains import emphasis, emphasised, gain_db
from sar_codec.coding.lossy import Network
from sar_codec.coding.parts import OF_NETWORKS, Method, Part, unpack_validity
from sar_codec.coding.pixels import unpack_exceptions
from sar_codec.coding.threads import cores, one_thread_each
from sar_codec.coding.tiling import Window
from sar_codec.errors import UserError
from sar_codec.models.interlaced import Interlaced

MOST_PIXELS = 10**9
_MOST_HELD = 512  # parts of tiles; three rows of images up to 87,000 pixels wide
_WIDEST = 2**15  # columns that are read at once, however wide the image

# The header's `model` -> the network that has this id.
FindNetwork = Callable[[str], "Network | Bounded"]


class Bounded(NamedTuple):
    """A trained model for a bounded error, and the SHA-256 of its weights."""

    model: Interlaced
    id: str


class _Symbols(NamedTuple):
    """A decoded part of a tile: latents `(1, latents, h, w)`, or numbers `(h, w)`."""

    part: Part
    is_coded: NDArray[np.bool_]
    others: NDArray[Any]
    decoded: Tensor | NDArray[np.int64] | None


class Image:
    """A .sarc file that is open for reading windows; to be used as a context.

    Args:
        path: of the file.
        find: gives the network that the file needs.
        workers: threads that decode; None: one a core.
        most_pixels: of all bands, that the file may have.
        on_damage: is told once of each part of a tile that cannot be decoded, and why; its pixels,
            and what it would have told of those around it, are then nodata, or where there is no
            such value NaN or 0. None: a `UserError` is raised.

    Attributes:
        header: what the file says of its image.

    Raises:
        UserError: it cannot be read, is no .sarc file, is damaged, newer than this program or
            larger than `most_pixels`, or needs another network.
    """

    header: Header

    def __init__(
        self,
        path: str | os.PathLike[str],
        find: FindNetwork,
        workers: int | None = None,
        most_pixels: int = MOST_PIXELS,
        on_damage: Callable[[int, UserError], object] | None = None,
    ) -> None:
        self._path = Path(path)
        self._file = Reader(path)
        try:
            self.header = open_header(self._file, self._path, most_pixels)
            about = self.header.about
            self._network = self._found(find, about.model)
            if isinstance(self._network, Network) != (about.mode == "quality"):
                raise UserError(f"{path}: the model given is not of its kind, {about.mode}")
            if self._network.id != about.model:
                raise UserError(
                    f"{path}: needs the model with the SHA-256 {about.model}, the one given has "
                    f"{self._network.id}; give the one that it was compressed with, --model FILE"
                )
            if about.max_error_db is not None:
                try:
                    self._cells = Cells.of(self.header.stored(0), about.max_error_db)
                except UserError as error:
                    raise UserError(f"{path}: {error}; the file is damaged") from None
        except BaseException:
            self._file.__exit__()
            raise
        self._on_damage = on_damage
        self._pool = ThreadPoolExecutor(workers or cores(), initializer=one_thread_each)
        self._held: OrderedDict[int, _Symbols | None] = OrderedDict()
        self._damaged: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._file.__exit__()

    @property
    def damaged(self) -> int:
        """How many parts of tiles could not be decoded so far."""
        return len(self._damaged)

    def read(self, row: int, column: int, height: int, width: int) -> NDArray[Any]:
        """Pixels of a window, `(bands, height, width)`, without an alpha band.

        Raises:
            UserError: a tile is damaged.
            ValueError: the window is not within the image.
        """
        window, grid = self._within(row, column, height, width), self.header.about.grid
        if grid is None:
            return self._of_tiles(window)
        rows, columns = grid.places(window)
        top, left = int(rows.min()), int(columns.min())
        bottom, right = int(rows.max()) + 1, int(columns.max()) + 1
        on_grid = self._of_tiles(Window(top, left, bottom - top, right - left))
        pixels = on_grid[:, rows - top, columns - left]
        at, decibels = grid.alone_in(window, len(pixels))
        for band, values in enumerate(decibels):
            pixels[band][at] = self.header.stored(band).to_pixels(values)
        return pixels

    def _of_tiles(self, window: Window) -> NDArray[Any]:
        """Pixels of a window of what the tiles are of."""
        tiling, raster = self.header.tiling, self.header.raster
        pixels = np.empty((len(raster.measured), window.height, window.width), raster.dtype)
        tiles, bands = list(tiling.touched(window)), range(len(pixels))
        self._hold([self._number(tile, band) for tile in tiles for band in bands])
        around = sorted({other for tile in tiles for other in self._needed(tile, window)})
        self._hold([self._number(tile, band) for tile in around for band in bands])

        def fill(job: tuple[int, int]) -> None:
            tile, band = job
            shared = tiling.window(tile).shared_with(window)
            pixels[band][shared.within(window)] = self._pixels(tile, band, shared)

        list(self._pool.map(fill, [(tile, band) for tile in tiles for band in bands]))
        return pixels

    def read_validity(
        self, row: int, column: int, height: int, width: int
    ) -> tuple[NDArray[np.bool_] | None, NDArray[Any] | None]:
        """Mask and alpha band of a window, `(height, width)`; None where the raster has none.

        Raises:
            UserError: a tile is damaged.
            ValueError: the window is not within the image.
        """
        raster, tiling = self.header.raster, self.header.tiling
        window = self._within(row, column, height, width)
        mask = np.zeros((height, width), np.bool_) if raster.has_mask else None
        dtype = np.dtype(raster.dtype)
        alpha = np.zeros((height, width), dtype) if raster.alpha is not None else None
        if not self.header.has_validity:
            return mask, alpha
        for tile in tiling.touched(window):
            whole = tiling.window(tile)
            shared = whole.shared_with(window)
            number = self._number(tile, self.header.parts - 1)
            try:
                found = unpack_validity(
                    self._file.tile(number).payload,
                    (whole.height, whole.width),
                    raster.has_mask,
                    None if alpha is None else dtype,
                )
            except UserError as error:
                self._tell(number, error)
                continue
            for target, values in zip((mask, alpha), found, strict=True):
                if target is not None and values is not None:
                    target[shared.within(window)] = values[shared.within(whole)]
        return mask, alpha

    def windows(self, rows: int = 1024) -> Iterator[Window]:
        """Windows that cover the image, from top to bottom; cheap to read in this order."""
        height, width = self.header.raster.height, self.header.raster.width
        for row in range(0, height, rows):
            for column in range(0, width, _WIDEST):
                yield Window(row, column, min(rows, height - row), min(_WIDEST, width - column))

    def _found(self, find: FindNetwork, model: str) -> Network | Bounded:
        try:
            return find(model)
        except UserError as error:
            raise UserError(f"{self._path}: {error}") from None

    def _within(self, *given: int) -> Window:
        raster = self.header.raster
        window, whole = Window(*given), Window(0, 0, raster.height, raster.width)
        if min(window) < 0 or 0 in window[2:] or window.shared_with(whole) != window:
            raise ValueError(f"{window} is not within {whole.height} x {whole.width} pixels")
        return window

    def _number(self, tile: int, part: int) -> int:
        return tile * self.header.parts + part

    def _needed(self, tile: int, window: Window) -> Iterator[int]:
        """Tiles that tell of what a window and a tile, which is held, share."""
        whole = self.header.tiling.window(tile)
        if not isinstance(self._network, Network):
            return iter([tile])
        numbers = range(self._number(tile, 0), self._number(tile + 1, 0))
        held = (self._held.get(number) for number in numbers)
        known = window.shared_with(whole)
        if any(each is not None and _has_emphasis(each.part) for each in held):
            known = _around(known, whole)
        return self.header.tiling.touched(self._with_latents(known))

    def _with_latents(self, window: Window) -> Window:
        """What a window's pixels depend on."""
        assert isinstance(self._network, Network)
        tiling = self.header.tiling
        return window.grown(self._network.decoding_margin, tiling.height, tiling.width)

    def _hold(self, numbers: list[int]) -> None:
        """Decodes parts of tiles, and forgets the oldest ones."""
        missing = [number for number in numbers if number not in self._held]
        for number, symbols in zip(missing, self._pool.map(self._decode, missing), strict=True):
            self._held[number] = symbols
        for number in numbers:
            self._held.move_to_end(number)
        # Three rows of tiles: enough to go through an image from top to bottom.
        three_rows = 3 * self.header.tiling.columns * self.header.parts
        most = max(len(numbers), min(three_rows, _MOST_HELD))
        while len(self._held) > most:
            self._held.popitem(last=False)

    def _decode(self, number: int) -> _Symbols | None:
        """What is stored of a tile of one band; None where it is damaged."""
        tile, band = divmod(number, self.header.parts)
        window, about = self.header.tiling.window(tile), self.header.about
        try:
            payload, check = self._file.tile(number)
            part = Part.unpack(payload)
            is_coded, others = unpack_exceptions(
                part.exceptions, (window.height, window.width), self.header.stored(band).dtype
            )
            decoded: Tensor | NDArray[np.int64] | None = None
            found = 0
            if part.method in OF_NETWORKS and isinstance(self._network, Network):
                assert about.quality is not None
                decoded, found = self._network.decode(
                    part.coded, part.method, *window[2:], about.quality
                )
                if part.gains:
                    gain_db(part.gains, (window.height, window.width))
            elif isinstance(self._network, Bounded) and part.method == method_of(self._cells):
                decoded = bounded.decode(part.coded, is_coded, self._cells, self._network.model)
                found = numbers_check(decoded, is_coded)
            elif part.method == Method.BOUNDED and isinstance(self._network, Bounded):
                raise UserError(
                    "integers in cells that this version does not know; compress them anew"
                )
            elif part.method != Method.NOTHING or is_coded.any():
                raise UserError("a tile that is coded otherwise than the header says")
            if found != check:
                raise UserError("decodes to other symbols than were coded")
        except UserError as error:
            self._tell(number, error)
            return None
        return _Symbols(part, is_coded, others, decoded)

    def _tell(self, number: int, error: UserError) -> None:
        message = str(error) if str(self._path) in str(error) else f"{self._path}: {error}"
        told = UserError(f"{message} (tile {number})" if "tile" not in message else message)
        if self._on_damage is None:
            raise told
        if number not in self._damaged:
            self._damaged.add(number)
            self._on_damage(number, told)

    def _pixels(self, tile: int, band: int, shared: Window) -> NDArray[Any]:
        """Pixels of a window within a tile, of one band."""
        whole = self.header.tiling.window(tile)
        inside = shared.within(whole)
        stored = self.header.stored(band)
        symbols = self._held[self._number(tile, band)]
        if symbols is None:
            return np.full(shared[2:], self._nothing(band), stored.dtype)
        if isinstance(symbols.decoded, Tensor):
            pixels = stored.to_pixels(self._decibels(tile, band, shared, symbols.part))
            for lost in self._lost(band, shared):
                pixels[lost.within(shared)] = self._nothing(band)
        elif symbols.decoded is not None:
            pixels = self._cells.to_pixels(symbols.decoded[inside]).astype(stored.dtype)
            if not self._cells.is_integer:
                pixels = stored.beside_nodata(pixels)
        else:
            pixels = np.zeros(shared[2:], stored.dtype)
        if len(symbols.others):
            kept = np.zeros(symbols.is_coded.shape, stored.dtype)
            kept[~symbols.is_coded] = symbols.others
            pixels = np.where(symbols.is_coded[inside], pixels, kept[inside])
        return pixels

    def _nothing(self, band: int) -> float:
        """What damaged pixels are."""
        stored = self.header.stored(band)
        nothing = np.nan if stored.dtype.kind == "f" else 0
        return nothing if stored.nodata_pixel is None else stored.nodata_pixel

    def _lost(self, band: int, window: Window) -> Iterator[Window]:
        """Of a window, what damaged tiles beside it would have told."""
        assert isinstance(self._network, Network)
        tiling, overlap = self.header.tiling, self._network.overlap
        for tile in tiling.touched(window.grown(overlap, tiling.height, tiling.width)):
            if self._held[self._number(tile, band)] is None:
                told = tiling.window(tile).grown(overlap, tiling.height, tiling.width)
                yield told.shared_with(window)

    def _decibels(self, tile: int, band: int, shared: Window, part: Part) -> NDArray[np.float32]:
        if not part.gains:
            return self._without_gains(band, shared)
        whole = self.header.tiling.window(tile)
        gains = gain_db(part.gains, (whole.height, whole.width))[shared.within(whole)]
        if not _has_emphasis(part):
            return self._without_gains(band, shared) + gains
        known = _around(shared, whole)
        decibels = self._without_gains(band, known)
        times = emphasis(decibels, part.gains)[shared.within(known)]
        gains = emphasised(gains, times)
        gains += decibels[shared.within(known)]
        return gains

    def _without_gains(self, band: int, shared: Window) -> NDArray[np.float32]:
        network, about, tiling = self._network, self.header.about, self.header.tiling
        assert isinstance(network, Network) and about.quality is not None
        tiles = (
            (tiling.window(tile), self._latents(tile, band))
            for tile in tiling.touched(self._with_latents(shared))
        )
        shape = tiling.height, tiling.width
        decibels = network.window(shared, shape, tiles, about.quality)
        return decibels - np.float32(about.shift_db[band])

    def _latents(self, tile: int, band: int) -> Tensor | None:
        symbols = self._held[self._number(tile, band)]
        decoded = None if symbols is None else symbols.decoded
        return decoded if isinstance(decoded, Tensor) else None


def _has_emphasis(part: Part) -> bool:
    return part.method == Method.NETWORK and bool(part.gains)


def _around(window: Window, tile: Window) -> Window:
    """What tells how a tile's gains are spread over the pixels of a window in it."""
    return window.with_blocks_around(AROUND).shared_with(tile)
