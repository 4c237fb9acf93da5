"""Descriptions go through JSON unchanged, and strangers' JSON is refused in one line."""

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
from rasterio.crs import CRS

from sar_codec.data.description import (
    BandDescription,
    Description,
    GroundPoint,
    differences,
)

Refused = Callable[[str], AbstractContextManager[None]]

UTM = CRS.from_epsg(32633).to_wkt(version="WKT2_2019")
BAND = BandDescription("VV", "dB", 0.1, 1 / 3, "gray", {"": {"a": "b"}, "x": {"ü\n": '<&="'}})
POINT = GroundPoint("1", "", 0.5, 1.5, 10.0, 20.0, -1e-300)
DESCRIPTION = Description(
    height=3,
    width=2**31 - 1,
    dtype="float32",
    bands=(BAND, replace(BAND, colour="alpha")),
    crs=UTM,
    transform=(10.0, 0.0, 1 / 3, 0.0, -10.0, 5e-324),
    ground_points=(POINT,),
    ground_points_crs=UTM,
    tags={"": {"AREA_OR_POINT": "Point"}},
    nodata=-9999.0,
    has_mask=True,
    overviews=(2, 4),
    block=(1, 512),
    is_tiled=False,
)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"nodata": None},
        {"nodata": math.inf},
        {"nodata": -math.inf},
        {"nodata": 1e-32},
        {"transform": None, "crs": None},
        {"transform": (math.nan, -0.0, 1e308, 0.1, math.inf, 1.0)},
        {"ground_points": (), "ground_points_crs": None},
        {"bands": (replace(BAND, name=None, unit=None, scale=math.nan, tags={}),)},
    ],
    ids=lambda changed: "-".join(changed) or "all",
)
def test_json_gives_back_what_it_was_made_of(changed: dict[str, Any]) -> None:
    description = replace(DESCRIPTION, **changed)
    text = json.dumps(description.to_json(), allow_nan=False)
    assert repr(Description.from_json(json.loads(text))) == repr(description)


def test_nan_is_kept_as_text() -> None:
    assert replace(DESCRIPTION, nodata=math.nan).to_json()["nodata"] == "nan"
    assert math.isnan(Description.from_json({**DESCRIPTION.to_json(), "nodata": "nan"}).nodata or 0)


@pytest.mark.parametrize("name", DESCRIPTION.to_json())
def test_json_without_one_of_its_keys_is_refused(name: str, refused: Refused) -> None:
    data = DESCRIPTION.to_json()
    del data[name]
    with refused(f"{name}: Field required"):
        Description.from_json(data)


