"""Numbers up to 2^32 - 1 in one to five bytes.

Seven bits a byte, the lowest first; a byte's highest bit says that more follow. There are as few
bytes as there can be, so that the same number is the same bytes.
"""

from sar_codec.coding.layout import MAX_U32, damaged

_LONGEST = 5  # bytes


def pack_number(value: int) -> bytes:
    """A number as bytes."""
    if not 0 <= value <= MAX_U32:
        raise ValueError(f"{value}, expected 0 to {MAX_U32}")
    lowest = []
    while value >= 128:
        lowest.append(value & 127 | 128)
        value >>= 7
    return bytes([*lowest, value])


def unpack_number(content: bytes, begin: int) -> tuple[int, int]:
    """The inverse of `pack_number`: the number that begins somewhere, and where it ends.

    Raises:
        UserError: there is none.
    """
    value = 0
    for place, each in enumerate(content[begin : begin + _LONGEST]):
        value |= (each & 127) << 7 * place
        if each < 128:
            if value > MAX_U32 or (each == 0 and place > 0):
                break
            return value, begin + place + 1
    raise damaged("something else where a number should be")
