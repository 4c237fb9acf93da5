import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from sar_codec.coding import header as headers
from sar_codec.coding.header import DICTIONARY, decode_header, encode_header
from sar_codec.errors import UserError
from sar_codec.networks import BOUNDED, QUALITY, network_of


def deflated(content: bytes) -> bytes:
    deflater = zlib.compressobj(zdict=DICTIONARY)
    return deflater.compress(content) + deflater.flush()


def test_headers_of_every_dictionary_are_read() -> None:
    header = {"about": {"model": "0" * 64}}
    for dictionary in headers.DICTIONARIES.values():
        deflater = zlib.compressobj(9, zdict=dictionary)
        content = deflater.compress(b'{"about":{"model":"' + 64 * b"0" + b'"}}') + deflater.flush()
        assert decode_header(content) == header
    # Files name them by these numbers: they may get company, but not change.
    numbers = [0x01DF20EF, 0x6B0D5187, 0xC0D1C4B7, 0x151A86BD, 0x902B47E3, 0x7C360A13]
    assert list(headers.DICTIONARIES)[:6] == numbers
    assert zlib.adler32(DICTIONARY) in headers.DICTIONARIES


@pytest.mark.parametrize("path", [QUALITY, BOUNDED], ids=["quality", "bounded"])
def test_the_number_of_a_network_that_comes_with_the_package_takes_next_to_no_bytes(
    path: Path,
) -> None:
    number = network_of(path).id
    with_it, without = (encode_header({"model": each, "program": 0}) for each in (number, "0"))
    assert len(with_it) <= len(without) + 4


def inflated(content: bytes) -> bytes:
    return zlib.decompressobj(zdict=DICTIONARY).decompress(content)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"b": 1, "a": [1.0, -0.0, 1e-308, 0.1, 2**80, True, None], "": {"é\u2028\0": '\\"\n'}},
        {"vmin": -30.000000000000004, "vmax": 1.7976931348623157e308},
    ],
)
def test_a_header_comes_back_from_its_one_form(header: dict[str, Any]) -> None:
    content = encode_header(header)
    assert decode_header(content) == header
    text = inflated(content)
    assert json.loads(text) == header
    assert encode_header(dict(reversed(header.items()))) == content
    assert text.count(b" ") == 0 == text.count(b"\n")


@pytest.mark.parametrize(
    "header",
    [
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": b"bytes"},
        {"a": {1, 2}},
        {1: "a number for a key, which comes back as text", "1": 0},
        {2: 0, 10: 0},
        {"a": "\ud800"},
        {"a": 10**5000},
        {"b": 0, 1: 0},
    ],
)
def test_what_json_cannot_hold_is_refused(header: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="header"):
        encode_header(header)


def test_a_header_nested_too_deep_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="header"):
        encode_header({"a": deep})


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b"null", b"1", b'"a"', b"{", b'{"a":1', b'{"a":1}}', b"{}\n", b" {}"),
        *(b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":1e999}', b'{"a":1,"a":1}', b'{"a":1,"a":2}'),
        *(b'{"b":1,"a":2}', b'{"a": 1}', b'{"a":1.50}', b'{"a":-0}', b'{"a":1E5}', b'{"a":01}'),
        *(b'{"a":"\\u0061"}', b'{"a":"\\ud800"}', b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}'),
        *(b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"{'a':1}", b'{"a":"\n"}', b"\0", b"{}\0"),
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    ids=lambda content: repr(content[:20]),
)
def test_what_is_not_canonical_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(UserError, match=r"a header .*the file is damaged; get another") as refusal:
        decode_header(deflated(content))
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", deflated(b"{}")[:-1], deflated(b"{}") + b"x", zlib.compress(b"{}")[:4], b"x\xda"],
)
def test_what_is_not_deflated_is_refused(content: bytes) -> None:
    with pytest.raises(UserError, match=r"a header .*the file is damaged; get another"):
        decode_header(content)


def test_a_header_that_inflates_without_end_takes_no_memory() -> None:
    bomb = deflated(b"[" * 2**26)
    assert len(bomb) < 2**17
    with pytest.raises(UserError, match="a header of 16,777,217 bytes"):
        decode_header(bomb)


@pytest.mark.parametrize(
    ("name", "limit", "header"),
    [("MAX_HEADER", 11, {"a": "1234"}), ("MAX_MARKS", 5, {"a": [[], {}, 1]})],
)
def test_a_header_has_limits(
    name: str, limit: int, header: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encode_header(header)
    monkeypatch.setattr(headers, name, limit + 1)
    assert decode_header(encode_header(header)) == header
    monkeypatch.setattr(headers, name, limit)
    with pytest.raises(UserError, match=f"metadata of .*{limit + 1}.* the most is {limit}; leave"):
        encode_header(header)
    with pytest.raises(UserError, match=f"a header of .*{limit + 1}.* the most is {limit}: the"):
        decode_header(content)


def test_a_header_of_16_mib_is_allowed() -> None:
    header = {"a": "x" * (2**24 - len('{"a":""}'))}
    content = encode_header(header)
    assert len(inflated(content)) == 2**24
    assert decode_header(content) == header
    with pytest.raises(UserError, match="metadata of 16,777,217 bytes"):
        encode_header({"ab": header["a"]})
