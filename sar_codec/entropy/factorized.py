"""A density for each channel that nothing else tells about: a mixture of logistic ones."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sar_codec.entropy.gaussian import MOST_BITS
from sar_codec.entropy.tables import IntegerTables

# Symbols of a channel that are not escapes, around the middle of its density.
_SYMBOLS = 127
_TAIL = 2.0**-16
_FARTHEST = 2.0**20


class FactorizedDensity(nn.Module):
    """One learned density a channel, and its integer tables.

    Training makes the tables stale; they are made again when they are next needed, for coding or
    for a checkpoint, which holds them. Nothing needs to be called for that. Loaded ones stay as
    they are: what another machine rounds to integers may differ.

    Args:
        channels: how many densities.
        components: logistic densities in the mixture of each.
    """

    def __init__(self, channels: int, components: int = 4) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(channels, components))
        self.means = nn.Parameter(torch.linspace(-1, 1, components).repeat(channels, 1))
        self.log_scales = nn.Parameter(torch.linspace(-1, 1, components).repeat(channels, 1))
        self.made_tables = IntegerTables([_SYMBOLS + 1] * channels)
        self._is_stale = True
        self.register_state_dict_pre_hook(_with_tables_of_now)
        self.register_load_state_dict_post_hook(_with_tables_of_then)

    def bits(self, symbols: Tensor) -> Tensor:
        """Bits of symbols `(B, C, ...)`, noisy ones too; float32, at most `MOST_BITS` each.

        A symbol's probability is that of the interval of length 1 around it.
        """
        self._is_stale = self._is_stale or self.training
        means, scales, shares = self._mixture(torch.float32)
        x = (symbols.float().movedim(1, -1)[..., None] - means) / scales
        half = 0.5 / scales
        # Both ends on the lower side, where differences of a logistic function are exact.
        probability = (half - x.abs()).sigmoid() - (-half - x.abs()).sigmoid()
        probability = (shares * probability).sum(-1).movedim(-1, 1)
        return -(probability + 2.0**-MOST_BITS).log2()

    def weights_changed(self) -> None:
        """To be called by who changes the densities otherwise than by training them."""
        self._is_stale = True

    @property
    def tables(self) -> IntegerTables:
        """A table a channel, numbered as channels are."""
        self._make_tables()
        return self.made_tables

    def distribution(self, x: Tensor) -> Tensor:
        """How much of each density lies below `(..., C)`: the same shape, float64."""
        means, scales, shares = self._mixture(torch.float64)
        return (shares * ((x.double()[..., None] - means) / scales).sigmoid()).sum(-1)

    @torch.no_grad()
    def quantiles(self, share: float) -> Tensor:
        """Below what so much of each density lies: `(C,)`, float64."""
        values = torch.full_like(self.means[:, 0], share, dtype=torch.float64)
        return bisection(self.distribution, values)

    @torch.no_grad()
    def _make_tables(self) -> None:
        if not self._is_stale:
            return
        middle = (self.quantiles(_TAIL) + self.quantiles(1 - _TAIL)) / 2
        lowest = middle.round() - _SYMBOLS // 2
        edges = lowest + torch.arange(_SYMBOLS + 1, device=lowest.device)[:, None] - 0.5
        probabilities = self.distribution(edges).diff(dim=0)
        self.made_tables.fill(0, lowest.int(), probabilities.T)
        self._is_stale = False

    def _mixture(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        scales = self.log_scales.to(dtype).clamp(-5, 8).exp()
        return self.means.to(dtype), scales, self.logits.to(dtype).softmax(-1)


def bisection(increasing: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Where increasing functions reach values, to 2^-32 and within 2^20 of 0.

    Args:
        increasing: `(N,)` -> `(N,)`, elementwise.
        values: to be reached, `(N,)`, float64.
    """
    low, high = torch.full_like(values, -_FARTHEST), torch.full_like(values, _FARTHEST)
    for _ in range(53):
        middle = (low + high) / 2
        is_below = increasing(middle) < values
        low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
    return (low + high) / 2


def _with_tables_of_now(density: Any, *_: Any) -> None:
    density._make_tables()


def _with_tables_of_then(density: Any, _: Any) -> None:
    density._is_stale = False
