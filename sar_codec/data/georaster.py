"""Rasters of any of GDAL's formats as they are stored: pixels by windows, and all else."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # not all that GDAL reports has become a RasterioError
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

from sar_codec.data.description import (
    BandDescription,
    Description,
    GroundPoint,
    Tags,
    checked,
    is_kept,
)
from sar_codec.data.overviews import overview_factors
from sar_codec.data.raster import (
    cannot_be_opened,
    cannot_be_read,
    check_length,
    quantity_of_band,
    quiet,
)
from sar_codec.data.scaling import Quantity
from sar_codec.errors import UserError

GDAL_ERRORS = (RasterioError, CPLE_BaseError, OSError, ValueError)
CACHE_BYTES = 2**27  # of blocks, where GDAL by itself takes a twentieth of the machine's memory


class Input:
    """A raster that is open for reading.

    Attributes:
        description: what it says besides its pixels.
    """

    def __init__(self, dataset: Any, description: Description) -> None:
        self._dataset, self.description = dataset, description
        flags = dataset.mask_flag_enums[self.description.measured[0] - 1]
        # Apart from a real mask, there is the one that NODATA_VALUES, a tag, makes.
        self._is_masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags

    def read(
        self, row: int, column: int, height: int, width: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Pixels of a window and where they are valid, both `(bands, height, width)`, no alpha.

        Pixels are what the file stores, in its type, before scale and offset. Valid is what is
        neither nodata nor NaN, nor masked for all bands, nor where alpha is 0.

        Raises:
            UserError: the file cannot be read there, for example because it was cut short.
        """
        window = self._window(row, column, height, width)
        described = self.description
        with self._reading(row, column):
            if self._dataset.driver == "PNG":
                # Of one that was cut short GDAL gives all pixels without a word, unless it is
                # asked for some of them.
                self._dataset.read(1, window=Window(0, row + height - 1, 1, 1))
            pixels = self._dataset.read(list(described.measured), window=window)
        valid = ~_is_nodata(pixels, described.nodata)
        if self._is_masked:
            valid &= self._read_mask(window)
        if described.alpha is not None:
            valid &= self.read_alpha(row, column, height, width) != 0
        return pixels, valid

    def read_mask(self, row: int, column: int, height: int, width: int) -> NDArray[np.bool_]:
        """Where the mask of all bands says that pixels are valid, `(height, width)`.

        Raises:
            UserError: the file cannot be read there.
        """
        return self._read_mask(self._window(row, column, height, width))

    def read_alpha(self, row: int, column: int, height: int, width: int) -> NDArray[Any]:
        """The alpha band, which the file must have, in the file's type, `(height, width)`.

        Raises:
            UserError: the file cannot be read there.
        """
        window = self._window(row, column, height, width)
        with self._reading(row, column):
            return self._dataset.read(self.description.alpha, window=window)

    def _read_mask(self, window: Window) -> NDArray[np.bool_]:
        with self._reading(window.row_off, window.col_off):
            return self._dataset.read_masks(self.description.measured[0], window=window) != 0

    def _window(self, row: int, column: int, height: int, width: int) -> Window:
        described = self.description
        within = 0 <= row < row + height <= described.height
        if not (within and 0 <= column < column + width <= described.width):
            # GDAL's readers would give less than was asked for.
            raise ValueError(
                f"a window of {height} x {width} at {row}, {column} is not within "
                f"{described.height} x {described.width} pixels"
            )
        return Window(column, row, width, height)

    @contextmanager
    def _reading(self, row: int, column: int) -> Iterator[None]:
        try:
            with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
                yield
        except GDAL_ERRORS as error:
            raise cannot_be_read(self._dataset.name, row, column, error) from None


@contextmanager
def open_input(path: str | os.PathLike[str]) -> Iterator[Input]:
    """Opens a raster of any format that GDAL reads.

    Raises:
        UserError: it cannot be opened, or is none of 1 to 4 bands of one real type.
    """
    name = os.fspath(path)
    with _opened(name) as (dataset, description):
        yield Input(dataset, description)


def describe(path: str | os.PathLike[str]) -> Description:
    """What a raster says besides its pixels, of which it reads none.

    Raises:
        UserError: as `open_input`.
    """
    with open_input(path) as source:
        return source.description


def stated_quantity(path: str | os.PathLike[str]) -> Quantity | None:
    """What a raster says that its bands hold, None where it does not say.

    Raises:
        UserError: it says different things of different bands, or as `open_input`.
    """
    name = os.fspath(path)
    with _opened(name) as (dataset, description):
        stated = {quantity_of_band(dataset, index) for index in description.measured}
    if len(stated) > 1:
        found = ", ".join(sorted(str(each) for each in stated))
        raise UserError(
            f"{name}: its bands hold different things ({found}), expected the same in all; take "
            "them apart with gdal_translate -b"
        )
    return stated.pop()


