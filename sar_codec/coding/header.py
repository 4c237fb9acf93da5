"""A file's header: canonical JSON, deflated, so that the same header is the same bytes."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

from sar_codec.coding.layout import MAX_HEADER, damaged, newer
from sar_codec.errors import UserError

# What most headers hold: deflating begins as if it had come before. Part of the format, for ever:
# deflated data name their dictionary, and new ones may be added.
_FIRST = (
    rb"PROJCRS[\"WGS 84 / UTM zone 33N\",BASEGEOGCRS[\"WGS 84\",ENSEMBLE[\"World Geodet"
    rb"ic System 1984 ensemble\",MEMBER[\"World Geodetic System 1984 (Transit)\"],MEMBE"
    rb"R[\"World Geodetic System 1984 (G730)\"],MEMBER[\"World Geodetic System 1984 (G8"
    rb"73)\"],MEMBER[\"World Geodetic System 1984 (G1150)\"],MEMBER[\"World Geodetic Sy"
    rb"stem 1984 (G1674)\"],MEMBER[\"World Geodetic System 1984 (G1762)\"],MEMBER[\"Wor"
    rb"ld Geodetic System 1984 (G2139)\"],MEMBER[\"World Geodetic System 1984 (G2296)\""
    rb"],ELLIPSOID[\"WGS 84\",6378137,298.257223563,LENGTHUNIT[\"metre\",1]],ENSEMBLEAC"
    rb"CURACY[2.0]],PRIMEM[\"Greenwich\",0,ANGLEUNIT[\"degree\",0.0174532925199433]],ID"
    rb"[\"EPSG\",4326]],CONVERSION[\"UTM zone 33N\",METHOD[\"Transverse Mercator\",ID["
    rb"\"EPSG\",9807]],PARAMETER[\"Latitude of natural origin\",0,ANGLEUNIT[\"degree\","
    rb"0.0174532925199433],ID[\"EPSG\",8801]],PARAMETER[\"Longitude of natural origin\""
    rb",15,ANGLEUNIT[\"degree\",0.0174532925199433],ID[\"EPSG\",8802]],PARAMETER[\"Scal"
    rb"e factor at natural origin\",0.9996,SCALEUNIT[\"unity\",1],ID[\"EPSG\",8805]],PA"
    rb"RAMETER[\"False easting\",500000,LENGTHUNIT[\"metre\",1],ID[\"EPSG\",8806]],PARA"
    rb"METER[\"False northing\",0,LENGTHUNIT[\"metre\",1],ID[\"EPSG\",8807]]],CS[Cartes"
    rb"ian,2],AXIS[\"(E)\",east,ORDER[1],LENGTHUNIT[\"metre\",1]],AXIS[\"(N)\",north,OR"
    rb"DER[2],LENGTHUNIT[\"metre\",1]],USAGE[SCOPE[\"Navigation and medium accuracy spa"
    rb"tial referencing.\"],AREA[\"Between 12\u00b0E and 18\u00b0E, northern hemisphere"
    rb" between equator and 84\u00b0N, onshore and offshore. Austria. Bosnia and Herzeg"
    rb"ovina. Cameroon. Central African Republic. Chad. Congo. Croatia. Czechia. Democr"
    rb"atic Republic of the Congo (Zaire). Gabon. Germany. Hungary. Italy. Libya. Malta"
    rb". Niger. Nigeria. Norway. Poland. San Marino. Slovakia. Slovenia. Svalbard. Swed"
    rb"en. Vatican City State.\"],BBOX[0,12,84,18]],ID[\"EPSG\",32633]]GEOGCRS[\"WGS 84"
    rb"\",ENSEMBLE[\"World Geodetic System 1984 ensemble\",MEMBER[\"World Geodetic Syst"
    rb"em 1984 (Transit)\"],MEMBER[\"World Geodetic System 1984 (G730)\"],MEMBER[\"Worl"
    rb"d Geodetic System 1984 (G873)\"],MEMBER[\"World Geodetic System 1984 (G1150)\"],"
    rb"MEMBER[\"World Geodetic System 1984 (G1674)\"],MEMBER[\"World Geodetic System 19"
    rb"84 (G1762)\"],MEMBER[\"World Geodetic System 1984 (G2139)\"],MEMBER[\"World Geod"
    rb"etic System 1984 (G2296)\"],ELLIPSOID[\"WGS 84\",6378137,298.257223563,LENGTHUNI"
    rb"T[\"metre\",1]],ENSEMBLEACCURACY[2.0]],PRIMEM[\"Greenwich\",0,ANGLEUNIT[\"degree"
    rb"\",0.0174532925199433]],CS[ellipsoidal,2],AXIS[\"geodetic latitude (Lat)\",north"
    rb",ORDER[1],ANGLEUNIT[\"degree\",0.0174532925199433]],AXIS[\"geodetic longitude (L"
    rb"on)\",east,ORDER[2],ANGLEUNIT[\"degree\",0.0174532925199433]],USAGE[SCOPE[\"Hori"
    rb"zontal component of 3D system.\"],AREA[\"World.\"],BBOX[-90,-180,90,180]],ID[\"E"
    rb"PSG\",4326]]"
    b'{"about":{"max_error_db":null,"mode":"bounded","mode":"quality","model":"0123456789abcdef",'
    b'"program":"sar_codec 0.1.0","quality":null,"quantity":"amplitude","quantity":"power",'
    b'"quantity":"db","shift_db":[0.0,0.0],"tile":[512,1024]},"raster":{"bands":[{"colour":"gray",'
    b'"name":null,"offset":0.0,"scale":1.0,"tags":{},"unit":null},{"colour":"undefined","name":'
    b'"VV","offset":0.0,"scale":1.0,"tags":{},"unit":"dB"}],"block":[256,256],"block":[1,'
    b'"crs":null,"dtype":"uint16","dtype":"float32","ground_points":[],"ground_points_crs":null,'
    b'"has_mask":false,"height":512,"is_tiled":true,"nodata":"nan","nodata":0.0,"nodata":null,'
    b'"overviews":[],"tags":{"":{"AREA_OR_POINT":"Area"}},"transform":null,"width":512}}'
)
# A quarter of a small image's header was the number of a network that everybody has.
_SECOND = _FIRST + (
    b'"model":"7d7f37e88194fb8af40400fd12b34016e6f04cbb0366e66b7f1b1d87ce4e3870","program":"'
    b'"model":"fc23d7be91d26ee7e6999007109dcca1ba71924042a6adcce34eaa37ce0679d9","program":"'
)
# Whole headers, of which small images' then differ in a few numbers.
_QUALITY = (
    b'{"about":{"grid":{"across":512,"columns":[-1,"height":512,"moved":[],"rows":[1,"width":512},'
    b'"max_error_db":null,"mode":"quality","model":"%b'
    b'","program":"sar_codec 0.1.0","quality":5.0,"quantity":"db","shift_db":[0.0],"tile":[512,512'
    b']},"raster":{"bands":[{"colour":"undefined","name":null,"offset":0.0,"scale":1.0,"tags":{},'
    b'"unit":null}],"block":[1,512],"crs":null,"dtype":"float32","ground_points":[],'
    b'"ground_points_crs":null,"has_mask":false,"height":512,"is_tiled":false,"nodata":null,'
    b'"overviews":[],"tags":{},"transform":null,"width":512}}'
)
_THIRD = (
    _SECOND
    + (
        b'{"about":{"max_error_db":0.5,"mode":"bounded","model":"'
        b"c928b9ce269fad78c89c1c35135e544619ba54efb379b0c79ce9d0de08b0820e"
        b'","program":"sar_codec 0.1.0","quality":null,"quantity":"amplitude","shift_db":[0.0],'
        b'"tile":[1024,1024]},"raster":{"bands":[{"colour":"gray","name":null,"offset":0.0,"scale":1.0,'
        b'"tags":{},"unit":null}],"block":[1,512],"crs":null,"dtype":"uint16","ground_points":[],'
        b'"ground_points_crs":null,"has_mask":false,"height":512,"is_tiled":false,"nodata":null,'
        b'"overviews":[],"tags":{"":{"AREA_OR_POINT":"Area"}},"transform":null,"width":512}}'
    )
    + _QUALITY % b"fc23d7be91d26ee7e6999007109dcca1ba71924042a6adcce34eaa37ce0679d9"
)
_FOURTH = _THIRD + _QUALITY % b"f0eea7f4d2a9be693c02e9672a4350cc0e29af5428f0c2cae8aa3580dc0a3d14"
_FIFTH = _FOURTH + _QUALITY % b"9ebb3c20784e82717d814d34ea76333000ab337e5e861537c09ac6f86aa2ccdd"
_SIXTH = _FIFTH + _QUALITY % b"e468d5c2e1de9716dd792153bd7e8be90c01a8b27f031996565bbfafbd58fcfa"
# By checksum, in the order of their numbers.
DICTIONARIES = {
    zlib.adler32(each): each for each in (_FIRST, _SECOND, _THIRD, _FOURTH, _FIFTH, _SIXTH)
}
DICTIONARY = _SIXTH  # of what is written now
_NAME = slice(2, 6)  # where zlib says which dictionary it was (RFC 1950)
_RAW = -zlib.MAX_WBITS  # deflated data alone (RFC 1951)
# Python's objects may take 60 bytes for each of these marks, which are one byte in JSON.
MAX_MARKS = 2**19


def encode_header(header: Mapping[str, Any]) -> bytes:
    """A header's canonical JSON, deflated, from which `decode_header` gives an equal one.

    Raises:
        ValueError: JSON cannot say it, or not so that it could be read again.
        UserError: it is too large.
    """
    content = _checked(header)
    deflater = zlib.compressobj(9, zdict=DICTIONARY)
    return deflater.compress(content) + deflater.flush()


def encode_small_header(header: Mapping[str, Any]) -> bytes:
    """As `encode_header`, in fewer bytes: without a checksum, the dictionary told by its number.

    Raises:
        ValueError, UserError: as `encode_header`.
    """
    content = _checked(header)
    deflater = zlib.compressobj(9, wbits=_RAW, zdict=DICTIONARY)
    number = list(DICTIONARIES.values()).index(DICTIONARY)
    return bytes([number]) + deflater.compress(content) + deflater.flush()


def decode_header(content: bytes) -> dict[str, Any]:
    """The inverse of `encode_header`.

    Only canonical JSON is taken, so no key comes twice, no number is infinite and what is read is
    what was written; and only as much as takes little memory.

    Raises:
        UserError: it is not canonical JSON, or too large.
    """
    named = DICTIONARIES.get(int.from_bytes(content[_NAME]), DICTIONARY)
    return _inflated(content, zlib.decompressobj(zdict=named))


def decode_small_header(content: bytes) -> dict[str, Any]:
    """The inverse of `encode_small_header`; as `decode_header`.

    Raises:
        UserError: it is not canonical JSON, or too large.
    """
    number, dictionaries = int.from_bytes(content[:1]), list(DICTIONARIES.values())
    if not content or number >= len(dictionaries):
        raise newer(f"its header needs dictionary {number}")
    return _inflated(content[1:], zlib.decompressobj(_RAW, dictionaries[number]))


def _inflated(content: bytes, inflater: Any) -> dict[str, Any]:
    try:
        text = inflater.decompress(content, MAX_HEADER + 1)
    except zlib.error as error:
        raise damaged(f"a header that cannot be inflated ({error})") from None
    if excess := _excess(text):
        raise damaged(f"a header of {excess}")
    if not inflater.eof or inflater.unused_data:
        raise damaged("a header that is not deflated to its end")
    try:
        return _parsed(text)
    except ValueError as error:
        raise damaged(str(error)) from None


def _checked(header: Mapping[str, Any]) -> bytes:
    try:
        content = _canonical(dict(header))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"a header that JSON cannot hold: {error}") from error
    if excess := _excess(content):
        raise UserError(f"metadata of {excess}; leave some of the image's tags out")
    _parsed(content)
    return content


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        header = json.loads(content.decode())
        is_canonical = isinstance(header, dict) and _canonical(header) == content
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a header that is not JSON ({error})") from None
    if not is_canonical:
        raise ValueError("a header that is not a JSON object in canonical form")
    return header


def _canonical(header: dict[str, Any]) -> bytes:
    text = json.dumps(
        header, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )
    return text.encode()


def _excess(content: bytes) -> str | None:
    """How much too large a header is, None if it is not."""
    if len(content) > MAX_HEADER:
        return f"{len(content):,} bytes, the most is {MAX_HEADER:,}"
    marks = sum(map(content.count, (b"[", b"{", b",")))
    return f"about {marks:,} values, the most is {MAX_MARKS:,}" if marks > MAX_MARKS else None
