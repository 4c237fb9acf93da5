"""What a .sarc file says of itself, for people and for programs."""

import os
from pathlib import Path
from typing import Any

from sar_codec.coding.about import open_header
from sar_codec.coding.container import Reader


def information(source: str | os.PathLike[str]) -> dict[str, Any]:
    """All that a file says, of what JSON can hold.

    Raises:
        UserError: it is no .sarc file, or damaged.
    """
    with Reader(source) as file:
        header = open_header(file, Path(source), most_pixels=2**62)
    raster, size = header.raster, os.path.getsize(source)
    pixels = raster.height * raster.width * len(raster.measured)
    return {
        "file": os.fspath(source),
        "bytes": size,
        "pixels": pixels,
        "bits_per_pixel": 8 * size / pixels,
        "tiles": header.tiling.count,
        **header.to_json(),
    }


def in_words(found: dict[str, Any]) -> str:
    """The most important of it, in a few lines."""
    about, raster = found["about"], found["raster"]
    if about["mode"] == "quality":
        promise = f"quality {about['quality']:.4g} of 8"
    elif about["max_error_db"]:
        promise = f"no valid pixel off by more than {about['max_error_db']} dB"
    else:
        promise = "lossless"
    if grid := about.get("grid"):
        promise += f" on the grid of {grid['height']} x {grid['width']} that it was taken from"
    bands = [band for band in raster["bands"] if band["colour"] != "alpha"]
    tiles = "1 tile" if found["tiles"] == 1 else f"{found['tiles']} tiles"
    names = ", ".join(band["name"] or "unnamed" for band in bands)
    lines = {
        "file": f"{found['file']}, {found['bytes']:,} bytes",
        "image": f"{raster['height']} x {raster['width']} pixels of {raster['dtype']}, "
        f"{about['quantity']}",
        "bands": f"{len(bands)} ({names})",
        "coded": f"{promise}, {found['bits_per_pixel']:.3f} bits a pixel, {tiles}",
        "crs": _name_of(raster["crs"] or raster["ground_points_crs"]),
        "nodata": "none" if raster["nodata"] is None else str(raster["nodata"]),
        "model": about["model"],
        "program": about["program"],
    }
    return "\n".join(f"{name:8} {_printable(value)}" for name, value in lines.items())


def _printable(text: str) -> str:
    """Without what would move the cursor or change colours: the file's author chose some of it."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _name_of(crs: str | None) -> str:
    """The name in a WKT."""
    return "none" if crs is None else crs.partition('"')[2].partition('"')[0]
