"""The order in which symbols are coded: loops over them, compiled.

Of symbols that are taken at once, those of table 0 come first, then those of table 1, and so on;
after them what tells how far beyond their tables the escaped ones are, in the same order: the
class of each, the lower 16 bits of each, the upper ones.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sar_codec.entropy.compiled import compiled
from sar_codec.entropy.range_coder import LOW_WORD, Shares, State, advance, part, share, with_word
from sar_codec.entropy.tables import (
    ESCAPE,
    ESCAPE_CLASSES,
    LARGEST_SYMBOL,
    PRECISION,
    IntegerTables,
)
from sar_codec.errors import UserError

Symbols = NDArray[np.int64]
Numbers = NDArray[np.int16]  # of tables

_HALF = 16  # bits of escapes and of plain numbers are coded in two halves
_CLASS_WIDTH = 2**PRECISION // ESCAPE_CLASSES
_TOTAL = 2**PRECISION


class Columns(NamedTuple):
    """Tables as the loops take them.

    Attributes:
        begins: of each entry's interval, of all tables, one after the other.
        widths: of these.
        starts: of each table in them.
        lengths: of each table.
        lowest: symbol of each table's second entry.
        likely: where the entry of symbol 0 is, or the nearest one that there is.
        likely_begins: of each table's likely entry; and so are the two after it.
        likely_widths: 0 if it is that of escapes.
        likely_symbols: its symbol.
    """

    begins: Shares
    widths: Shares
    starts: Symbols
    lengths: Symbols
    lowest: Symbols
    likely: Symbols
    likely_begins: Shares
    likely_widths: Shares
    likely_symbols: Symbols

    @classmethod
    def of(cls, tables: IntegerTables) -> "Columns":
        """Those of integer tables.

        Raises:
            UserError: they are none, as of weights that were damaged.
        """
        widths = tables.frequencies.cpu().numpy().astype(np.int64)
        starts = np.array(tables.ends[:-1], np.int64)
        ends = widths.cumsum()
        begins = ends - widths
        lengths = np.diff(tables.ends)
        begins -= begins[starts].repeat(lengths)
        if widths.min() < 1 or ((begins + widths)[np.array(tables.ends[1:]) - 1] != _TOTAL).any():
            raise UserError("the model's tables of symbols are damaged: get another copy of it")
        lowest = tables.lowest.cpu().numpy().astype(np.int64)
        entries = np.clip(1 - lowest, 0, lengths - 1)
        likely = starts + entries
        shares = begins.astype(np.uint32), widths.astype(np.uint32)
        likely_begins, likely_widths = (each[likely] for each in shares)
        likely_widths[entries == ESCAPE] = 0
        places = starts, lengths, lowest, likely
        return cls(*shares, *places, likely_begins, likely_widths, lowest + entries - 1)


@compiled
def put(
    symbols: Symbols | NDArray[np.int32], which: Numbers, tables: Columns
) -> tuple[Shares, Shares]:
    """Intervals of symbols `(L, n)` that are taken in L steps: begins and widths.

    Args:
        symbols: what to code.
        which: the number of each one's table.
        tables: the tables.

    Raises:
        ValueError: a symbol is beyond `LARGEST_SYMBOL`.
    """
    length, count = symbols.shape
    begins = np.empty((length + length // 8 + 4) * count, np.uint32)  # few symbols take four
    widths = np.empty_like(begins)
    ends = np.empty(len(tables.starts) + 1, np.int64)
    order = np.empty(count, np.uint32)
    excess, classes = np.empty(count, np.int64), np.empty(count, np.int64)
    place = 0
    for step in range(length):
        if place + 4 * count > len(begins):
            begins, widths = _longer(begins, place), _longer(widths, place)
        _group(which[step], ends, order)
        escaped = 0
        for number in range(count):
            lane = order[number]
            symbol, table = symbols[step, lane], which[step, lane]
            lowest, start = tables.lowest[table], tables.starts[table]
            entry = symbol - lowest + 1
            if not 1 <= entry < tables.lengths[table]:
                if abs(symbol) > LARGEST_SYMBOL:
                    raise ValueError("a symbol is too large to be coded")
                above = symbol - (lowest + tables.lengths[table] - 1)
                excess[escaped] = 2 * above + 2 if above >= 0 else 2 * (lowest - symbol) - 1
                classes[escaped] = _class(excess[escaped])
                escaped += 1
                entry = ESCAPE
            begins[place] = tables.begins[start + entry]
            widths[place] = tables.widths[start + entry]
            place += 1
        for number in range(escaped):
            begins[place] = classes[number] * _CLASS_WIDTH
            widths[place] = _CLASS_WIDTH
            place += 1
            excess[number] -= 1 << classes[number]
        place = put_numbers(excess[:escaped], classes[:escaped], begins, widths, place)
    return begins[:place], widths[:place]


@compiled
def _longer(shares: Shares, used: int) -> Shares:
    longer = np.empty(2 * len(shares), np.uint32)
    for place in range(used):  # what assigns slices takes Numba three seconds to compile
        longer[place] = shares[place]
    return longer


@compiled
def put_numbers(numbers: Symbols, bits: Symbols, begins: Shares, widths: Shares, place: int) -> int:
    """Writes the intervals of numbers `(N,)` of so many bits; gives the place behind them."""
    for shift in (0, _HALF):
        for number in range(len(numbers)):
            size = min(bits[number] - shift, _HALF)
            if size > 0:
                part = (numbers[number] >> shift) & (2**_HALF - 1)
                begins[place] = part << (PRECISION - size)
                widths[place] = _TOTAL >> size
                place += 1
    return place


@compiled
def take(
    state: State, words: NDArray[np.uint32], which: Numbers, tables: Columns, symbols: Symbols
) -> bool:
    """Writes the symbols that come next; whether an encoder may have written them.

    Args:
        state: of the decoder, which it moves on.
        words: of the stream.
        which: the number of each one's table, `(n,)`.
        tables: the tables.
        symbols: to be written, `(n,)`.
    """
    ends = np.empty(len(tables.starts) + 1, np.int64)
    order = np.empty(len(which), np.uint32)
    _group(which, ends, order)
    escaped = 0
    point, span, place = state[0], state[1], state[2]  # in registers
    for lane in order:
        table = np.uint16(which[lane])  # indices without a sign are not looked at for one
        low, inner = part(span, tables.likely_begins[table], tables.likely_widths[table])
        if point - low < inner:  # modulo 2^64: not if it is below, either
            symbols[lane] = tables.likely_symbols[table]
        else:
            state[0], state[1] = point, span
            shared = share(state)
            if shared >= _TOTAL:
                return False
            entry = _found(shared, table, tables)
            at = tables.starts[table] + entry
            low, inner = part(span, tables.begins[at], tables.widths[at])
            symbols[lane] = entry + tables.lowest[table] - 1
            if entry == ESCAPE:
                order[escaped] = lane  # of those that were read already
                escaped += 1
        point, span = point - low, inner
        if span <= LOW_WORD:  # arrays are counted in each call, which takes as long as the rest
            point, span, place = with_word(point, span, place, words)
    state[0], state[1], state[2] = point, span, place
    if escaped == 0:
        return True
    classes, excess = np.empty(escaped, np.int64), np.empty(escaped, np.int64)
    for number in range(escaped):
        point = share(state)
        if point >= _TOTAL:
            return False
        classes[number] = point // _CLASS_WIDTH
        advance(state, words, classes[number] * _CLASS_WIDTH, _CLASS_WIDTH)
    if not take_numbers(state, words, classes, excess):
        return False
    for number in range(escaped):
        lane = order[number]
        table = which[lane]
        beyond = excess[number] + (1 << classes[number])
        if beyond % 2 == 0:
            symbols[lane] = tables.lowest[table] + tables.lengths[table] - 1 + beyond // 2 - 1
        else:
            symbols[lane] = tables.lowest[table] - (beyond + 1) // 2
    return True


@compiled
def take_numbers(state: State, words: NDArray[np.uint32], bits: Symbols, numbers: Symbols) -> bool:
    """Writes the numbers of so many bits that come next; as `take`."""
    for number in range(len(bits)):
        numbers[number] = 0
    for shift in (0, _HALF):
        for number in range(len(bits)):
            size = min(bits[number] - shift, _HALF)
            if size > 0:
                point = share(state)
                if point >= _TOTAL:
                    return False
                part = point >> (PRECISION - size)
                advance(state, words, part << (PRECISION - size), _TOTAL >> size)
                numbers[number] |= part << shift
    return True


@compiled
def _group(which: Numbers, ends: Symbols, order: Shares) -> None:
    """Positions in the order of their tables, those of the same one as they were."""
    ends[:] = 0
    for table in which:
        ends[table + 1] += 1
    for table in range(1, len(ends)):
        ends[table] += ends[table - 1]
    for lane in range(len(which)):
        table = which[lane]
        order[ends[table]] = lane
        ends[table] += 1


@compiled
def _found(point: np.int64, table: np.uint16, tables: Columns) -> int:
    """The entry whose interval a point lies in; most lie near that of symbol 0."""
    start = tables.starts[table]
    low, high = 0, tables.lengths[table]
    middle = tables.likely[table] - start
    while True:
        begin = np.int64(tables.begins[start + middle])
        if point < begin:
            high = middle
        elif point < begin + np.int64(tables.widths[start + middle]):
            return middle
        else:
            low = middle + 1
        middle = (low + high) // 2


@compiled
def _class(excess: int) -> int:
    """How many bits follow a number's leading one."""
    bits = -1
    while excess > 0:
        excess >>= 1
        bits += 1
    return bits