@contextmanager
def _opened(name: str) -> Iterator[tuple[Any, Description]]:
    try:
        with quiet():
            dataset = rasterio.open(name)
    except GDAL_ERRORS as error:
        if not Path(name).exists():
            raise UserError(f"{name}: no such file; give the path of a raster") from None
        raise cannot_be_opened(name, error) from None
    try:
        try:
            check_length(dataset)
            description = _described(dataset)
        except GDAL_ERRORS as error:
            raise cannot_be_opened(name, error) from None
        yield dataset, description
    finally:
        dataset.close()


def _is_nodata(pixels: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    floating = pixels.dtype.kind == "f"
    found = np.isnan(pixels) if floating else np.zeros(pixels.shape, bool)
    if nodata is None or np.isnan(nodata):
        return found
    if floating:
        with np.errstate(over="ignore"):
            # -3.40282346638529e+38, a text that many files have, is the least float32 once rounded.
            return found | (pixels == np.asarray(nodata).astype(pixels.dtype))
    # Not cast: no pixel of type uint8 is -9999, nor 0.5.
    return pixels == nodata


def _described(dataset: Any) -> Description:
    _refuse_other_than_measurements(dataset)
    points, points_crs = dataset.gcps
    transform = dataset.transform
    measured = [n for n in dataset.indexes if dataset.colorinterp[n - 1].name != "alpha"]
    flags = dataset.mask_flag_enums[measured[0] - 1]
    description = Description(
        height=dataset.height,
        width=dataset.width,
        dtype=dataset.dtypes[0],
        bands=tuple(_described_band(dataset, index) for index in dataset.indexes),
        crs=_wkt(dataset.crs),
        transform=None if transform == transform.identity() else tuple(transform)[:6],
        ground_points=tuple(
            GroundPoint(point.id, point.info, point.row, point.col, point.x, point.y, point.z)
            for point in points
        ),
        ground_points_crs=_wkt(points_crs) if points else None,
        tags=_tags(dataset, 0),
        nodata=dataset.nodatavals[measured[0] - 1],
        has_mask=flags == [MaskFlags.per_dataset],
        overviews=overview_factors(dataset, measured[0]),
        block=dataset.block_shapes[0],
        is_tiled=dataset.block_shapes[0][1] < dataset.width,
    )
    advice = "write what can be kept to another file by gdal_translate, and take that"
    return checked(description.to_json(), dataset.name, advice)


def _described_band(dataset: Any, index: int) -> BandDescription:
    return BandDescription(
        name=dataset.descriptions[index - 1],
        unit=dataset.units[index - 1] or None,
        scale=dataset.scales[index - 1],
        offset=dataset.offsets[index - 1],
        colour=dataset.colorinterp[index - 1].name,
        tags=_tags(dataset, index),
    )


def _tags(dataset: Any, index: int) -> Tags:
    """Tags by domain, of the dataset for index 0, else of a band."""
    domains = ["", *filter(is_kept, dataset.tag_namespaces(index))]
    tags = {domain: dataset.tags(index, ns=domain or None) for domain in domains}
    return {domain: found for domain, found in tags.items() if found}


def _wkt(crs: Any) -> str | None:
    return crs.to_wkt(version="WKT2_2019") if crs else None


def _refuse_other_than_measurements(dataset: Any) -> None:
    """Raises where there are no measurements, or where a GeoTIFF cannot hold what is said of them.

    GDAL's GeoTIFF has one type and one nodata value for all bands, and one mask.
    """
    name = dataset.name
    colours = [each.name for each in dataset.colorinterp]
    measured = [n for n, colour in enumerate(colours) if colour != "alpha"]
    if not measured:
        inner = ", ".join(dataset.subdatasets[:3]) or "none"
        raise UserError(
            f"{name}: no bands of measurements, expected 1 to 4; give one of the rasters in it, "
            f"found {inner}"
        )
    types = sorted(set(dataset.dtypes))
    if len(types) > 1:
        raise UserError(
            f"{name}: bands of different types ({', '.join(types)}), expected one; take them apart "
            "with gdal_translate -b, or give them one type with -ot"
        )
    if types[0].startswith("complex"):
        raise UserError(
            f"{name}: complex values, expected power, amplitude or dB; detect them first, for "
            "example by gdal_calc.py -A FILE --calc='abs(A)**2'"
        )
    if "palette" in colours:
        raise UserError(
            f"{name}: entries of a table of colours, expected measurements; give the raster that "
            "the picture was made of"
        )
    if len({str(dataset.nodatavals[n]) for n in measured}) > 1:
        raise UserError(
            f"{name}: nodata values {dataset.nodatavals}, expected one for all bands; take the "
            "bands apart with gdal_translate -b"
        )
    if any(not dataset.mask_flag_enums[n] for n in measured):
        raise UserError(
            f"{name}: a mask of each band, expected one for all; take the bands apart with "
            "gdal_translate -b, or mark what is missing by a nodata value"
        )
