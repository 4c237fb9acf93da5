"""Trellis-coded quantisation: which of two quantisers a value meets depends on those before it.

Rounding each number by itself wastes a quarter of a bit of each at high rates, however well it is
coded. Here points lie half a step apart, but each number may only take every other one: those of
the quantiser that the state of a trellis says. A symbol's parity moves the state on, so an encoder
that looks ahead reaches all points, at the rate of half of them: of Gaussian numbers it saves 0.11
to 0.14 bits each, where rounding one by one has 0.1 at most to lose to anything but this.

Marcellin and Fischer 1990, https://doi.org/10.1109/26.46532; as in VVC: Schwarz et al. 2021,
https://doi.org/10.1109/TCSVT.2021.3072202.
"""

import torch
from torch import Tensor

QUANTISERS = 2
# Of each of eight states: where an even symbol leads, where an odd one. States that are odd are of
# the second quantiser.
NEXT = (0, 2), (5, 7), (1, 3), (6, 4), (2, 0), (4, 6), (3, 1), (7, 5)
STATES = len(NEXT)
_QUANTISER = [state & 1 for state in range(STATES)]
# Each state is reached from two others; the branch is twice the other's quantiser plus parity.
BEFORE = [
    [(state, 2 * _QUANTISER[state] + parity) for state in range(STATES) for parity in (0, 1)
     if NEXT[state][parity] == reached]
    for reached in range(STATES)
]  # fmt: skip
# Squared error, in squared steps, that a bit is worth: what is best for Gaussian numbers.
BIT = 0.1
# Sequences whose values are all nearer to 0 become zeros: anything else costs more than it saves.
QUIET = 0.55
ESCAPE_BITS = 12.0  # about what a symbol beyond its table costs more than the last one in it


def half_points(symbols: Tensor, quantiser: Tensor) -> Tensor:
    """The points that symbols stand for, in half steps: int64."""
    return 2 * symbols - symbols.sign() * quantiser


def quantisers_of(symbols: Tensor) -> Tensor:
    """The quantiser that each symbol of sequences `(L, n)` is of: the same shape."""
    following = torch.tensor(NEXT, device=symbols.device)
    state = symbols.new_zeros(symbols.shape[1])
    states = torch.empty_like(symbols)
    for step, parity in enumerate(symbols & 1):
        states[step] = state
        state = following.take(2 * state + parity)
    return states & 1
