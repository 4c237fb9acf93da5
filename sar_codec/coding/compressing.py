"""A raster to a .sarc file, tile by tile."""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.about import Header
from sar_codec.coding.container import Writer
from sar_codec.coding.layout import crc32c
from sar_codec.coding.parts import Part, pack_validity
from sar_codec.coding.threads import one_thread_each
from sar_codec.coding.tiling import Window
from sar_codec.data.description import Description

_AHEAD = 3  # tiles that wait for each worker
# Is told, each time that some were done, how many pixels of all bands and of how many.
Progress = Callable[[int, int], object]


class Source(Protocol):
    """A raster that is read window by window; `data.georaster.Input` is one."""

    description: Description

    def read(
        self, row: int, column: int, height: int, width: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]: ...
    def read_mask(self, row: int, column: int, height: int, width: int) -> NDArray[np.bool_]: ...
    def read_alpha(self, row: int, column: int, height: int, width: int) -> NDArray[Any]: ...


class TileCoder(Protocol):
    """What codes the pixels of tiles.

    Attributes:
        margin: how many pixels around a tile tell about how it is coded.
        reach: how many pixels around a tile are to be begun before it can be finished.
    """

    @property
    def margin(self) -> int: ...
    @property
    def reach(self) -> int: ...

    def begin(
        self,
        header: Header,
        band: int,
        pixels: NDArray[Any],
        valid: NDArray[np.bool_],
        tile: Window,
    ) -> tuple[Any, Any]:
        """What `finish` needs of a tile of a band: for the tile itself, and for those beside it.

        Args:
            header: of the file.
            band: counted from 0 without the alpha band.
            pixels: of the tile and what is around it, `(h, w)`.
            valid: likewise.
            tile: where the tile is in them.
        """
        ...

    def finish(
        self, header: Header, band: int, tile: int, own: Any, around: Mapping[int, Any]
    ) -> tuple[Part, int]:
        """The part of a band, and the check of its symbols.

        Args:
            header: of the file.
            band: as in `begin`.
            tile: its number.
            own: the first that `begin` gave of it.
            around: the second, by number, of it and of all within `reach`.
        """
        ...


class _Piece(NamedTuple):
    """A tile and what is around it, `(bands, h, w)`; mask and alpha of the tile alone."""

    pixels: NDArray[Any]
    valid: NDArray[np.bool_]
    tile: Window
    mask: NDArray[np.bool_] | None
    alpha: NDArray[Any] | None


class _Begun(NamedTuple):
    """A tile that is begun.

    Attributes:
        own: of each band, for itself; emptied when it is finished.
        shared: of each band, for those beside it too.
        validity: what is stored of mask and alpha, if there are any.
    """

    own: list[Any]
    shared: list[Any]
    validity: bytes | None


def compress(
    source: Source,
    writer: Writer,
    header: Header,
    coder: TileCoder,
    workers: int,
    progress: Progress,
) -> None:
    """Codes all tiles of a raster and finishes the file.

    Args:
        source: the raster; only this thread reads it.
        writer: of the file.
        header: of the file.
        coder: of tiles.
        workers: threads that code.
        progress: is told of each tile that was written.
    """
    tiling, bands = header.tiling, len(header.raster.measured)
    begun: dict[int, Future[_Begun]] = {}
    finished: deque[tuple[Window, Future[list[tuple[bytes, int]]]]] = deque()

    def needed(tile: int) -> list[int]:
        reached = tiling.window(tile).grown(coder.reach, tiling.height, tiling.width)
        return list(tiling.touched(reached))

    with ThreadPoolExecutor(workers, initializer=one_thread_each) as pool:

        def begin(tile: int) -> None:
            piece = _read(source, header, tiling.window(tile), coder.margin)
            begun[tile] = pool.submit(_begin, header, coder, piece)

        def finish(tile: int) -> None:
            around = {each: begun[each].result() for each in needed(tile)}
            coded = pool.submit(_finish, header, coder, tile, around)
            finished.append((tiling.window(tile), coded))
            begun.pop(tile - tiling.columns - 1, None)  # none that follows needs it

        def write_first() -> None:
            window, coded = finished.popleft()
            for payload, check in coded.result():
                writer.add_tile(payload, check)
            progress(bands * window.height * window.width, bands * tiling.height * tiling.width)

        try:
            next_one = 0
            for tile in range(tiling.count):
                while next_one < min(needed(tile)[-1] + 1 + _AHEAD * workers, tiling.count):
                    begin(next_one)
                    next_one += 1
                finish(tile)
                if len(finished) == _AHEAD * workers:
                    write_first()
            while finished:
                write_first()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    writer.finish(header.to_json())


def _read(source: Source, header: Header, window: Window, margin: int) -> _Piece:
    raster = header.raster
    around = window.grown(margin, header.tiling.height, header.tiling.width)
    pixels, valid = source.read(*around)
    tile = Window(window.row - around.row, window.column - around.column, *window[2:])
    mask = source.read_mask(*window) if raster.has_mask else None
    alpha = source.read_alpha(*window) if raster.alpha is not None else None
    return _Piece(pixels, valid, tile, mask, alpha)


def _begin(header: Header, coder: TileCoder, piece: _Piece) -> _Begun:
    validity = pack_validity(piece.mask, piece.alpha) if header.has_validity else None
    begun = _Begun([], [], validity)
    for band, (pixels, valid) in enumerate(zip(piece.pixels, piece.valid, strict=True)):
        shown = without_hidden(header, band, pixels, valid)
        own, shared = coder.begin(header, band, shown, valid, piece.tile)
        begun.own.append(own)
        begun.shared.append(shared)
    return begun


def _finish(
    header: Header, coder: TileCoder, tile: int, around: Mapping[int, _Begun]
) -> list[tuple[bytes, int]]:
    begun, parts = around[tile], []
    for band, own in enumerate(begun.own):
        of_band = {number: each.shared[band] for number, each in around.items()}
        part, check = coder.finish(header, band, tile, own, of_band)
        parts.append((part.pack(), check))
    begun.own.clear()
    if begun.validity is not None:
        parts.append((begun.validity, crc32c(begun.validity)))
    return parts


def without_hidden(
    header: Header, band: int, pixels: NDArray[Any], valid: NDArray[np.bool_]
) -> NDArray[Any]:
    """Pixels with nodata, or 0, where a mask hides what they are: that need not be kept."""
    if not header.has_validity:
        return pixels
    stored = header.stored(band)
    fill = stored.dtype.type(0) if stored.nodata_pixel is None else stored.nodata_pixel
    return np.where(valid | stored.is_nodata(pixels), pixels, fill)
