"""Reduced images within a raster: by which factors, and built anew."""

import math
from pathlib import Path
from typing import Any

import rasterio
from rasterio.enums import Resampling

from sar_codec.data.description import Description
from sar_codec.data.raster import quiet


def overview_factors(dataset: Any, index: int) -> tuple[int, ...]:
    """Factors by the longer side; rasterio tells them by the width, be that a single pixel."""
    longest = max(dataset.shape)
    factors = []
    for level in range(len(dataset.overviews(index))):
        with quiet(), rasterio.open(dataset.name, overview_level=level) as overview:
            factors.append(round(longest / max(overview.shape)))
    return tuple(factor for factor in factors if factor > 1)


def build_overviews(path: Path, description: Description) -> None:
    """Builds the overviews of a description within a GeoTIFF, means of pixels that are valid."""
    longest = max(description.height, description.width)
    told = {min(factor, longest) for factor in description.overviews} - {1}
    if not told:
        return
    factors = {_factor_to_build(factor, longest) for factor in told}
    # GDAL refuses several overviews of a single pixel.
    dots = sorted(factor for factor in factors if factor >= longest)
    fastest = {"ZSTD_LEVEL_OVERVIEW": 1, "ZLEVEL_OVERVIEW": 1}
    with rasterio.Env(**fastest), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews(sorted(factors - set(dots[1:])), Resampling.average)


def _factor_to_build(told: int, length: int) -> int:
    """The factor that makes GDAL build an overview of which one is told that its factor is `told`.

    Of 500 columns a factor of 64 makes 8, of which one is told that their factor is 62; but that
    would make 9.
    """
    for factor in (told, -(-length // max(length // told, 1))):
        if round(length / -(-length // factor)) == told:
            break
    else:
        factor = told
    # If a power of two makes as many, GDAL 3.12 leaves those of any other factor empty.
    power = 2 ** round(math.log2(factor))
    return power if -(-length // power) == -(-length // factor) else factor
