import pytest

from sar_codec.coding.numbers import pack_number, unpack_number
from sar_codec.errors import UserError


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**32 - 1, "ffffffff0f")],
)
def test_numbers_are_these_bytes(value: int, expected: str) -> None:
    content = pack_number(value)
    assert content.hex() == expected
    assert unpack_number(b"x" + content + b"y", 1) == (value, 1 + len(content))


@pytest.mark.parametrize("content", ["", "80", "8000", "ff00", "ffffffff1f", "808080808001"])
def test_what_is_no_number_is_refused(content: str) -> None:
    with pytest.raises(UserError, match="the file is damaged"):
        unpack_number(bytes.fromhex(content), 0)


@pytest.mark.parametrize("value", [-1, 2**32])
def test_other_numbers_are_not_packed(value: int) -> None:
    with pytest.raises(ValueError, match="expected 0 to 4294967295"):
        pack_number(value)
