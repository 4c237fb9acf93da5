"""Images as GeoTIFFs in memory, compressed as GDAL can."""

from collections.abc import Mapping
from typing import Any

import rasterio
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from sar_codec.data.geotiff import compression as first_of
from sar_codec.data.raster import quiet

_ROWS = 512  # of a strip: GDAL holds whole ones


def require(compression: str) -> None:
    """Raises an ImportError if GDAL was built without a way to compress."""
    if first_of((compression, "NONE")) != compression:
        raise ImportError(f"this GDAL lacks {compression}, which that of rasterio's wheels has")


def about(compression: str, options: Mapping[str, float]) -> str:
    """GDAL, its version and the options, in a line."""
    said = "".join(f", {name.upper()}={value:g}" for name, value in options.items())
    return f"GDAL {rasterio.__gdal_version__}, GeoTIFF, COMPRESS={compression}{said}"


def packed(image: NDArray[Any], compression: str, options: Mapping[str, float]) -> bytes:
    """The file of an image `(height, width)`, in strips."""
    height, width = image.shape
    size = {"height": height, "width": width, "count": 1, "dtype": image.dtype.name}
    strips = {"blockysize": min(height, _ROWS), "compress": compression, **options}
    with quiet(), MemoryFile() as file:
        with file.open(driver="GTiff", **size, **strips) as dataset:
            dataset.write(image, 1)
        return bytes(file.getbuffer())


def unpacked(data: bytes) -> NDArray[Any]:
    """The image `(height, width)` of a file."""
    with quiet(), MemoryFile(data) as file, file.open() as dataset:
        return dataset.read(1)
