"""Symbols to bytes and back: range coding over integer tables."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from constriction import stream
from numpy.typing import NDArray
from torch import Tensor

from sar_codec.entropy.tables import ESCAPE, ESCAPE_CLASSES, IntegerTables, escape_class
from sar_codec.errors import UserError

_WORD = np.dtype("<u4")
_HALF = 16  # bits that follow an escape's class are coded in two halves
# Beyond any latent; keeps what is coded of an escape within its classes.
LARGEST_SYMBOL = 2**29


class SymbolEncoder:
    """Collects symbols; `data` is what a `SymbolDecoder` gives them back from, in the same order.

    Symbols of the same table are coded together, so that there are as many calls of the coder as
    tables, however many symbols.
    """

    def __init__(self) -> None:
        self._coder = stream.queue.RangeEncoder()
        self._models = _Models()

    def put(self, symbols: Tensor, tables: IntegerTables, which: Tensor) -> None:
        """Codes symbols that are taken all at once.

        Args:
            symbols: int64, at most `LARGEST_SYMBOL` in size.
            tables: from which each symbol's table is.
            which: its number there, int64 of the same shape.
        """
        self.put_lanes(symbols.reshape(1, -1), tables, which.reshape(1, -1))

    def put_lanes(self, symbols: Tensor, tables: IntegerTables, which: Tensor) -> None:
        """Codes symbols `(L, n)` that are taken in L steps; else as `put`."""
        if symbols.numel() and int(symbols.abs().max()) > LARGEST_SYMBOL:
            raise ValueError(f"symbols beyond {LARGEST_SYMBOL} cannot be coded")
        entries = tables.entries(symbols, which)
        has_escapes = (entries == ESCAPE).any(1).tolist()
        for step, (numbers, tables_of) in enumerate(
            zip(entries.cpu().numpy().astype(np.int32), _small(which), strict=True)
        ):
            order, runs = _grouped(tables_of)
            numbers = numbers[order]
            for table, begin, end in runs:
                self._coder.encode(numbers[begin:end], self._models.of(tables, table))
            if has_escapes[step]:
                escaped = torch.from_numpy(order[numbers == ESCAPE]).to(symbols.device)
                self._put_escapes(tables.excess(symbols[step, escaped], which[step, escaped]))

    def _put_escapes(self, excess: Tensor) -> None:
        kind = escape_class(excess)
        self._coder.encode(
            kind.cpu().numpy().astype(np.int32), stream.model.Uniform(ESCAPE_CLASSES)
        )
        self.put_bits(excess - (1 << kind), kind)

    def put_bits(self, numbers: Tensor, bits: Tensor) -> None:
        """Codes numbers of so many bits as they are.

        Args:
            numbers: int64, `(N,)`, of which each is below 2 to the power of its bits.
            bits: of each, at most 32, int64 of the same shape.
        """
        for shift, sizes in _halves(bits):
            part = (numbers >> shift) & (2**_HALF - 1)
            coded = sizes > 1
            self._coder.encode(
                part[coded].cpu().numpy().astype(np.int32),
                stream.model.Uniform(),
                sizes[coded].cpu().numpy().astype(np.int32),
            )

    def data(self) -> bytes:
        """All that was put, a multiple of four bytes."""
        return self._coder.get_compressed().astype(_WORD).tobytes()


class SymbolDecoder:
    """Gives back what a `SymbolEncoder` was given.

    Of damaged data it mostly notices nothing, and gives wrong symbols.

    Raises:
        UserError: the data cannot be an encoder's; also when taking from them.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) % _WORD.itemsize:
            raise UserError(
                f"{len(data)} bytes of coded symbols: expected a multiple of {_WORD.itemsize}; "
                "the data are damaged"
            )
        self._coder = stream.queue.RangeDecoder(np.frombuffer(data, _WORD).astype(np.uint32))
        self._models = _Models()

    def take(self, tables: IntegerTables, which: Tensor) -> Tensor:
        """The symbols that were put with these tables: int64 of the shape of `which`."""
        order, runs = _grouped(_small(which.flatten()))
        lowest = tables.lowest.tolist()
        grouped = np.empty(len(order), np.int64)
        escaped: list[NDArray[np.int64]] = []
        for table, begin, end in runs:
            entries = self._decode(self._models.of(tables, table), end - begin)
            if not entries.all():
                escaped.append(begin + (entries == ESCAPE).nonzero()[0])
            grouped[begin:end] = entries
            grouped[begin:end] += lowest[table] - 1
        symbols = np.empty_like(grouped)
        symbols[order] = grouped
        found = torch.from_numpy(symbols).to(which.device).reshape(which.shape)
        if escaped:
            at = torch.from_numpy(order[np.concatenate(escaped)]).to(which.device)
            excess = self._take_escapes(len(at)).to(which.device)
            found.view(-1)[at] = tables.beyond(excess, which.flatten()[at])
        return found

    def _take_escapes(self, count: int) -> Tensor:
        kind = torch.from_numpy(self._decode(stream.model.Uniform(ESCAPE_CLASSES), count)).long()
        return (1 << kind) + self.take_bits(kind)

    def take_bits(self, bits: Tensor) -> Tensor:
        """The numbers that were put with so many bits: int64 of the same shape, `(N,)`."""
        numbers = torch.zeros_like(bits)
        for shift, sizes in _halves(bits):
            coded = sizes > 1
            part = self._decode(stream.model.Uniform(), sizes[coded].cpu().numpy().astype(np.int32))
            numbers[coded] += torch.from_numpy(part).to(bits.device).long() << shift
        return numbers

    def _decode(self, model: Any, *arguments: Any) -> NDArray[np.int32]:
        try:
            return self._coder.decode(model, *arguments)
        except AssertionError:
            raise UserError("coded symbols that no encoder wrote: the data are damaged") from None


class _Models:
    """The coder's models of tables, each made once: that takes as long as coding 200 symbols."""

    def __init__(self) -> None:
        self._made: dict[tuple[IntegerTables, int], stream.model.Categorical] = {}

    def of(self, tables: IntegerTables, number: int) -> stream.model.Categorical:
        key = tables, number
        if key not in self._made:
            self._made[key] = model_of(tables.table(number))
        return self._made[key]


def model_of(table: Tensor) -> stream.model.Categorical:
    """The coder's model with exactly these frequencies.

    It scales weights so that they sum to 2^24 - N, rounds them down, and adds 1 to each of the N;
    frequencies less 1 come out of that as they were.
    """
    return stream.model.Categorical((table.cpu().numpy() - 1).astype(np.float64), perfect=False)


def _small(which: Tensor) -> NDArray[Any]:
    """Numbers of tables in as few bits as they need: the fewer, the faster they are sorted."""
    largest = int(which.max()) if which.numel() else 0
    return which.cpu().numpy().astype(np.uint8 if largest < 2**8 else np.int16)


def _grouped(which: NDArray[Any]) -> tuple[NDArray[np.int64], list[tuple[int, int, int]]]:
    """Positions `(N,)` in the order of their tables; and each table, where its run begins and ends.

    Those of a table stay in the order they had.
    """
    order = np.argsort(which, kind="stable")
    counts = np.bincount(which, minlength=1)
    tables = counts.nonzero()[0]
    ends = counts[tables].cumsum()
    begins = ends - counts[tables]
    return order, list(zip(tables.tolist(), begins.tolist(), ends.tolist(), strict=True))


def _halves(kind: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Of numbers of so many bits, the lower and the upper half: its place, how many values."""
    yield 0, 1 << kind.clamp_max(_HALF)
    yield _HALF, 1 << (kind - _HALF).clamp_min(0)
