"""What a description says, put into a GeoTIFF by rasterio, in the order that GDAL wants."""

from collections.abc import Mapping
from typing import Any

from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from sar_codec.data.description import Description, Tags


def write_metadata(dataset: Any, description: Description, extra_tags: Mapping[str, str]) -> None:
    """Puts into a GeoTIFF, which must not have pixels yet, what a description says.

    Args:
        dataset: the GeoTIFF, open for writing.
        description: what it is to say.
        extra_tags: for the default domain.
    """
    tags = dict(description.tags)
    tags[""] = {**tags.get("", {}), **extra_tags}
    _write_tags(dataset, 0, tags)
    for number, band in enumerate(description.bands, 1):
        _write_tags(dataset, number, band.tags)
        if band.name is not None:
            dataset.set_band_description(number, band.name)
        if band.unit is not None:
            dataset.set_band_unit(number, band.unit)
    if any((band.scale, band.offset) != (1, 0) for band in description.bands):
        dataset.scales = [band.scale for band in description.bands]
        dataset.offsets = [band.offset for band in description.bands]
    dataset.colorinterp = [ColorInterp[band.colour] for band in description.bands]
    # After AREA_OR_POINT, which decides what GDAL writes.
    if description.transform is not None or not description.ground_points:
        if description.crs is not None:
            dataset.crs = CRS.from_wkt(description.crs)
        if description.transform is not None:
            dataset.transform = Affine(*description.transform)
    else:
        dataset.gcps = _ground_points(description)


def _ground_points(description: Description) -> tuple[list[GroundControlPoint], CRS]:
    # Of pixels that are points GDAL adds half a pixel as it writes, where it should subtract it.
    is_point = description.tags.get("", {}).get("AREA_OR_POINT", "").lower() == "point"
    shift = 1 if is_point else 0
    crs = description.ground_points_crs
    points = [
        GroundControlPoint(each.row - shift, each.column - shift, each.x, each.y, each.z)
        for each in description.ground_points
    ]
    return points, CRS() if crs is None else CRS.from_wkt(crs)


def _write_tags(dataset: Any, band: int, tags: Tags) -> None:
    for domain, items in tags.items():
        if domain == "RPC" and not _is_kept_by_tiff(items):
            continue  # in the sidecar; GDAL would prefer what the TIFF has
        if domain.startswith("xml:"):
            # rasterio joins names and values by "=", and so puts together what is split there.
            name, equals, value = items.get(domain, "").partition("=")
            items = {name: value} if equals else {}
        # Two names are arguments of update_tags.
        items = {name: each for name, each in items.items() if name not in ("bidx", "ns")}
        if items:
            dataset.update_tags(band, domain or None, **items)


def _is_kept_by_tiff(coefficients: Mapping[str, str]) -> bool:
    """Whether a TIFF's tag of rational polynomials keeps their text.

    It holds numbers, all of them, and GDAL prints those with 15 digits.
    """
    try:
        return len(coefficients) == 16 and all(
            text == " ".join(f"{float(each):.15g}" for each in text.split())
            for text in coefficients.values()
        )
    except ValueError:
        return False
