"""All that a raster says goes through a description and JSON into a GeoTIFF, to the last bit.

The oracle is rasterio, asked anew for everything, and for some of it the TIFF's own bytes.
"""

import json
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import Affine

from sar_codec.data.description import Description
from sar_codec.data.georaster import describe, open_input
from sar_codec.data.geotiff import open_output
from sar_codec.data.raster import quiet

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

UTM = CRS.from_epsg(32633)
GEOGRAPHIC = CRS.from_epsg(4326)
LOCAL = CRS.from_wkt(
    'ENGCRS["radar",EDATUM["x"],CS[Cartesian,2],AXIS["range",southWest],AXIS["azimuth",north],'
    'LENGTHUNIT["pixel",1.5]]'
)
OWN = CRS.from_proj4("+proj=tmerc +lat_0=1.25 +lon_0=2 +k=0.9 +ellps=GRS80 +towgs84=1,2,3,0,0,0,0")
COMPOUND = CRS.from_user_input("EPSG:32633+5773")
NORTH_UP = Affine(10, 0, 500000 + 1 / 3, 0, -10, 4600000.7)
ROTATED = Affine(7.1, 2 / 3, 1e6, -2 / 7, -6.9, -3e-5)


def points(*names: str) -> list[GroundControlPoint]:
    places = np.random.default_rng(0).normal(size=(len(names), 5)) * 100
    return [
        GroundControlPoint(*place, id=name)
        for name, place in zip(names, places.tolist(), strict=True)
    ]


RPC = {
    **{name: str(n + 0.5) for n, name in enumerate(("LINE_OFF", "SAMP_OFF", "LAT_OFF"))},
    **{"LONG_OFF": "-3", "HEIGHT_OFF": "0.1", "LINE_SCALE": "5", "SAMP_SCALE": "6"},
    **{"LAT_SCALE": "7", "LONG_SCALE": "8", "HEIGHT_SCALE": "9", "ERR_BIAS": "1", "ERR_RAND": "2"},
    **{
        f"{name}_COEFF": " ".join(f"{1 / (n + 3):.15g}" for n in range(20))
        for name in ("LINE_NUM", "LINE_DEN", "SAMP_NUM", "SAMP_DEN")
    },
}
FINER_RPC = {**RPC, "LINE_NUM_COEFF": " ".join(f"{1 / (n + 3):.17g}" for n in range(20))}
ODD = {
    "unicode": "Zürich 漢字 😀",
    "lines": "one\ntwo\r\nthree\t.",
    "equation": "a=b=c; d:e",
    "xml": "<a b=\"c\">&amp; 'd'</a> ]]> <!-- -->",
    "trailing ": "space  ",
    "STATISTICS_MEAN": "0.1",
}


@dataclass(frozen=True)
class Case:
    """A source: how it is created, and what is done to it before its pixels are written."""

    name: str
    profile: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[Any], object] = lambda dataset: None


def tagged(*, band: int = 0, domain: str | None = None, **tags: str) -> Callable[[Any], object]:
    return lambda dataset: dataset.update_tags(band, domain, **tags)


def colours(*names: str) -> Callable[[Any], object]:
    return lambda dataset: setattr(dataset, "colorinterp", [ColorInterp[name] for name in names])


