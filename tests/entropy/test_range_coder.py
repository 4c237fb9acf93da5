"""The stream is that of another coder, which wrote files before this one did."""

from collections.abc import Callable

import numpy as np
import pytest
from constriction import stream
from numpy.typing import NDArray

from sar_codec.entropy.range_coder import PRECISION, advance, decoder, encode, share

TOTAL = 2**PRECISION
Integers = NDArray[np.int64]
Draw = Callable[[np.random.Generator, Integers], Integers]
# The ends of the range are where carries come, one after another.
DRAWS: dict[str, Draw] = {
    "any": lambda rng, sizes: rng.integers(0, sizes),
    "first": lambda rng, sizes: np.zeros_like(sizes),
    "last": lambda rng, sizes: sizes - 1,
    "ends": lambda rng, sizes: (sizes - 1) * rng.integers(0, 2, len(sizes)),
}


def intervals(numbers: Integers, sizes: Integers) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Of numbers that are all as probable: 2^24 in so many parts, the last takes what is left."""
    each = TOTAL // sizes
    widths = np.where(numbers == sizes - 1, TOTAL - numbers * each, each)
    return (numbers * each).astype(np.uint32), widths.astype(np.uint32)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
@pytest.mark.parametrize("largest", [2, 256, 2**16])
def test_words_are_those_of_constriction(draw: Draw, largest: int) -> None:
    rng = np.random.default_rng(largest)
    for length in (0, 1, 2, 3, *rng.integers(4, 200, 150)):
        sizes = rng.integers(2, largest + 1, length)
        numbers = draw(rng, sizes)
        other = stream.queue.RangeEncoder()
        other.encode(numbers.astype(np.int32), stream.model.Uniform(), sizes.astype(np.int32))
        words, expected = encode(*intervals(numbers, sizes)), other.get_compressed()
        assert len(words) <= len(expected)
        assert words[:-2].tolist() == expected[: max(len(words) - 2, 0)].tolist()
        padded = np.concatenate([words, np.zeros(2, np.uint32)])
        back = stream.queue.RangeDecoder(padded)
        found = back.decode(stream.model.Uniform(), sizes.astype(np.int32))
        assert found.tolist() == numbers.tolist()


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_intervals_are_found_again(draw: Draw) -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(2, 2**16, 5000)
    begins, widths = intervals(draw(rng, sizes), sizes)
    words = encode(begins, widths)
    state = decoder(words)
    for begin, width in zip(begins.tolist(), widths.tolist(), strict=True):
        assert begin <= share(state) < begin + width
        advance(state, words, begin, width)
    assert 32 * len(words) <= np.log2(TOTAL / widths).sum() + 64


def test_words_that_are_none_point_beyond_the_range() -> None:
    """A decoder can tell only where the quotient is not a share, which is next to nowhere."""
    words = np.full(2, 2**32 - 1, np.uint32)
    assert share(decoder(words)) >= TOTAL
    assert share(decoder(words[:0])) == 0
