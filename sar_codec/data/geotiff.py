"""GeoTIFFs written window by window, with all that the description of a raster says."""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from rasterio.windows import Window

from sar_codec.data.description import Description, differences
from sar_codec.data.georaster import CACHE_BYTES, GDAL_ERRORS, describe
from sar_codec.data.metadata import write_metadata
from sar_codec.data.overviews import build_overviews
from sar_codec.data.raster import quiet
from sar_codec.data.sidecar import sidecar_of, sidecar_xml
from sar_codec.data.tiff_blocks import check_blocks
from sar_codec.errors import UserError
from sar_codec.files import cannot_be_written, take_place, temporary_beside

log = getLogger(__name__)

_OUTER = (
    "aux.xml",
    "msk",
    "ovr",
    "msk.ovr",
)  # files beside a GeoTIFF that GDAL takes for its parts


# Speckle is no smaller at the levels that GDAL takes by itself, and six times as slow to write.
_FASTEST = {"ZSTD": {"zstd_level": 1}, "DEFLATE": {"zlevel": 1}}


class Output:
    """A GeoTIFF that is being written.

    All of its pixels must be written, and all of its mask and alpha band if it has them, each
    once. Windows that are multiples of 512 keep each block from being written twice.
    """

    def __init__(self, path: Path, dataset: Any, description: Description) -> None:
        self._path, self._dataset, self._description = path, dataset, description
        self._written = {"pixels": 0}
        if description.has_mask:
            self._written["mask"] = 0
        if description.alpha is not None:
            self._written["alpha"] = 0

    def write(self, pixels: NDArray[Any], row: int, column: int) -> None:
        """Writes `(bands, height, width)` pixels, no alpha, of the file's type.

        Raises:
            UserError: they cannot be written, for example because the disk is full.
        """
        measured = self._description.measured
        dtype = np.dtype(self._dataset.dtypes[0])
        if len(pixels) != len(measured) or pixels.dtype != dtype:
            # GDAL would convert them, and round and clip without a word.
            raise ValueError(
                f"{len(pixels)} bands of {pixels.dtype} given, the file has {len(measured)} of "
                f"{dtype}"
            )
        window = self._count("pixels", pixels, row, column)
        with _writing(self._path):
            self._dataset.write(pixels, list(measured), window=window)

    def write_mask(self, mask: NDArray[np.bool_], row: int, column: int) -> None:
        """Writes where pixels are valid, `(height, width)`, if the file has a mask of all bands.

        Raises:
            UserError: it cannot be written.
        """
        window = self._count("mask", mask, row, column)
        with _writing(self._path):
            self._dataset.write_mask(mask, window=window)

    def write_alpha(self, alpha: NDArray[Any], row: int, column: int) -> None:
        """Writes `(height, width)` of the alpha band, if the file has one.

        Raises:
            UserError: it cannot be written.
        """
        window = self._count("alpha", alpha, row, column)
        with _writing(self._path):
            self._dataset.write(alpha, self._description.alpha, window=window)

    def check_all_is_written(self) -> None:
        """Raises a ValueError where it is not."""
        expected = self._description.height * self._description.width
        for what, count in self._written.items():
            if count != expected:
                raise ValueError(f"{count} of {expected} pixels of {what} were written")

    def _count(self, what: str, values: NDArray[Any], row: int, column: int) -> Window:
        height, width = values.shape[-2:]
        described = self._description
        if what not in self._written:
            raise ValueError(f"the file has no {what}")
        if not (0 <= row <= described.height - height and 0 <= column <= described.width - width):
            raise ValueError(
                f"{height} x {width} at {row}, {column} is not within "
                f"{described.height} x {described.width} pixels"
            )
        self._written[what] += height * width
        return Window(column, row, width, height)