def pointed(then: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda dataset: (dataset.update_tags(AREA_OR_POINT="Point"), then(dataset))


def placed(crs: CRS | None, transform: Affine) -> Callable[[Any], object]:
    def place(dataset: Any) -> None:
        if crs:
            dataset.crs = crs
        dataset.transform = transform

    return place


def measured(dataset: Any) -> None:
    dataset.scales, dataset.offsets = (0.1, 1 / 3), (-1e-300, 5e300)
    dataset.units = ("dB", 'm² <>&"')
    dataset.descriptions = ("Gamma0_VV é\n<&=", "VH")


CASES = [
    Case("nothing"),
    *(Case(dtype, {"dtype": dtype}) for dtype in ("uint8", "uint16", "int16", "float64", "int8")),
    *(Case(f"{count} bands", {"count": count}) for count in (2, 3, 4)),
    *(Case(f"nodata {value}", {"nodata": value}) for value in (0, -9999, np.nan, 1e-32, np.inf)),
    Case("nodata 0.1 as double", {"nodata": 0.1, "dtype": "float64"}),
    Case("nodata beside bytes", {"nodata": 255, "dtype": "uint8"}),
    Case("1 x 1", {"height": 1, "width": 1}),
    Case("1 x 100000", {"height": 1, "width": 100_000}),
    Case("crs alone", {"crs": UTM}),
    Case("utm", {"crs": UTM, "transform": NORTH_UP}),
    Case("geographic", {"crs": GEOGRAPHIC, "transform": Affine(1e-4, 0, 1 / 3, 0, -1e-4, 50)}),
    Case("compound", {"crs": COMPOUND, "transform": NORTH_UP}),
    Case("of its own", {"crs": OWN, "transform": NORTH_UP}),
    Case("local", {"crs": LOCAL, "transform": NORTH_UP}),
    Case("transform without crs", {"transform": NORTH_UP}),
    Case("rotated", {"crs": UTM, "transform": ROTATED}),
    Case("south up", {"crs": UTM, "transform": Affine(10, 0, 1 / 3, 0, 10, 1 / 7)}),
    Case("point", {}, pointed(placed(UTM, Affine(10, 0, 500000, 0, -10, 4600000)))),
    Case("rounded point", {}, pointed(placed(UTM, Affine(0.1, 0, 1 / 3, 0, -0.3, 1 / 7)))),
    Case("gcps", {"gcps": points("1", "2", "3", "4"), "crs": GEOGRAPHIC}),
    Case("gcps of points", {}, pointed(lambda d: setattr(d, "gcps", (points("1"), GEOGRAPHIC)))),
    Case("gcps without crs", {}, lambda d: setattr(d, "gcps", (points("1", "2", "3"), CRS()))),
    Case("rpc", {}, tagged(domain="RPC", **RPC)),
    Case("tags", {}, tagged(**ODD)),
    Case("long tags", {}, tagged(long="ü<" * 50_000, other="x" * 100_000)),
    Case("band tags", {"count": 2}, tagged(band=2, **ODD)),
    Case("tags by domain", {}, tagged(domain="SAR & <co>", **ODD)),
    Case("band tags by domain", {}, tagged(band=1, domain="ENVI", **ODD)),
    Case("geolocation", {}, tagged(domain="GEOLOCATION", X_DATASET="x.tif", X_BAND="1", SRS="é")),
    Case(
        "tiff tags",
        {},
        tagged(
            TIFFTAG_DATETIME="2021:04:01 05:26:23",
            TIFFTAG_IMAGEDESCRIPTION=" Sentinel-1B IW GRD\n" + "long " * 10_000,
            TIFFTAG_SOFTWARE="Sentinel-1 IPF 003.31",
            TIFFTAG_COPYRIGHT="© ESA",
            TIFFTAG_MINSAMPLEVALUE="1",
            TIFFTAG_XRESOLUTION="72",
            TIFFTAG_YRESOLUTION="72",
            TIFFTAG_RESOLUTIONUNIT="2 (pixels/inch)",
        ),
    ),
    Case("nodata by tag", {"count": 2, "dtype": "uint8"}, tagged(NODATA_VALUES="0 7")),
    Case("units", {"count": 2}, measured),
    Case("gray", {}, colours("gray")),
    Case("undefined", {"count": 2}, colours("gray", "undefined")),
    Case("red", {"count": 3, "dtype": "uint8"}, colours("red", "green", "blue")),
    Case("radar's band", {"count": 2}, colours("sar_c", "sar_x")),
    *(
        Case(f"alpha of {dtype}", {"count": 2, "dtype": dtype}, colours("gray", "alpha"))
        for dtype in ("uint8", "uint16", "float32")
    ),
    Case("alpha in front", {"count": 2}, colours("alpha", "gray")),
    Case("alpha of many", {"count": 5}, colours("gray", *["undefined"] * 3, "alpha")),
]


def source_of(case: Case, folder: Path) -> Path:
    path = folder / "source.tif"
    profile = {"height": 5, "width": 7, "count": 1, "dtype": "float32", **case.profile}
    shape = profile["count"], profile["height"], profile["width"]
    with (
        quiet(),
        rasterio.open(path, "w", driver="GTiff", photometric="MINISBLACK", **profile) as d,
    ):
        case.prepare(d)
        d.write(np.random.default_rng(0).integers(0, 100, shape).astype(profile["dtype"]))
    return path


def restored(source: Path, target: Path) -> Path:
    """A copy of a raster by way of JSON."""
    text = json.dumps(describe(source).to_json(), allow_nan=False)
    description = Description.from_json(json.loads(text))
    with open_input(source) as original, open_output(target, description) as output:
        for row in range(0, description.height, 512):
            for column in range(0, description.width, 4096):
                place = row, column
                size = (
                    min(512, description.height - row),
                    min(4096, description.width - column),
                )
                output.write(original.read(*place, *size)[0], *place)
                if description.has_mask:
                    output.write_mask(original.read_mask(*place, *size), *place)
                if description.alpha is not None:
                    output.write_alpha(original.read_alpha(*place, *size), *place)
    return target


def said(path: Path) -> dict[str, str]:
    """All that rasterio tells of a raster, as text that is different where one bit is."""
    made_by_gdal = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS"}
    with quiet(), rasterio.open(path) as source:
        told = {
            "shape": repr((source.shape, source.dtypes, source.colorinterp)),
            "crs": repr(source.crs and source.crs.to_wkt(version="WKT2_2019")),
            "crs, old": repr(source.crs and source.crs.to_wkt()),
            "transform": " ".join((value + 0.0).hex() for value in source.transform),  # no -0
            "gcps": repr([point.asdict() for point in source.gcps[0]]),
            "gcps crs": repr(source.gcps[1] and source.gcps[1].to_wkt()),
            "rpcs": repr(source.rpcs and source.rpcs.to_dict()),
            "nodata": repr(source.nodatavals),
            "masks": repr(source.mask_flag_enums),
            "overviews": repr([source.overviews(index) for index in source.indexes]),
            "names": repr((source.descriptions, source.units)),
            "scales": repr((source.scales, source.offsets)),
            "pixels": repr(source.read().tobytes()),
            "mask": repr(source.read_masks().tobytes()),
        }
        for index in (0, *source.indexes):
            for domain in {"", *source.tag_namespaces(index)} - made_by_gdal:
                told |= {
                    f"tag {index} {domain} {name}": value
                    for name, value in source.tags(index, ns=domain or None).items()
                }
    return told


@pytest.fixture
def no_warning(caplog: pytest.LogCaptureFixture) -> Any:
    yield
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


@pytest.mark.usefixtures("no_warning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_geotiff_is_restored_to_the_last_bit_in_one_file(case: Case, tmp_path: Path) -> None:
    source = source_of(case, tmp_path)
    target = restored(source, tmp_path / "restored.tif")
    assert said(target) == said(source)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["restored.tif", "source.tif"]


@pytest.mark.usefixtures("no_warning")
@pytest.mark.parametrize("size", [(1, 600), (600, 1), (333, 500), (257, 511), (500, 77)])
def test_overviews_and_mask_are_restored(
    write_raster: Callable[..., Path], tmp_path: Path, size: tuple[int, int]
) -> None:
    array = np.random.default_rng(0).gamma(1, size=size).astype("float32")
    source = write_raster(tmp_path / "source.tif", array, mask=array > 0.3)
    with quiet(), rasterio.open(source, "r+") as target:
        target.build_overviews([2, 4, 8, 64], Resampling.nearest)
    target = restored(source, tmp_path / "restored.tif")
    assert said(target) == said(source)
    assert len(list(tmp_path.iterdir())) == 2


def virtual(folder: Path, dataset: str, band: str = "") -> Path:
    """A VRT, which holds what a GeoTIFF cannot."""
    path = folder / "source.vrt"
    band = f'<VRTRasterBand dataType="Float32" band="1">{band}</VRTRasterBand>'
    band = band.replace(">", "><ColorInterp>Gray</ColorInterp>", 1)
    text = f'<VRTDataset rasterXSize="7" rasterYSize="5">{dataset}{band}</VRTDataset>'
    path.write_text(text, encoding="utf-8")
    return path


def srs(crs: CRS) -> str:
    return f"<SRS>{escape(crs.to_wkt(version='WKT2_2019'))}</SRS>"


def metadata(tags: dict[str, str], domain: str = "") -> str:
    items = (f"<MDI key={quoteattr(name)}>{escape(tags[name])}</MDI>" for name in tags)
    return f"<Metadata domain={quoteattr(domain)}>{''.join(items)}</Metadata>"


def ground(crs: CRS | None, *names: str) -> str:
    values = np.random.default_rng(0).normal(size=(len(names), 5)).tolist()
    places = (
        f'<GCP Id="{name}" Info="{name}!" Pixel="{column!r}" Line="{row!r}" '
        f'X="{x!r}" Y="{y!r}" Z="{z!r}"/>'
        for name, (column, row, x, y, z) in zip(names, values, strict=True)
    )
    projection = quoteattr(crs.to_wkt(version="WKT2_2019") if crs else "")
    return f"<GCPList Projection={projection}>{''.join(places)}</GCPList>"


MOVED = "<GeoTransform>0.1, 0.3, 0, 0.7, 0, -0.9</GeoTransform>"
ROUNDED = "<GeoTransform>-0.0001592250099144777, 0.9217253762584194, 0, 1, 0, -0.3</GeoTransform>"
POINT = metadata({"AREA_OR_POINT": "Point"})
NAMES = {"ns": "an argument of update_tags", "bidx": "another one", "of TIFF": "x"}
BEYOND_GEOTIFF = {
    "local crs": srs(LOCAL) + MOVED,
    "crs of its own": srs(OWN) + MOVED,
    "crs of another name": srs(CRS.from_wkt(GEOGRAPHIC.to_wkt().replace("WGS 84", "Mine"))) + MOVED,
    "points with names": ground(GEOGRAPHIC, "a", "ü", "", "1"),
    "points with names and no crs": ground(None, "a", "b", "c"),
    "points beside a transform": MOVED + ground(UTM, "1", "2", "3"),
    "points of pixels that are points": POINT + ground(UTM, "1", "2", "3"),
    "rounded point": POINT + srs(UTM) + ROUNDED,
    "fine rpc": metadata(FINER_RPC, "RPC"),
    "rpc and more": metadata({**RPC, "MIN_LONG": "1"}, "RPC"),
    "tags named like arguments": metadata(NAMES),
    "tags of a domain named like arguments": metadata(NAMES, "SAR"),
    "control characters": metadata({"bell": "a\x07b\x1f", "tab": "a\tb"}),
    "xml": '<Metadata domain="xml:A" format="xml"><a>b</a></Metadata>',
    "xml with attributes": '<Metadata domain="xml:A" format="xml"><a b="c">d</a></Metadata>',
}
KEPT_BY_TIFF = {"xml with attributes"}


@pytest.mark.usefixtures("no_warning")
@pytest.mark.parametrize("name", BEYOND_GEOTIFF)
def test_what_a_geotiff_cannot_hold_is_restored_beside_it(name: str, tmp_path: Path) -> None:
    source = virtual(tmp_path, BEYOND_GEOTIFF[name])
    target = restored(source, tmp_path / "restored.tif")
    before = said(source)
    del before["crs, old"]  # the same, but GeoTIFF gives their EPSG numbers to its parts
    assert before.items() <= said(target).items()
    assert (tmp_path / "restored.tif.aux.xml").exists() != (name in KEPT_BY_TIFF)
    assert len(list(tmp_path.iterdir())) == 3 - (name in KEPT_BY_TIFF)


@pytest.mark.usefixtures("no_warning")
def test_tags_of_a_band_that_a_geotiff_cannot_hold_are_restored_beside_it(tmp_path: Path) -> None:
    source = virtual(tmp_path, "", metadata(NAMES) + metadata(NAMES, "SAR"))
    target = restored(source, tmp_path / "restored.tif")
    assert said(source).items() <= said(target).items()


def test_what_cannot_be_restored_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    description = replace(
        describe(virtual(tmp_path, ground(UTM, "a"))), crs=UTM.to_wkt(version="WKT2_2019")
    )
    with open_output(tmp_path / "restored.tif", description) as output:
        output.write(np.ones((1, 5, 7), "float32"), 0, 0)
    assert "restored.tif: GeoTIFF does not keep all that the source said: crs" in caplog.text


@pytest.mark.parametrize("driver", ["ENVI", "PNG"])
def test_other_formats_are_restored_as_geotiff(
    write_raster: Callable[..., Path], tmp_path: Path, driver: str
) -> None:
    source = write_raster(
        tmp_path / "source",
        np.arange(35, dtype="uint8").reshape(5, 7),
        driver=driver,
        west_north=(1 / 3, 50),
        tags={"a": "b"},
        descriptions=["VV"],
    )
    before = said(source)
    after = said(restored(source, tmp_path / "restored.tif"))
    if driver == "ENVI":  # whose bands have no colour, and the first one of a TIFF must
        before["shape"] = before["shape"].replace("undefined: 0", "gray: 1")
    assert before.items() <= after.items()


# The oracle of last resort: what the TIFF's own tags hold, read without GDAL.


def tiff_tags(path: Path) -> dict[int, Any]:
    """The tags of the first image of a small-endian classic TIFF, numbers as tuples."""
    content = path.read_bytes()
    magic, start = struct.unpack_from("<4sI", content)
    assert magic == b"II*\0"
    (entries,) = struct.unpack_from("<H", content, start)
    tags = {}
    for place in range(start + 2, start + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from("<HHI", content, place)
        size = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 12: 8, 16: 8}[kind] * count
        offset = place + 8 if size <= 4 else struct.unpack_from("<I", content, place + 8)[0]
        raw = content[offset : offset + size]
        code = {1: "B", 3: "H", 4: "I", 5: "Q", 12: "d", 16: "Q"}.get(kind)
        tags[tag] = raw if code is None else struct.unpack(f"<{count}{code}", raw)
    return tags


GEOREFERENCING = {33550: "scale", 33922: "tie points", 34264: "matrix", 34735: "keys", 34737: "x"}
OTHERS = {42112: "tags", 42113: "nodata", 50844: "rpc", 306: "date", 270: "text", 305: "software"}


@pytest.mark.parametrize(
    "name",
    [
        *("utm", "geographic", "rotated", "gcps", "gcps of points", "point", "rpc", "tags"),
        *("tiff tags", "nodata 0", "nodata nan", "units", "compound", "long tags"),
    ],
)
def test_the_tags_of_the_tiff_itself_are_the_same(name: str, tmp_path: Path) -> None:
    source = source_of(next(case for case in CASES if case.name == name), tmp_path)
    before, after = (
        tiff_tags(path) for path in (source, restored(source, tmp_path / "restored.tif"))
    )
    kept = GEOREFERENCING | OTHERS
    found = {kept[tag]: value for tag, value in before.items() if tag in kept}
    assert found
    assert {kept[tag]: value for tag, value in after.items() if tag in kept} == found


def test_the_tie_points_of_pixels_that_are_points_lie_half_a_pixel_before(tmp_path: Path) -> None:
    """As the standard says: the place (0, 0) is the centre of such a pixel, not its corner."""
    source = virtual(tmp_path, POINT + ground(UTM, "1"))
    column, row, *_ = tiff_tags(restored(source, tmp_path / "restored.tif"))[33922]
    (point,) = describe(source).ground_points
    assert (column, row) == pytest.approx((point.column - 0.5, point.row - 0.5), abs=1e-12)


def real_files() -> list[Any]:
    """One of each folder; a few of them stand for the others in the default suite."""
    if not SHARED_DATA.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip("there are no real images"))]
    found = {
        path.relative_to(SHARED_DATA).parts[0]: path
        for path in sorted(SHARED_DATA.rglob("*"), reverse=True)
        if path.suffix in (".tif", ".tiff", ".img", ".png")
    }
    del found["safe_grd_blank"]  # large
    fast = ("opera_rtc_series", "s1grd_dn_gcps", "s1grd_mexico_ew", "s1sigma0_bolivia")
    return [
        pytest.param(path, id=folder, marks=() if folder in fast else pytest.mark.slow)
        for folder, path in sorted(found.items())
    ]


@pytest.mark.usefixtures("no_warning")
@pytest.mark.parametrize("source", real_files())
def test_real_files_are_restored(source: Path, tmp_path: Path) -> None:
    before, after = said(source), said(restored(source, tmp_path / "restored.tif"))
    before["shape"] = before["shape"].replace(
        "(<ColorInterp.undefined: 0>", "(<ColorInterp.gray: 1>"
    )
    assert before.items() <= after.items()
