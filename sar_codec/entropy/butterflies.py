"""Steps of Viterbi's algorithm along the trellis of 256 states, of many lanes side by side.

They are written as vector instructions: of loops over lanes, Numba's compiler makes some that take
twenty-five times as long, as it cannot know that arrays do not overlap.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sar_codec.entropy.trellis import MASK_OF_NEXT, MASK_OF_QUANTISER, STATE_BITS, sum_of_bits

WIDTH = 32  # lanes, of 16 bits each
STATES = 2**STATE_BITS
_LANES, _BITS = ir.VectorType(ir.IntType(16), WIDTH), ir.IntType(WIDTH)


@intrinsic
def advance(_: Any, totals: Any, following: Any, costs: Any, seconds: Any) -> Any:
    """Writes the least sums of costs by which states are reached, and which way.

    A state is reached from two others, twice its lower seven bits and one more; and these lead to
    one more state, half of all further on: a butterfly.

    Args:
        totals: sums before the step, `(STATES, WIDTH)`, int16.
        following: those after it, likewise, to be written.
        costs: of the nearest even and odd symbol of the first quantiser, then of the second:
            `(4, WIDTH)`, int16.
        seconds: of each state, bits that say of which lanes the second way is the better one:
            `(STATES,)`, uint32, to be written.
    """

    def generated(context: Any, builder: Any, signature: Any, arrays: Any) -> Any:
        kinds = _LANES, _LANES, _LANES, _BITS
        before, after, cost, second = (
            _rows(context, builder, kind, array, value)
            for kind, array, value in zip(kinds, signature.args, arrays, strict=True)
        )
        of_branches = [_loaded(builder, cost(branch)) for branch in range(4)]
        for state in range(STATES // 2):
            from_even = _loaded(builder, before(2 * state))
            from_odd = _loaded(builder, before(2 * state + 1))
            quantiser = 2 * sum_of_bits(2 * state, MASK_OF_QUANTISER)
            parity = sum_of_bits(2 * state, MASK_OF_NEXT)
            same, other = of_branches[quantiser + parity], of_branches[quantiser + 1 - parity]
            for reached, one, two in ((state, same, other), (state + STATES // 2, other, same)):
                first_way, second_way = builder.add(from_even, one), builder.add(from_odd, two)
                is_second = builder.icmp_signed("<", second_way, first_way)
                least = builder.select(is_second, second_way, first_way)
                builder.store(least, after(reached), align=2)
                builder.store(builder.bitcast(is_second, _BITS), second(reached), align=4)
        return context.get_dummy_value()

    return types.void(totals, following, costs, seconds), generated


@intrinsic
def lower(_: Any, totals: Any) -> Any:
    """Subtracts the least of each lane's sums, `(STATES, WIDTH)`, int16."""

    def generated(context: Any, builder: Any, signature: Any, arrays: Any) -> Any:
        row = _rows(context, builder, _LANES, signature.args[0], arrays[0])
        least = _loaded(builder, row(0))
        for state in range(1, STATES):
            sums = _loaded(builder, row(state))
            least = builder.select(builder.icmp_signed("<", sums, least), sums, least)
        for state in range(STATES):
            lowered = builder.sub(_loaded(builder, row(state)), least)
            builder.store(lowered, row(state), align=2)
        return context.get_dummy_value()

    return types.void(totals), generated


def _rows(context: Any, builder: Any, kind: Any, array: Any, value: Any) -> Callable[[int], Any]:
    """Pointers to the rows of a contiguous array."""
    data = context.make_array(array)(context, builder, value).data
    first = builder.bitcast(data, kind.as_pointer())
    return lambda row: builder.gep(first, [ir.Constant(ir.IntType(64), row)])


def _loaded(builder: Any, row: Any) -> Any:
    return builder.load(row, align=2)
