"""A file's header: canonical JSON, so that the same header is the same bytes."""

import json
from collections.abc import Mapping
from typing import Any

from sar_codec.coding.layout import MAX_HEADER, damaged
from sar_codec.errors import UserError

# Python's objects may take 60 bytes for each of these marks, which are one byte in JSON.
MAX_MARKS = 2**19


def encode_header(header: Mapping[str, Any]) -> bytes:
    """A header's canonical JSON, from which `decode_header` gives an equal one.

    Raises:
        ValueError: JSON cannot say it, or not so that it could be read again.
        UserError: it is too large.
    """
    try:
        content = _canonical(dict(header))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"a header that JSON cannot hold: {error}") from error
    if excess := _excess(content):
        raise UserError(f"metadata of {excess}; leave some of the image's tags out")
    _parsed(content)
    return content


def decode_header(content: bytes) -> dict[str, Any]:
    """The inverse of `encode_header`.

    Only canonical JSON is taken, so no key comes twice, no number is infinite and what is read is
    what was written; and only as much as takes little memory.

    Raises:
        UserError: it is not canonical JSON, or too large.
    """
    if excess := _excess(content):
        raise damaged(f"a header of {excess}")
    try:
        return _parsed(content)
    except ValueError as error:
        raise damaged(str(error)) from None


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
