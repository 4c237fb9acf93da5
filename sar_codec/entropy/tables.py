"""Integer tables of symbols' probabilities: what encoder and decoder share to the last bit."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

PRECISION = 24  # bits; the frequencies of a table sum to 2^24
_TOTAL = 2**PRECISION
# An escaped symbol's distance beyond its table is coded as a class, and bits as many as the class.
ESCAPE_CLASSES = 32
_CLASS_BITS = 5
# Beyond any latent; keeps what is coded of an escape within its classes.
LARGEST_SYMBOL = 2**29
LARGEST_VALUE = float(LARGEST_SYMBOL - 64)  # that is quantised, in float32; no symbol is larger
ESCAPE = 0  # the entry of a table that stands for all symbols beyond it


class IntegerTables(nn.Module):
    """Tables of frequencies, each for an interval of symbols, its first entry for all others.

    They are buffers, so that a checkpoint holds them: what one machine rounds to integers, another
    one may not, and then neither could read what the other wrote.

    Args:
        lengths: entries of each table, the first one included.
    """

    frequencies: Tensor  # of all tables, one after the other
    lowest: Tensor  # symbol of each table's second entry
    starts: Tensor  # of each table in `frequencies`
    lengths: Tensor

    def __init__(self, lengths: Sequence[int]) -> None:
        super().__init__()
        self.ends = list(accumulate(lengths, initial=0))
        self.register_buffer("frequencies", torch.zeros(self.ends[-1], dtype=torch.int32))
        self.register_buffer("lowest", torch.zeros(len(lengths), dtype=torch.int32))
        self.register_buffer("starts", torch.tensor(self.ends[:-1]), persistent=False)
        self.register_buffer("lengths", torch.tensor(lengths), persistent=False)

    def table(self, number: int) -> Tensor:
        """The frequencies of one table."""
        return self.frequencies[self.ends[number] : self.ends[number + 1]]

    def fill(self, number: int, lowest: int | Tensor, probabilities: Tensor) -> None:
        """Makes tables of one length, that follow each other.

        Args:
            number: the first of them.
            lowest: the first symbol of their intervals, one for all or `(n,)`, of integers.
            probabilities: of the symbols of their intervals, `(n, N)` or, of one table, `(N,)`,
                float64; the rest is the escape's.
        """
        escape = (1 - probabilities.sum(-1, keepdim=True)).clamp_min(0)
        made = frequencies(torch.cat([escape, probabilities], -1))
        behind = number + made[..., 0].numel()
        self.frequencies[self.ends[number] : self.ends[behind]] = made.flatten()
        self.lowest[number:behind] = lowest

    def entries(self, symbols: Tensor, tables: Tensor) -> Tensor:
        """Where in its table each symbol is: int64 of the same shape, `ESCAPE` if nowhere."""
        entry = symbols - self.lowest[tables] + 1
        return entry.masked_fill((entry < 1) | (entry >= self.lengths[tables]), ESCAPE)

    def symbols(self, entries: Tensor, tables: Tensor) -> Tensor:
        """The inverse of `entries`, but for escapes."""
        return entries + self.lowest[tables] - 1

    def excess(self, symbols: Tensor, tables: Tensor) -> Tensor:
        """How far beyond its table each symbol lies, from 1 on: even above, odd below."""
        lowest = self.lowest[tables].long()
        above = symbols - (lowest + self.lengths[tables] - 1)
        return torch.where(above >= 0, 2 * above + 2, 2 * (lowest - symbols) - 1)

    def beyond(self, excess: Tensor, tables: Tensor) -> Tensor:
        """The inverse of `excess`."""
        lowest = self.lowest[tables].long()
        above = lowest + self.lengths[tables] - 1 + excess // 2 - 1
        return torch.where(excess % 2 == 0, above, lowest - (excess + 1) // 2)

    def bits(self, symbols: Tensor, tables: Tensor) -> Tensor:
        """What the range coder spends on each symbol, float32.

        Args:
            symbols: int64.
            tables: the number of each symbol's table, int64 of the same shape.
        """
        return self.priced(symbols, tables, self.prices())

    def prices(self) -> Tensor:
        """The bits of each entry, of all tables: `(N,)`, float64."""
        # In float32, the 0.0001 bits of what is nearly sure would be off by percents.
        return PRECISION - self.frequencies.double().log2()

    def priced(self, symbols: Tensor, tables: Tensor, bits: Tensor) -> Tensor:
        """The same where the entries of all tables cost these bits, `(N,)`; float32."""
        entries = self.entries(symbols, tables)
        excess = torch.where(entries == ESCAPE, self.excess(symbols, tables), 1)
        escapes = torch.where(entries == ESCAPE, _CLASS_BITS + escape_class(excess), 0)
        return (bits[self.starts[tables] + entries] + escapes).float()


def escape_class(excess: Tensor) -> Tensor:
    """How many bits follow a number's leading one: 0 for 1, 1 for 2 and 3, 2 for 4 to 7 ..."""
    return (torch.frexp(excess.double()).exponent - 1).long()


def frequencies(probabilities: Tensor) -> Tensor:
    """Positive integers that sum to 2^24, in proportion to `(..., N)` probabilities: int32.

    None is 0, so that whatever comes can be coded.
    """
    share = probabilities.double() / probabilities.double().sum(-1, keepdim=True)
    rounded = (share * (_TOTAL - share.shape[-1])).floor().long() + 1
    missing = _TOTAL - rounded.sum(-1, keepdim=True)
    return rounded.scatter_add_(-1, share.argmax(-1, keepdim=True), missing).int()
