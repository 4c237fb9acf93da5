"""What a GeoTIFF cannot hold, in the .aux.xml file beside it, where GDAL looks first.

Few rasters need one: those with ground control points that have names or come beside a transform;
CRSs that GeoTIFF has no keys for, such as local ones; transforms that the half pixel rounds by
which GeoTIFF moves those of pixels that are points; tags that GDAL's GeoTIFF drops.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from sar_codec.data.description import Description, Tags

_GEOREFERENCING = {"crs", "transform", "ground_points", "ground_points_crs"}
_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def sidecar_of(raster: Path) -> Path:
    """Where GDAL looks for the sidecar of a raster."""
    return raster.with_name(f"{raster.name}.aux.xml")


def sidecar_xml(description: Description, lacking: Collection[str]) -> str:
    """The text of a sidecar; empty if it can hold none of what is lacking.

    Args:
        description: of the raster as it should be.
        lacking: what its GeoTIFF lacks, as `differences` names it.
    """
    elements: list[str] = []
    if not _GEOREFERENCING.isdisjoint(lacking):
        # All of it: one in the sidecar can make GDAL overlook others in the file.
        elements += _georeferencing(description)
    elements += _metadata(description.tags, "tags", lacking)
    for number, band in enumerate(description.bands, 1):
        inner = list(_metadata(band.tags, f"bands.{number}.tags", lacking))
        if inner:
            elements += [f'<PAMRasterBand band="{number}">', *inner, "</PAMRasterBand>"]
    return "\n".join(["<PAMDataset>", *elements, "</PAMDataset>", ""]) if elements else ""


def _georeferencing(description: Description) -> Iterator[str]:
    # Without a mapping of axes GDAL takes easting or longitude first, as rasters do.
    if description.crs is not None:
        yield f"<SRS>{_escape(description.crs)}</SRS>"
    if description.transform is not None:
        a, b, c, d, e, f = description.transform
        yield f"<GeoTransform>{', '.join(map(repr, (c, a, b, f, d, e)))}</GeoTransform>"
    if description.ground_points:
        yield f'<GCPList Projection="{_escape(description.ground_points_crs or "")}">'
        for point in description.ground_points:
            yield (
                f'<GCP Id="{_escape(point.id)}" Info="{_escape(point.info)}" '
                f'Pixel="{point.column!r}" Line="{point.row!r}" '
                f'X="{point.x!r}" Y="{point.y!r}" Z="{point.z!r}"/>'
            )
        yield "</GCPList>"


def _metadata(tags: Tags, place: str, lacking: Collection[str]) -> Iterator[str]:
    for domain, items in tags.items():
        if f"{place}.{domain}" not in lacking:
            continue
        if domain.startswith("xml:"):
            # As "xml" GDAL would format it anew; as "json" it takes the text as it is.
            text = _escape(items.get(domain, ""))
            yield f'<Metadata domain="{_escape(domain)}" format="json">{text}</Metadata>'
            continue
        yield f'<Metadata domain="{_escape(domain)}">' if domain else "<Metadata>"
        for name, value in items.items():
            yield f'<MDI key="{_escape(name)}">{_escape(value)}</MDI>'
        yield "</Metadata>"


def _escape(text: str) -> str:
    """Text for elements and attributes; GDAL drops white space in front where it is not escaped."""
    return "".join(_ESCAPED.get(each, each if each > " " else f"&#{ord(each)};") for each in text)
