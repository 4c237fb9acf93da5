"""Windows of GeoTIFF, ENVI, SAFE and other rasters, and of .npy, as decibels."""

import logging
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError  # what rasterio.warp raises, and no public name for it
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from sar_codec.data.scaling import Quantity, to_decibels
from sar_codec.errors import UserError

log = logging.getLogger(__name__)

# Files beside rasters; GDAL opens some of them as rasters too.
NOT_RASTERS = re.compile(
    r"\.(hdr|xml|safe|csv|md|txt|json|geojson|html|pdf|km[lz]|xsd|ovr|msk|prj|[tp]fw|py|ya?ml|log"
    r"|zip|gz|tar|sh[px]|dbf|cpg|gpkg|sqlite|md5|sha256|pth)$",
    re.IGNORECASE,
)
# A file with one of these names that cannot be opened is damaged, not something else.
RASTERS = re.compile(r"\.(tiff?|img|npy|vrt|png|jp2|h5|hdf5|nc)$", re.IGNORECASE)
POLARISATION = re.compile(r"(?i)(?<![a-z])(vv|vh|hh|hv)(?![a-z])")

Footprint = tuple[float, float, float, float]
"""West, south, east, north in degrees."""


@dataclass(frozen=True)
class Band:
    """One band of one file: an image that is read window by window.

    Attributes:
        path: the file, or GDAL's name for a dataset inside one.
        index: the band, from 1.
        height: rows.
        width: columns.
        quantity: what the values are.
        nodata: the value that means "none here", besides what the file says.
        offset_db: added to the decibels; a calibration constant.
        scale: what stored values are multiplied by (GDAL's scale), `nodata` excepted.
        offset: what is added to them after that.
        footprint: where on Earth the image lies; None where the file does not say.
        place: the same string for images of the same ground when there is no footprint.
    """

    path: str
    index: int
    height: int
    width: int
    quantity: Quantity
    nodata: float | None
    offset_db: float
    scale: float
    offset: float
    footprint: Footprint | None
    place: str

    @property
    def name(self) -> str:
        return f"{self.path}:{self.index}"

    def read(self, row: int, column: int, height: int, width: int) -> NDArray[np.float32]:
        """Decibels of a window, `(height, width)` float32, NaN where there is no valid value.

        Raises:
            UserError: the file cannot be read there, for example because it was cut short.
        """
        values, valid = self._read_raw(row, column, height, width)
        if self.nodata is not None and not np.isnan(self.nodata):
            valid = valid & (values != self.nodata)
        if (self.scale, self.offset) != (1, 0):
            with np.errstate(over="ignore"):  # of nodata values such as -3.4e38
                values = values * self.scale + self.offset
        decibels = to_decibels(values, self.quantity)
        decibels[~valid] = np.nan
        return decibels + np.float32(self.offset_db)

    def _read_raw(
        self, row: int, column: int, height: int, width: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        try:
            if self.path.endswith(".npy"):
                array = _open_array(self.path, os.getpid())
                values = array[self.index - 1, row : row + height, column : column + width]
                return np.asarray(values), np.ones(values.shape, bool)
            window = Window(column, row, width, height)
            masked = _open_raster(self.path, os.getpid()).read(
                self.index, window=window, masked=True
            )
            return masked.data, ~np.ma.getmaskarray(masked)
        except (RasterioError, OSError, ValueError) as error:
            raise cannot_be_read(self.path, row, column, error) from None


def find_bands(
    root: str | os.PathLike[str],
    quantity: Quantity | None = None,
    nodata: float | None = None,
    offset_db: float = 0.0,
) -> list[Band]:
    """Every band of every raster in or below a folder (or of one file), in order of path.

    `quantity` may be left out where the files say what they hold: in a band's unit or name, in
    their tags, by complex values, or by being part of a Sentinel-1 product.

    Raises:
        UserError: there is no such folder, no raster in it, one that cannot be opened, or one that
            does not say what it holds, or says something else than `quantity`.
    """
    root = Path(root)
    if not root.exists():
        raise UserError(f"{root}: no such folder; give one that holds rasters, data.root=FOLDER")
    described = [each for path in _candidates(root) for each in _describe(path)]
    if not described:
        raise UserError(
            f"{root}: no readable raster in or below it; expected GeoTIFF, ENVI, SAFE or another "
            "format of GDAL's, or .npy"
        )
    _check_quantities(described, quantity)
    bands = []
    for each in described:
        place = POLARISATION.sub("", os.path.abspath(each.path))
        bands.append(
            Band(
                path=each.path,
                index=each.index,
                height=each.height,
                width=each.width,
                quantity=quantity or each.quantity or "power",
                nodata=nodata,
                offset_db=offset_db,
                scale=each.scale,
                offset=each.offset,
                footprint=each.footprint,
                place=place,
            )
        )
    return bands


@dataclass(frozen=True)
class _Description:
    """What a file says of one of its bands."""

    path: str
    index: int
    height: int
    width: int
    quantity: Quantity | None
    footprint: Footprint | None = None
    scale: float = 1.0
    offset: float = 0.0
    is_complex: bool = False


def _candidates(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for folder, folders, files in os.walk(root, followlinks=True):
        folders.sort()
        if "manifest.safe" in files:
            # Of a SAFE product only the measurements are images; the quick look is not.
            folders[:] = [name for name in folders if name == "measurement"]
            files = []
        for name in sorted(files):
            if not NOT_RASTERS.search(name) and not name.startswith("."):
                yield Path(folder) / name


def _describe(path: Path) -> list[_Description]:
    """The bands of a file; none when it is no raster."""
    try:
        if path.suffix == ".npy":
            count, height, width = _open_array(str(path), os.getpid()).shape
            complex_values = np.iscomplexobj(_open_array(str(path), os.getpid()))
            quantity: Quantity | None = "power" if complex_values else None
            return [
                _Description(str(path), index, height, width, quantity)
                for index in range(1, count + 1)
            ]
        return _describe_raster(str(path))
    except (RasterioError, OSError, ValueError) as error:
        if not RASTERS.search(path.name):
            log.debug("%s: not a raster, left out", path)
            return []
        raise cannot_be_opened(str(path), error) from None


def cannot_be_opened(path: str, error: Exception) -> UserError:
    """What to tell the user of a raster that cannot be opened."""
    return _damaged(f"{path}: cannot be opened", error)


def cannot_be_read(path: str, row: int, column: int, error: Exception) -> UserError:
    """What to tell the user of a raster that was opened but cannot be read."""
    return _damaged(
        f"{path}: cannot be read at row {row}, column {column}", error.__cause__ or error
    )


def _damaged(what: str, error: BaseException) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(
        f"{what} ({reason}); the file is damaged or was cut short: replace it or take it out of "
        "the folder"
    )


def _describe_raster(path: str) -> list[_Description]:
    with quiet(), rasterio.open(path) as source:
        if source.subdatasets and not source.count:
            # Products such as NISAR's hold tables of metadata beside their images.
            inner = [name for name in source.subdatasets if "/metadata/" not in name]
            found = [each for name in inner for each in _describe_raster(name)]
            return [each for each in found if each.is_complex] or found
        check_length(source)
        return [
            _Description(
                path,
                index,
                source.height,
                source.width,
                quantity_of_band(source, index),
                _footprint(source),
                source.scales[index - 1],
                source.offsets[index - 1],
                source.dtypes[index - 1].startswith("complex"),
            )
            for index in source.indexes
            if source.colorinterp[index - 1] != ColorInterp.alpha
        ]


def check_length(source: Any) -> None:
    """Raises where an ENVI file is shorter than its header says: GDAL reads zeros there."""
    if source.driver != "ENVI" or source.tags(ns="ENVI").get("file_compression") == "1":
        return
    pixels = source.count * source.height * source.width
    expected = pixels * np.dtype(source.dtypes[0]).itemsize
    if (length := os.path.getsize(source.name)) < expected:
        raise ValueError(f"{length} bytes, its header says {expected}")


def quantity_of_band(source: Any, index: int) -> Quantity | None:
    """What a file says a band holds, None where it does not."""
    if source.dtypes[index - 1].startswith("complex"):
        return "power"
    said = [source.units[index - 1], source.descriptions[index - 1]]
    said += [*source.tags(index).values(), *source.tags(ns="ENVI").values()]
    said += [value for name, value in source.tags().items() if name.lower() in ("unit", "units")]
    words = " ".join(str(each) for each in said if each).lower()
    patterns: dict[Quantity, str] = {
        "db": r"(?<![a-z])db(?![a-z])|decibel",
        "amplitude": r"amplitude",
        "power": r"intensity|power",
    }
    for quantity, pattern in patterns.items():
        if re.search(pattern, words):
            return quantity
    product = source.tags().get("TIFFTAG_IMAGEDESCRIPTION", "")
    in_safe = any(parent.suffix.upper() == ".SAFE" for parent in Path(source.name).parents)
    if source.dtypes[index - 1] == "uint16" and (
        re.search(r"Sentinel-1. .* GRD", product) or (in_safe and "-grd-" in source.name)
    ):
        return "amplitude"
    return None


def _footprint(source: Any) -> Footprint | None:
    points, crs = source.gcps
    if source.crs and not source.transform.is_identity:
        crs, bounds = source.crs, source.bounds
    elif points and crs:
        x, y = [point.x for point in points], [point.y for point in points]
        bounds = min(x), min(y), max(x), max(y)
    else:
        return None
    try:
        west, south, east, north = transform_bounds(crs, "EPSG:4326", *bounds)
    except (CPLE_BaseError, RasterioError, ValueError):
        return None  # A local system of coordinates, or none of the Earth's.
    if not np.isfinite([west, south, east, north]).all():
        return None
    # Across the antimeridian the east lies at a lower longitude than the west.
    return west, south, east + 360 if east < west else east, north


def _check_quantities(described: list[_Description], quantity: Quantity | None) -> None:
    for each in described:
        if quantity and each.quantity and each.quantity != quantity:
            raise UserError(
                f"{each.path}: band {each.index} says it holds {each.quantity}, data.quantity says "
                f"{quantity}; leave data.quantity out, or give folders of different quantities "
                "apart in data.sources"
            )
    if quantity:
        return
    silent = [each for each in described if each.quantity is None]
    if silent:
        raise UserError(
            f"{silent[0].path}: does not say whether it holds power, amplitude or dB (nor do "
            f"{len(silent) - 1} other bands); say so with data.quantity=power|amplitude|db, or in "
            "the file: gdal_edit.py -units dB FILE"
        )
    stated = {each.quantity: each.path for each in described}
    if len(stated) > 1:
        examples = ", ".join(f"{what} in {path}" for what, path in stated.items())
        raise UserError(
            f"mixed units: {examples}; give a folder of each apart in data.sources, "
            "or only one of them as data.root"
        )


@lru_cache(maxsize=64)
def _open_raster(path: str, process: int) -> Any:
    """An open dataset; GDAL's handles must not be shared between processes."""
    with quiet():
        return rasterio.open(path)


@lru_cache(maxsize=64)
def _open_array(path: str, process: int) -> NDArray[Any]:
    """A .npy file as `(bands, height, width)`, mapped, not loaded."""
    # Not np.load, which takes archives as well and has another exception for empty files.
    array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.dtype.kind not in "iufc":
        raise ValueError(
            f"expected numbers of shape (height, width) or (bands, height, width), "
            f"found {array.dtype} {array.shape}"
        )
    return array


class quiet(warnings.catch_warnings):
    """Radar images in radar geometry have no transform, and rasterio warns of it each time."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