@pytest.mark.parametrize("name", DESCRIPTION.to_json())
@pytest.mark.parametrize("value", [object(), float("nan"), {"a": 1}, [[[]]], "x\ny"])
def test_values_of_another_kind_are_refused(name: str, value: Any, refused: Refused) -> None:
    with refused("^description of the raster: .*get it again$"):
        Description.from_json({**DESCRIPTION.to_json(), name: value})


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    ("changed", "pattern"),
    [
        ({"height": 0}, "height: .* 0|'0' given"),
        ({"height": -1}, "height"),
        ({"width": 2**31}, "width"),
        ({"width": True}, "width"),
        ({"height": 10**400}, "height"),
        ({"height": 2**20, "width": 2**20 + 1}, "pixels, expected at most 1099511627776"),
        ({"dtype": "complex64"}, "dtype"),
        ({"dtype": "object"}, "dtype"),
        ({"bands": []}, "bands"),
        ({"bands": [{}]}, "bands.0"),
        ({"bands": [BAND.__dict__] * 5}, "5 bands and 0 of alpha"),
        ({"bands": [BAND.__dict__] * 6}, "bands"),
        ({"bands": [{**BAND.__dict__, "colour": "alpha"}]}, "0 bands and 1 of alpha"),
        ({"bands": [{**BAND.__dict__, "colour": "palette"}]}, "bands.0.colour"),
        ({"bands": [{**BAND.__dict__, "colour": "__class__"}]}, "bands.0.colour"),
        ({"bands": [{**BAND.__dict__, "scale": "1"}]}, "bands.0.scale"),
        ({"crs": "EPSG:4326"}, "crs: .*no WKT"),
        ({"crs": "https://example.org/wkt"}, "crs: .*no WKT"),
        ({"crs": UTM[:-1]}, "crs: .*no WKT"),
        ({"crs": "A" * 2**23}, "crs: .*at most"),
        ({"crs": UTM + "\0"}, "zero byte"),
        ({"transform": [1.0] * 5}, "transform"),
        ({"transform": ["1"] * 6}, "transform"),
        ({"ground_points": [{**POINT.__dict__, "x": None}]}, "ground_points.0.x"),
        ({"ground_points": [POINT.__dict__] * 10_001}, "ground_points"),
        ({"ground_points": []}, "a CRS of ground control points, but none of those"),
        ({"tags": {"": {"a": 1}}}, "tags"),
        ({"tags": {"": {"a": "x" * 2**23}}}, "tags"),
        ({"tags": {"": {"a": "\ud800"}}}, "."),
        ({"tags": {"": {"a": "x\0"}}}, "zero byte"),
        ({"tags": {"IMAGE_STRUCTURE": {"COMPRESSION": "JPEG"}}}, "GDAL makes"),
        ({"tags": {"xml:VRT": {"xml:VRT": "<VRTDataset/>"}}}, "GDAL makes"),
        ({"tags": {str(n): {"a": "x" * 2**20} for n in range(40)}}, "characters, expected at most"),
        ({"nodata": "NaN"}, "nodata"),
        ({"nodata": "1"}, "nodata"),
        ({"has_mask": 1}, "has_mask"),
        ({"overviews": [1]}, "overviews"),
        ({"overviews": [2.0]}, "overviews"),
        ({"overviews": [2] * 33}, "overviews"),
        ({"block": [0, 1]}, "block"),
        ({"more": 1}, "more"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_is_no_description_is_refused(
    changed: dict[str, Any], pattern: str, refused: Refused
) -> None:
    with refused(pattern):
        Description.from_json({**DESCRIPTION.to_json(), **changed})


def test_json_that_is_nested_without_end_is_refused(refused: Refused) -> None:
    with refused("description of the raster"):
        Description.from_json({**DESCRIPTION.to_json(), "block": nested(100_000)})


@pytest.mark.parametrize("data", [None, [], "x", 3, b"", {1: 2}, {(): 0}])
def test_what_is_no_dict_of_one_is_refused(data: object, refused: Refused) -> None:
    with refused("description of the raster"):
        Description.from_json(data)


def test_a_message_is_short_whatever_was_given(refused: Refused) -> None:
    with refused("^.{1,420}$"):
        Description.from_json({**DESCRIPTION.to_json(), "x" * 10**6: "y" * 10**6})


def test_alpha_is_apart_from_measurements() -> None:
    assert (DESCRIPTION.measured, DESCRIPTION.alpha) == ((1,), 2)
    assert replace(DESCRIPTION, bands=(BAND,)).alpha is None


def test_differences_are_named() -> None:
    other = replace(
        DESCRIPTION,
        crs=None,
        nodata=math.nan,
        block=(7, 7),
        bands=(replace(BAND, unit=None, tags={"x": {}}), DESCRIPTION.bands[1]),
        tags={"": {"AREA_OR_POINT": "Point", "more": "x"}},
    )
    assert list(differences(DESCRIPTION, DESCRIPTION)) == []
    assert list(differences(DESCRIPTION, other)) == [
        *("bands.1.tags.", "bands.1.tags.x", "bands.1.unit", "crs", "nodata")
    ]


def test_gray_is_as_good_as_undefined_and_nothing_else() -> None:
    colours = ("undefined", "gray", "gray", "red")
    others = ("gray", "undefined", "red", "undefined")
    one, other = (
        replace(DESCRIPTION, bands=tuple(replace(BAND, colour=colour) for colour in each))
        for each in (colours, others)
    )
    assert list(differences(one, other)) == ["bands.3.colour", "bands.4.colour"]


def test_a_crs_is_the_same_when_rasterio_has_read_it_back() -> None:
    older = CRS.from_wkt(CRS.from_wkt(UTM).to_wkt()).to_wkt(version="WKT2_2019")
    assert older != UTM
    assert list(differences(DESCRIPTION, replace(DESCRIPTION, crs=older))) == []
    another = CRS.from_epsg(32634).to_wkt(version="WKT2_2019")
    assert list(differences(DESCRIPTION, replace(DESCRIPTION, crs=another))) == ["crs"]
