"""Small rasters, scenes made of arrays, and refusals in one line."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from sar_codec.errors import UserError


def _write_raster(
    path: Path,
    array: NDArray[Any],
    *,
    driver: str = "GTiff",
    units: Sequence[str] = (),
    descriptions: Sequence[str] = (),
    tags: dict[str, str] | None = None,
    band_tags: dict[str, str] | None = None,
    scale: float | None = None,
    offset: float | None = None,
    west_north: tuple[float, float] | None = None,
    gcps: Sequence[tuple[float, float]] = (),
    crs: str = "EPSG:4326",
    step: float = 1e-4,
    mask: NDArray[np.bool_] | None = None,
    inner_mask: bool = True,
    **profile: Any,
) -> Path:
    array = array if array.ndim == 3 else array[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    if west_north:
        profile["transform"] = Affine(step, 0, west_north[0], 0, -step, west_north[1])
    if west_north or gcps:
        profile["crs"] = crs
    if gcps:
        corners = [(0, 0), (0, array.shape[2]), (array.shape[1], 0)]
        profile["gcps"] = [
            GroundControlPoint(row, column, longitude, latitude)
            for (row, column), (longitude, latitude) in zip(corners, gcps, strict=True)
        ]
    profile.setdefault("dtype", array.dtype)
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inner_mask):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        size = {"count": len(array), "height": array.shape[1], "width": array.shape[2]}
        with rasterio.open(path, "w", driver=driver, **size, **profile) as target:
            target.write(array)
            if units:
                target.units = units
            if descriptions:
                target.descriptions = descriptions
            if scale is not None:
                target.scales = [scale] * len(array)
            if offset is not None:
                target.offsets = [offset] * len(array)
            if tags:
                target.update_tags(**tags)
            if band_tags:
                target.update_tags(1, **band_tags)
            if mask is not None:
                target.write_mask(mask)
    return path


@pytest.fixture
def write_raster() -> Callable[..., Path]:
    """Writes an array, `(H, W)` or `(bands, H, W)`, as a raster; gives its path.

    `west_north` is the upper left corner and `step` the pixel, both in units of `crs`; `gcps` are
    the places of the upper left, upper right and lower left corners.
    """
    return _write_raster


@contextmanager
def _refused(pattern: str) -> Iterator[None]:
    with pytest.raises(UserError, match=pattern) as caught:
        yield
    assert "\n" not in str(caught.value), "the message takes more than one line"


@pytest.fixture
def refused() -> Callable[[str], AbstractContextManager[None]]:
    """Like `pytest.raises(UserError, match=pattern)`, of one line."""
    return _refused


@dataclass(frozen=True, eq=False)
class ArrayScene:
    """An array of decibels, read window by window like a band of a file."""

    decibels: NDArray[np.float32]
    place: str = "here"
    footprint: tuple[float, float, float, float] | None = None

    @property
    def name(self) -> str:
        return f"array of {self.place}"

    @property
    def height(self) -> int:
        return self.decibels.shape[0]

    @property
    def width(self) -> int:
        return self.decibels.shape[1]

    def read(self, row: int, column: int, height: int, width: int) -> NDArray[np.float32]:
        # Beyond the edge a file's reader raises; a slice would merely be short.
        assert row >= 0 and column >= 0
        assert row + height <= self.height and column + width <= self.width
        return self.decibels[row : row + height, column : column + width]


@pytest.fixture
def array_scene() -> type[ArrayScene]:
    """The class of scenes made of an array: `array_scene(decibels, place, footprint)`."""
    return ArrayScene
