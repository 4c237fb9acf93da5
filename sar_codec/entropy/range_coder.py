"""Range coding: parts of 2^24, one after the other, to words of 32 bits and back.

The stream is that of `constriction.stream.queue.RangeEncoder`, word for word, but that it ends in
the number within the last range that has the most zeros, which are left out: the tests hold it to
that. It is written here again because that coder is called once for the symbols of each table, and
under Python's lock: with several threads, that was most of the time.

Martin 1979; Bamler 2022, https://arxiv.org/abs/2201.01741.
"""

import numpy as np
from numpy.typing import NDArray

from sar_codec.entropy.compiled import compiled
from sar_codec.entropy.tables import PRECISION

WORD = np.dtype("<u4")
_WORD_BITS = np.uint64(32)
_BITS = np.uint64(PRECISION)
_ALL = np.uint64(2**64 - 1)
LOW_WORD = np.uint64(2**32 - 1)

Shares = NDArray[np.uint32]
State = NDArray[np.uint64]  # of a decoder: distance from the lower end, range, next word's number


@compiled
def encode(begins: Shares, widths: Shares) -> NDArray[np.uint32]:
    """Words that tell a sequence of intervals of [0, 2^24), by their begins and widths, `(N,)`."""
    words = np.empty(len(begins) + 2, np.uint32)
    count = 0
    lower, span = np.uint64(0), _ALL
    for begin, width in zip(begins, widths):  # noqa: B905  # numba does not know `strict`
        unit = span >> _BITS
        span = unit * np.uint64(width)
        moved = lower + unit * np.uint64(begin)
        if moved < lower:
            _carry(words, count)
        lower = moved
        if span <= LOW_WORD:
            words[count] = np.uint32(lower >> _WORD_BITS)
            count += 1
            lower <<= _WORD_BITS
            span <<= _WORD_BITS
    if len(begins) == 0:
        return words[:0]
    # Of the numbers within the span, one of those that end in the most zero bytes; beyond the last
    # word decoders read zeros.
    zeros = np.uint64(56)
    while True:
        below = (np.uint64(1) << zeros) - np.uint64(1)
        end = (lower + below) & ~below
        if end - lower < span:
            break
        zeros -= np.uint64(8)
    if end < lower:
        _carry(words, count)
    words[count] = np.uint32(end >> _WORD_BITS)
    words[count + 1] = np.uint32(end & LOW_WORD)
    count += 2
    while count > 0 and words[count - 1] == np.uint32(0):
        count -= 1
    return words[:count]


@compiled
def _carry(words: NDArray[np.uint32], count: int) -> None:
    """Adds one to a number of so many words, the last of which is the least."""
    place = count - 1
    while words[place] == np.uint32(2**32 - 1):
        words[place] = np.uint32(0)
        place -= 1
    words[place] += np.uint32(1)


@compiled
def decoder(words: NDArray[np.uint32]) -> State:
    """The state in which a decoder begins."""
    point = np.uint64(0)
    for place in range(2):
        word = np.uint64(words[place]) if place < len(words) else np.uint64(0)
        point = (point << _WORD_BITS) | word
    return np.array([point, _ALL, np.uint64(2)], np.uint64)


@compiled
def share(state: State) -> np.int64:
    """Where in [0, 2^24) the interval that comes next has a point; 2^24 and more if nowhere."""
    return np.int64(state[0] // (state[1] >> _BITS))


@compiled
def advance(state: State, words: NDArray[np.uint32], begin: int, width: int) -> None:
    """Goes on behind the interval that comes next."""
    low, span = part(state[1], begin, width)
    state[0] -= low
    state[1] = span
    if span <= LOW_WORD:
        state[0], state[1], state[2] = with_word(state[0], span, state[2], words)


@compiled
def part(span: np.uint64, begin: int, width: int) -> tuple[np.uint64, np.uint64]:
    """An interval of [0, 2^24) within a range: how far above its lower end, and its own range."""
    unit = span >> _BITS
    return unit * np.uint64(begin), unit * np.uint64(width)


@compiled
def with_word(
    point: np.uint64, span: np.uint64, place: np.uint64, words: NDArray[np.uint32]
) -> tuple[np.uint64, np.uint64, np.uint64]:
    """The state of a decoder (see `State`) whose range is within a word, with the next one."""
    word = np.uint64(words[place]) if place < np.uint64(len(words)) else np.uint64(0)
    return (point << _WORD_BITS) | word, span << _WORD_BITS, place + np.uint64(1)