@contextmanager
def open_output(
    path: str | os.PathLike[str],
    description: Description,
    dtype: str | None = None,
    extra_tags: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Iterator[Output]:
    """A GeoTIFF to write, which appears under its name when the block has ended, or not at all.

    It is tiled and compressed without loss. What GeoTIFF cannot hold goes to an .aux.xml beside
    it; of what does not fit there either, a warning tells.

    Args:
        path: of the file.
        description: what it is to say.
        dtype: of its pixels, if other than the description's.
        extra_tags: for the default domain.
        overwrite: whether a file of that name is replaced, and what belongs to it.

    Raises:
        UserError: it exists already, cannot be written, or `dtype` has not the nodata value.
    """
    path = Path(path)
    dtype = dtype or description.dtype
    if not overwrite:
        _refuse_existing(path)
    if not _holds(dtype, description.nodata):
        raise UserError(
            f"{path}: {dtype} does not hold the nodata value {description.nodata}; choose a type "
            "that does"
        )
    temporary = temporary_beside(path)
    try:
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            dataset = _create(temporary, description, dtype)
        try:
            with _writing(path):
                write_metadata(dataset, description, extra_tags or {})
            output = Output(path, dataset, description)
            yield output
            output.check_all_is_written()
        finally:
            # Not by `with dataset`, whose settings of GDAL and ours would end in the wrong order.
            with _writing(path):
                dataset.close()
        with _writing(path):
            build_overviews(temporary, description)
            check_blocks(temporary)
            _complete(path, temporary, description, dtype)
            _put_in_place(temporary, path)
    finally:
        for each in (temporary, sidecar_of(temporary)):
            with suppress(OSError):
                each.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        with quiet(), rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_TIFF_INTERNAL_MASK=True):
            yield
    except GDAL_ERRORS as error:
        raise cannot_be_written(path, error.__cause__ or error) from None


def _refuse_existing(path: Path) -> None:
    # What is left of another file of that name would become part of this one.
    parts = [path, *(path.with_name(f"{path.name}.{each}") for each in _OUTER)]
    for part in parts:
        if part.exists():
            raise UserError(
                f"{part}: exists already; choose another name, remove it, or say that it may be "
                "overwritten"
            )


def _create(temporary: Path, description: Description, dtype: str) -> Any:
    large = description.is_tiled and min(description.block) >= 512
    side = 512 if large else 256
    return rasterio.open(
        temporary,
        "w",
        driver="GTiff",
        height=description.height,
        width=description.width,
        count=len(description.bands),
        dtype=dtype,
        nodata=description.nodata,
        tiled=True,
        blockxsize=side,
        blockysize=side,
        compress=compression(),
        **_FASTEST[compression()],
        predictor=3 if np.dtype(dtype).kind == "f" else 2,
        photometric="MINISBLACK",  # with three bytes GDAL would guess RGB
        BIGTIFF="IF_SAFER",
    )


@cache
def compression(candidates: tuple[str, ...] = ("ZSTD", "DEFLATE")) -> str:
    """The first of GDAL's ways to compress a TIFF without loss that this GDAL was built with."""
    for name in candidates[:-1]:
        try:
            with quiet(), MemoryFile() as file:
                size = {"height": 1, "width": 1, "count": 1, "dtype": "uint8"}
                file.open(driver="GTiff", compress=name, **size).close()
                with file.open() as dataset:
                    if dataset.compression is not None and dataset.compression.value == name:
                        return name
        except GDAL_ERRORS:
            continue
    return candidates[-1]


def _holds(dtype: str, nodata: float | None) -> bool:
    if nodata is None:
        return True
    if np.dtype(dtype).kind == "f":
        return not math.isfinite(nodata) or abs(nodata) <= float(np.finfo(dtype).max)
    limits = np.iinfo(dtype)
    return limits.min <= nodata <= limits.max


def _complete(path: Path, temporary: Path, description: Description, dtype: str) -> None:
    """Puts what the file lacks beside it, and warns of what it lacks even so."""

    def lacking() -> list[str]:
        return [each for each in differences(description, describe(temporary)) if each != other]

    other = "dtype" if dtype != description.dtype else ""
    lost = lacking()
    beside = set(lost)
    for _ in range(2):  # Points in a sidecar make GDAL overlook AREA_OR_POINT in the file.
        if text := sidecar_xml(description, beside) if lost else "":
            sidecar = sidecar_of(temporary)
            sidecar.write_text(text, encoding="utf-8")
            _sync(sidecar)
            lost = lacking()
            beside |= set(lost)
    if "has_mask" in lost:
        raise OSError("the mask is not in the file")
    if lost:
        log.warning("%s: GeoTIFF does not keep all that the source said: %s", path, ", ".join(lost))


def _put_in_place(temporary: Path, path: Path) -> None:
    _sync(temporary)
    for each in _OUTER:
        path.with_name(f"{path.name}.{each}").unlink(missing_ok=True)
    if sidecar_of(temporary).exists():
        take_place(sidecar_of(temporary), sidecar_of(path))
    take_place(temporary, path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
