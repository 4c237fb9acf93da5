"""Whether all blocks of a TIFF are in the file."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import RasterioIOError

from sar_codec.data.raster import quiet


def check_blocks(path: Path) -> None:
    """Raises an OSError where blocks of a TIFF's image, mask or overviews are not in the file.

    GDAL writes the last of them as it closes the file, and if the disk is full then, rasterio does
    not say so.
    """
    length = path.stat().st_size
    for directory in count(1):
        try:
            with quiet():
                dataset = rasterio.open(f"GTIFF_DIR:{directory}:{path}")
        except RasterioIOError:
            if directory == 1:
                raise
            return
        with dataset:
            if any(end is None or end > length for end in _ends(dataset)):
                raise OSError(f"cut short at {length:,} bytes")


def _ends(dataset: Any) -> Iterator[int | None]:
    """The byte where each block ends; None where there is no such block."""
    rows, columns = dataset.block_shapes[0]
    # Bands share blocks.
    for row in range(-(-dataset.height // rows)):
        for column in range(-(-dataset.width // columns)):
            place = f"{column}_{row}"
            offset = dataset.get_tag_item(f"BLOCK_OFFSET_{place}", "TIFF", bidx=1)
            size = dataset.get_tag_item(f"BLOCK_SIZE_{place}", "TIFF", bidx=1)
            yield None if offset is None or size is None else int(offset) + int(size)
