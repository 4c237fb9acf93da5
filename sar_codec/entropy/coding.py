"""Symbols to bytes and back: range coding over integer tables."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sar_codec.entropy import lanes, range_coder, runs
from sar_codec.entropy.tables import IntegerTables
from sar_codec.entropy.trellis import LONG, Trellis
from sar_codec.errors import UserError


class SymbolEncoder:
    """Collects symbols; from `data`, a `SymbolDecoder` gives them back in the same order."""

    def __init__(self) -> None:
        self._intervals: list[tuple[range_coder.Shares, range_coder.Shares]] = []
        self._columns = _AllColumns()

    def put(self, symbols: Tensor, tables: IntegerTables, which: Tensor) -> None:
        """Codes symbols that are taken all at once.

        Args:
            symbols: int64, at most `LARGEST_SYMBOL` in size.
            tables: from which each symbol's table is.
            which: its number there, int64 of the same shape.

        Raises:
            ValueError: a symbol is larger.
        """
        self.put_lanes(symbols.reshape(1, -1), tables, which.reshape(1, -1))

    def put_lanes(self, symbols: Tensor, tables: IntegerTables, which: Tensor) -> None:
        """Codes symbols `(L, n)`, also int32, that are taken in L steps; else as `put`."""
        values = np.ascontiguousarray(symbols.cpu().numpy())
        self._intervals.append(runs.put(values, _numbers(which), self._columns.of(tables)))

    def put_bits(self, numbers: Tensor, bits: Tensor) -> None:
        """Codes numbers of so many bits as they are.

        Args:
            numbers: int64, `(N,)`, of which each is below 2 to the power of its bits.
            bits: of each, at most 32, int64 of the same shape.
        """
        begins = np.empty(2 * len(numbers), np.uint32)
        widths = np.empty_like(begins)
        count = runs.put_numbers(_integers(numbers), _integers(bits), begins, widths, 0)
        self._intervals.append((begins[:count], widths[:count]))

    def data(self) -> bytes:
        """All that was put: words, and of the last one the bytes that are not zero at its end."""
        if not self._intervals:
            return b""
        begins, widths = (np.concatenate(each) for each in zip(*self._intervals, strict=True))
        words = range_coder.encode(begins, widths)
        whole = words[:-1].astype(range_coder.WORD).tobytes()
        # Less than a word is its upper end, the highest byte first; a whole one is as the others.
        last = words[-1:].astype(">u4").tobytes().rstrip(b"\0")
        return whole + (last if len(last) < range_coder.WORD.itemsize else last[::-1])


class SymbolDecoder:
    """Gives back what a `SymbolEncoder` was given.

    Of damaged data it mostly notices nothing, and gives wrong symbols.

    Args:
        data: from an encoder.
        trellis: that lanes ran along.

    Raises:
        UserError: when taking from them: the data cannot be an encoder's.
    """

    def __init__(self, data: bytes, trellis: Trellis = LONG) -> None:
        size = range_coder.WORD.itemsize
        whole = len(data) // size * size
        words = np.frombuffer(data[:whole], range_coder.WORD)
        # Less than a word is the upper end of one, the highest byte first.
        last = np.frombuffer(data[whole:].ljust(size, b"\0"), ">u4")
        self._words = np.concatenate([words, last]).astype(np.uint32)
        self._state = range_coder.decoder(self._words)
        self._trellis = trellis
        self._columns = _AllColumns()

    def take(self, tables: IntegerTables, which: Tensor) -> Tensor:
        """The symbols that were put with these tables: int64 of the shape of `which`."""
        numbers = _numbers(which)
        symbols = np.empty(numbers.size, np.int64)
        columns = self._columns.of(tables)
        _checked(runs.take(self._state, self._words, numbers.reshape(-1), columns, symbols))
        return torch.from_numpy(symbols).to(which.device).reshape(which.shape)

    def take_lanes(self, tables: IntegerTables, means: Tensor, indices: Tensor) -> Tensor:
        """The values whose symbols were put in lanes: `search.Around.decoded`.

        Args:
            tables: those of the trellis's first quantiser, then as many of the second.
            means: as given to `search.quantised_around`.
            indices: of scales, likewise.
        """
        mean, index = (
            np.ascontiguousarray(each.cpu().numpy(), np.int32) for each in (means, indices)
        )
        decoded = np.empty(mean.shape, np.float64)
        columns = self._columns.of(tables)
        given = self._state, self._words, mean, index, *self._trellis, columns
        _checked(lanes.decode(*given, decoded))
        return torch.from_numpy(decoded).to(means.device)

    def take_bits(self, bits: Tensor) -> Tensor:
        """The numbers that were put with so many bits: int64 of the same shape, `(N,)`."""
        numbers = np.empty(len(bits), np.int64)
        _checked(runs.take_numbers(self._state, self._words, _integers(bits), numbers))
        return torch.from_numpy(numbers).to(bits.device)


class _AllColumns:
    """The columns of tables, each made once."""

    def __init__(self) -> None:
        self._made: dict[IntegerTables, runs.Columns] = {}

    def of(self, tables: IntegerTables) -> runs.Columns:
        if tables not in self._made:
            self._made[tables] = runs.Columns.of(tables)
        return self._made[tables]


def _checked(is_right: bool) -> None:
    if not is_right:
        raise UserError("coded symbols that no encoder wrote: the data are damaged")


# Compiled loops are for one type and order of an array each.
def _integers(values: Tensor) -> NDArray[np.int64]:
    return np.ascontiguousarray(values.cpu().numpy(), np.int64)


def _numbers(which: Tensor) -> NDArray[np.int16]:
    return np.ascontiguousarray(which.cpu().numpy(), np.int16)
