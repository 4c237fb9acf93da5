"""What a raster says besides its pixels, as plain values that go to and from JSON."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal

import rasterio
from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import AfterValidator, BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import CRSError

from sar_codec.errors import UserError

MOST_BANDS = 4  # besides alpha
MOST_PIXELS = 2**40  # the arrays of tiles of a larger GeoTIFF take more than 50 MB
_LONGEST_TEXT = 2**22
_LONGEST_JSON = 2**25
# Domains of tags that GDAL makes up from the file's structure, or takes orders from. Profiles of
# colour mean nothing to SAR, and of json: domains rasterio gives only a part.
_NOT_KEPT = {
    *("IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "COLOR_PROFILE", "xml:VRT"),
    *("vrt_sources", "new_vrt_sources", "LocationInfo"),
}


def is_kept(domain: str) -> bool:
    """Whether the tags of a domain are part of a description."""
    return domain not in _NOT_KEPT and not domain.startswith(("json:", "LocationInfo_", "Pixel_"))


def _from_text(value: object) -> object:
    """JSON has no NaN and no infinity, so they are written as text."""
    return float(value) if isinstance(value, str) and value in ("nan", "inf", "-inf") else value


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a zero byte, where GDAL's strings end")
    return text


def _domain(name: str) -> str:
    if not is_kept(name):
        raise ValueError("GDAL makes the tags of that domain itself")
    return _storable(name)


def _colour(name: str) -> str:
    if name not in ColorInterp.__members__ or name == "palette":
        raise ValueError("no colour interpretation of measurements")
    return name


def _wkt(text: str) -> str:
    try:
        with rasterio.Env():  # which takes GDAL's messages from stderr to the log
            CRS.from_wkt(_storable(text))
    except CRSError as error:
        raise ValueError(f"no WKT of a coordinate reference system, {error}") from None
    return text


Count = Annotated[int, Ge(1), Le(2**31 - 1)]
Number = Annotated[float, BeforeValidator(_from_text)]
Text = Annotated[str, MaxLen(_LONGEST_TEXT), AfterValidator(_storable)]
Wkt = Annotated[str, MaxLen(_LONGEST_TEXT), AfterValidator(_wkt)]
Tags = dict[Annotated[Text, AfterValidator(_domain)], dict[Text, Text]]
"""Domain ("" is the default one) to name to value."""
Dtype = Literal["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]

_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class GroundPoint:
    """A ground control point: where on the ground a place in the image lies."""

    id: Text
    info: Text
    row: Number
    column: Number
    x: Number
    y: Number
    z: Number
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT


@dataclass(frozen=True)
class BandDescription:
    """What a raster says of one band.

    Attributes:
        name: GDAL's description of the band; None if it has none.
        unit: of the values after scale and offset; None if it is not said.
        scale: what stored values are multiplied by.
        offset: what is added to them after that.
        colour: the name of its colour interpretation, such as "gray" or "alpha".
        tags: of the band, by domain.
    """

    name: Text | None
    unit: Text | None
    scale: Number
    offset: Number
    colour: Annotated[str, AfterValidator(_colour)]
    tags: Tags
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT


@dataclass(frozen=True)
class Description:
    """Everything that GDAL knows of a raster besides its pixels.

    Attributes:
        height: rows.
        width: columns.
        dtype: of the pixels of every band.
        bands: in the order of the file, the alpha band among them.
        crs: of the transform, as WKT2:2019; None if there is none.
        transform: a, b, c, d, e, f of x = a column + b row + c, y = d column + e row + f; None
            where the file has none, or the identity, which GDAL does not tell apart.
        ground_points: the ground control points.
        ground_points_crs: their CRS, as WKT2:2019.
        tags: of the dataset, by domain: AREA_OR_POINT and TIFFTAG_... in the default one, the
            coefficients of rational polynomials in RPC. Domains that GDAL makes up from the
            structure of the file are left out.
        nodata: the value of pixels that hold none, in every band.
        has_mask: whether one mask says for all bands where pixels are valid.
        overviews: factors of the reduced images.
        block: rows and columns of the source's blocks.
        is_tiled: whether these are tiles, not strips.
    """

    height: Count
    width: Count
    dtype: Dtype
    bands: Annotated[tuple[BandDescription, ...], MinLen(1), MaxLen(MOST_BANDS + 1)]
    crs: Wkt | None
    transform: tuple[Number, Number, Number, Number, Number, Number] | None
    ground_points: Annotated[tuple[GroundPoint, ...], MaxLen(10_000)]
    ground_points_crs: Wkt | None
    tags: Tags
    nodata: Number | None
    has_mask: bool
    overviews: Annotated[tuple[Annotated[int, Ge(2), Le(2**31 - 1)], ...], MaxLen(32)]
    block: tuple[Count, Count]
    is_tiled: bool
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    @property
    def measured(self) -> tuple[int, ...]:
        """The bands that hold measurements, from 1."""
        return tuple(n for n, band in enumerate(self.bands, 1) if band.colour != "alpha")

    @property
    def alpha(self) -> int | None:
        """The band that says how valid pixels are, from 1; None if there is none."""
        alphas = (n for n, band in enumerate(self.bands, 1) if band.colour == "alpha")
        return next(alphas, None)

    def to_json(self) -> dict[str, Any]:
        """A dict of what JSON knows, NaN and infinity as text; the inverse of `from_json`."""
        return _plain(asdict(self))

    @classmethod
    def from_json(cls, data: object) -> "Description":
        """The description that `to_json` made the dict of, which may come from a stranger.

        Raises:
            UserError: it is none.
        """
        advice = "the file is damaged or was not made by sar-codec: get it again"
        return checked(data, "description of the raster", advice)


def checked(data: object, source: str, advice: str) -> Description:
    """A description from the dict of one.

    Args:
        data: the dict.
        source: where it comes from, for messages.
        advice: what to do if it is wrong.

    Raises:
        UserError: it is.
    """
    try:
        text = json.dumps(data, allow_nan=False)
        if len(text) > _LONGEST_JSON:
            raise ValueError(f"{len(text):,} characters, expected at most {_LONGEST_JSON:,}")
        description = _DESCRIPTION.validate_json(text)
        _check(description)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{source}: {_first_fault(error)}; {advice}") from None
    return description


_DESCRIPTION = TypeAdapter(Description)


def _check(description: Description) -> None:
    """Raises a ValueError where values that are right each by itself do not fit together."""
    if description.height * description.width > MOST_PIXELS:
        raise ValueError(
            f"{description.height} x {description.width} pixels, expected at most {MOST_PIXELS}"
        )
    alphas = len(description.bands) - len(description.measured)
    if alphas > 1 or not 1 <= len(description.measured) <= MOST_BANDS:
        raise ValueError(
            f"{len(description.measured)} bands and {alphas} of alpha, expected 1 to {MOST_BANDS} "
            "and at most one of alpha"
        )
    if description.ground_points_crs is not None and not description.ground_points:
        raise ValueError("a CRS of ground control points, but none of those")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # "nan", "inf" or "-inf"
    return value


def _first_fault(error: Exception) -> str:
    """One line, of a length that fits the screen whatever was given."""
    text = str(error)
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False)[0]
        place = ".".join(str(each)[:40] for each in fault["loc"]) or "as a whole"
        given = "" if fault["type"] == "missing" else f", {str(fault['input'])[:60]!r} given"
        text = f"{place}: {fault['msg']}{given}"
    return " ".join(text.split())[:300]


def differences(wanted: Description, found: Description) -> Iterator[str]:
    """Names of what one description says and another one lacks or says otherwise.

    Tags that only `found` has do not count, nor does how it is laid out in blocks. Gray is as good
    as undefined: in a GeoTIFF the first band is gray and others are undefined, if no more is said.
    """
    ours, theirs = _comparable(wanted), _comparable(found)
    yield from _differing_tags(ours.pop("tags"), theirs.pop("tags"), "tags")
    for number, (our, their) in enumerate(zip(ours["bands"], theirs["bands"], strict=True), 1):
        yield from _differing_tags(our.pop("tags"), their.pop("tags"), f"bands.{number}.tags")
        yield from (f"bands.{number}.{name}" for name in our if our[name] != their[name])
    others = [name for name in ours if name not in ("bands", "block", "is_tiled")]
    yield from (name for name in others if ours[name] != theirs[name])


def _comparable(description: Description) -> dict[str, Any]:
    data = description.to_json()
    for name in ("crs", "ground_points_crs"):
        if data[name] is not None:
            # By way of the older WKT, as rasterio reads it from files; another version of GDAL
            # may have read more.
            older = CRS.from_wkt(data[name]).to_wkt()
            data[name] = CRS.from_wkt(older).to_wkt(version="WKT2_2019")
    for band in data["bands"]:
        band["colour"] = "undefined" if band["colour"] == "gray" else band["colour"]
    return data


def _differing_tags(ours: dict[str, Any], theirs: dict[str, Any], place: str) -> Iterator[str]:
    for domain, tags in ours.items():
        found = theirs.get(domain, {})
        if any(found.get(name) != value for name, value in tags.items()):
            yield f"{place}.{domain}"
