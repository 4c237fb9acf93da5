"""Tables that learn, by counting, how often symbols of each scale and quantiser come."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sar_codec.entropy.gaussian import REACHES, SCALES, share_between
from sar_codec.entropy.search import Prices
from sar_codec.entropy.tables import IntegerTables
from sar_codec.entropy.trellis import QUANTISERS

_DECAY = 0.998  # of counts, at each batch: the last 500 weigh most
_PRIOR = 100.0  # symbols that each table is taken to have seen, distributed as Gaussian ones


class CountedTables(nn.Module):
    """A table of symbols for each quantiser of the trellis and each of the 64 scales.

    They are numbered `SCALES` x quantiser + scale index. They begin as those of Gaussian numbers;
    but what the trellis chooses is not what lies nearest, and what networks predict is not quite
    Gaussian, so they count what comes in training. As those of `FactorizedDensity`, integer tables
    are made when they are next needed, and nothing has to be called for that.

    Attributes:
        learns: whether it counts.
    """

    counts: Tensor  # of each entry of all tables, in the order of `IntegerTables.frequencies`
    prior: Tensor
    table_of_entry: Tensor
    entries_of_table: Tensor  # one row each, filled up with one more than there are
    reach: Tensor  # of each scale's tables, to both sides of 0

    def __init__(self) -> None:
        super().__init__()
        self.learns = True
        lengths = [2 * reach + 2 for reach in REACHES] * QUANTISERS
        self.made_tables = IntegerTables(lengths)
        self.register_buffer("counts", torch.zeros(sum(lengths)))
        prior = torch.cat(
            [_gaussian(q, scale) for q in range(QUANTISERS) for scale in range(SCALES)]
        )
        self.register_buffer("prior", (_PRIOR * prior).float(), persistent=False)
        of_entry = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
        self.register_buffer("table_of_entry", of_entry, persistent=False)
        columns = torch.arange(max(lengths))
        entries = self.made_tables.starts[:, None] + columns
        outside = columns >= self.made_tables.lengths[:, None]
        entries = entries.masked_fill(outside, sum(lengths))
        self.register_buffer("entries_of_table", entries, persistent=False)
        self.register_buffer("reach", torch.tensor(REACHES), persistent=False)
        self._is_stale = True
        self._made_prices: tuple[tuple[int, int], Prices] | None = None
        self._make_tables()
        self.register_state_dict_pre_hook(_with_tables_of_now)
        self.register_load_state_dict_post_hook(_with_tables_of_then)

    @torch.no_grad()
    def count(self, symbols: Tensor, which: Tensor) -> None:
        """Takes note of symbols, int64, and the number of each one's table, of the same shape."""
        if not self.learns:
            return
        entries = self.made_tables.entries(symbols, which) + self.made_tables.starts[which]
        # Not bincount, for which a GPU and its host wait for each other.
        seen = torch.zeros_like(self.table_of_entry, dtype=torch.int32)
        seen.scatter_add_(
            0, entries.flatten(), entries.new_ones(entries.numel(), dtype=torch.int32)
        )
        self.counts.mul_(_DECAY).add_(seen)
        self._is_stale = True

    def weights_changed(self) -> None:
        """To be called by who changes the counts otherwise."""
        self._is_stale = True
        self._made_prices = None

    @property
    def tables(self) -> IntegerTables:
        """The integer tables."""
        self._make_tables()
        return self.made_tables

    def bits(self, symbols: Tensor, which: Tensor) -> Tensor:
        """What symbols cost by the counts, before those are rounded to integer tables; float32."""
        return self.made_tables.priced(symbols, which, -self._shares().double().log2())

    def prices(self) -> Prices:
        """What symbols of each scale cost; kept until there are other counts."""
        known = self.counts.data_ptr(), self.counts._version
        made = self._made_prices
        if made is None or made[0] != known:
            bits = -self._shares().log2()
            middle = self.made_tables.starts[:SCALES] + 1 + self.reach
            made = known, Prices(bits.reshape(QUANTISERS, -1), middle, self.reach)
            self._made_prices = made
        return made[1]

    def _shares(self) -> Tensor:
        """Of each entry in its table, float32."""
        weights = self.counts + self.prior
        # Not index_add_, which on a GPU adds in an order that varies: resuming is to be exact.
        totals = functional.pad(weights, (0, 1)).take(self.entries_of_table).sum(1)
        return weights / totals[self.table_of_entry]

    @torch.no_grad()
    def _make_tables(self) -> None:
        if not self._is_stale:
            return
        tables, shares = self.made_tables, self._shares().double()
        for table in range(QUANTISERS * SCALES):
            begin, end = tables.ends[table] + 1, tables.ends[table + 1]
            tables.fill(table, -REACHES[table % SCALES], shares[begin:end])
        self._is_stale = False


def _gaussian(quantiser: int, scale_index: int) -> Tensor:
    """Shares of the entries of a table, float64; the escape has next to nothing."""
    reach = REACHES[scale_index]
    symbols = torch.arange(-reach, reach + 1, dtype=torch.float64)
    points = symbols - symbols.sign() * quantiser / 2
    edges = torch.cat([points[:1] - 0.5, (points[1:] + points[:-1]) / 2, points[-1:] + 0.5])
    shares = share_between(edges[:-1], edges[1:], scale_index)
    return torch.cat([shares.new_zeros(1), shares]).clamp_min(2.0**-24)


def _with_tables_of_now(counted: Any, *_: Any) -> None:
    counted._make_tables()


def _with_tables_of_then(counted: Any, _: Any) -> None:
    counted._is_stale = False
