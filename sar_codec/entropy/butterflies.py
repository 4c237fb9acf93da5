"""Steps of Viterbi's algorithm along the trellis of 256 states, of many lanes side by side.

They are written as vector instructions: of loops over lanes, Numba's compiler makes some that take
twenty-five times as long, as it cannot know that arrays do not overlap.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sar_codec.entropy.trellis import (
    FAR,
    MASK_OF_NEXT,
    MASK_OF_QUANTISER,
    QUANTISERS,
    STATE_BITS,
    sum_of_bits,
)

WIDTH = 32  # lanes, of 16 bits each
STATES = 2**STATE_BITS
# Of costs, a squared step is so many; what costs more than four of them is taken to cost that.
UNIT, MOST = 256.0, 1023.0
_LANES, _BITS = ir.VectorType(ir.IntType(16), WIDTH), ir.IntType(WIDTH)
_FLOATS, _DOUBLES, _INDICES, _BYTES, _BITS_OF_LANES = (
    ir.VectorType(kind, WIDTH)
    for kind in (ir.FloatType(), ir.DoubleType(), ir.IntType(32), ir.IntType(8), ir.IntType(1))
)
_WORDS_OF_STATES = ir.ArrayType(ir.IntType(32), STATES)


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


@intrinsic
def weigh(
    _: Any, step: Any, values: Any, at: Any, reaches: Any, prices: Any, zeros: Any, costs: Any
) -> Any:
    """Writes what the nearest symbols of both quantisers cost in a step, even and odd ones.

    Of those that are even, 0 is another choice, whose cost is written where it is less; of which
    lanes, bits of the quantisers say.

    Args:
        step: which row of values, places, reaches and zeros.
        values: less their means, `(L, WIDTH)`, float32.
        at: where the price of 0 is, of each one's scale, likewise, int32.
        reaches: how far its prices go to both sides, without what is beyond, likewise.
        prices: in units of sums, `(QUANTISERS, N)`, float32.
        zeros: to be written, `(L, WIDTH)`, uint8.
        costs: likewise, `(2 * QUANTISERS, WIDTH)`, int16.
    """

    def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        step = arguments[0]
        kinds = _FLOATS, _INDICES, _INDICES, ir.FloatType(), _BYTES, _LANES
        value, place, reach, price, zero_row, cost = (
            _rows(context, builder, kind, array, given)
            for kind, array, given in zip(kinds, signature.args[1:], arguments[1:], strict=True)
        )
        of_prices = context.make_array(signature.args[4])(context, builder, arguments[4])
        price_count = cgutils.unpack_tuple(builder, of_prices.shape)[1]
        zero_at = builder.load(place(step), align=4)
        beyond = builder.add(builder.load(reach(step), align=4), _everywhere(_INDICES, 1))
        is_below, size = _signs_and_sizes(builder, builder.load(value(step), align=4))
        sign = builder.select(is_below, _everywhere(_INDICES, -1), _everywhere(_INDICES, 1))

        def whole(cost: Any) -> Any:
            held = builder.fadd(cost, _everywhere(_FLOATS, 0.5))
            is_less = builder.fcmp_ordered("<", held, _everywhere(_FLOATS, MOST))
            return builder.fptosi(builder.select(is_less, held, _everywhere(_FLOATS, MOST)), _LANES)

        bits = _everywhere(_BYTES, 0)
        for quantiser in range(QUANTISERS):
            first = price(builder.mul(price_count, ir.Constant(ir.IntType(64), quantiser)))

            def weighed(away: Any, symbol: Any, prices: Any = first) -> Any:
                """What a symbol costs that is so far away."""
                is_inside = builder.icmp_signed("<", symbol, beyond)
                held = builder.mul(sign, builder.select(is_inside, symbol, beyond))
                squared = builder.fmul(builder.fmul(away, away), _everywhere(_FLOATS, UNIT))
                found = _gathered(builder, _FLOATS, prices, builder.add(zero_at, held))
                return builder.fadd(squared, found)

            even, odd, is_zero = _nearest(builder, quantiser, size, weighed)
            shifted = builder.shl(builder.zext(is_zero, _BYTES), _everywhere(_BYTES, quantiser))
            bits = builder.or_(bits, shifted)
            builder.store(whole(even), cost(2 * quantiser), align=2)
            builder.store(whole(odd), cost(2 * quantiser + 1), align=2)
        builder.store(bits, zero_row(step), align=1)
        return context.get_dummy_value()

    return types.void(step, values, at, reaches, prices, zeros, costs), generated


@intrinsic
def step_back(
    _: Any,
    step: Any,
    states: Any,
    seconds: Any,
    values: Any,
    zeros: Any,
    symbols: Any,
    quantisers: Any,
) -> Any:
    """Writes the symbols of a step, and goes on to the states before it.

    Args:
        step: which row of all but the states.
        states: after the step, `(1, WIDTH)`, int32; to be those before it.
        seconds: what `advance` wrote, `(L, STATES)`, uint32.
        values: less their means, `(L, WIDTH)`, float32.
        zeros: what `weigh` wrote, likewise, uint8.
        symbols: to be written, likewise, int32.
        quantisers: that they are of, likewise.
    """

    def generated(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        step = arguments[0]
        kinds = _INDICES, _WORDS_OF_STATES, _FLOATS, _BYTES, _INDICES, _INDICES
        state_row, second_row, value, zero_row, symbol_row, quantiser_row = (
            _rows(context, builder, kind, array, given)
            for kind, array, given in zip(kinds, signature.args[1:], arguments[1:], strict=True)
        )

        reached = builder.load(state_row(0), align=4)
        words = builder.bitcast(second_row(step), ir.IntType(32).as_pointer())
        is_second = _gathered(builder, _INDICES, words, reached)
        is_second = builder.lshr(is_second, _INDICES(list(range(WIDTH))))
        is_second = builder.and_(is_second, _everywhere(_INDICES, 1))
        twice = builder.and_(
            builder.shl(reached, _everywhere(_INDICES, 1)), _everywhere(_INDICES, STATES - 1)
        )
        state = builder.or_(twice, is_second)
        builder.store(state, state_row(0), align=4)
        pushed_in = builder.lshr(reached, _everywhere(_INDICES, STATE_BITS - 1))
        parity = builder.xor(_sum_of(builder, state, MASK_OF_NEXT), pushed_in)
        quantiser = _sum_of(builder, state, MASK_OF_QUANTISER)
        builder.store(quantiser, quantiser_row(step), align=4)
        is_below, size = _signs_and_sizes(builder, builder.load(value(step), align=4))
        # In float64, where halves are kept of all values.
        half = builder.fmul(builder.sitofp(quantiser, _DOUBLES), _everywhere(_DOUBLES, 0.5))
        inner = builder.fptosi(builder.fadd(builder.fpext(size, _DOUBLES), half), _INDICES)
        odd = builder.and_(inner, _everywhere(_INDICES, 1))
        symbol = builder.add(inner, builder.xor(odd, parity))
        zero = builder.zext(builder.load(zero_row(step), align=1), _INDICES)
        zero = builder.and_(builder.lshr(zero, quantiser), _everywhere(_INDICES, 1))
        is_zero = builder.icmp_signed(">", zero, parity)
        symbol = builder.select(is_zero, _everywhere(_INDICES, 0), symbol)
        symbol = builder.select(is_below, builder.sub(_everywhere(_INDICES, 0), symbol), symbol)
        builder.store(symbol, symbol_row(step), align=4)
        return context.get_dummy_value()

    given = step, states, seconds, values, zeros, symbols, quantisers
    return types.void(*given), generated


def _nearest(
    builder: Any, quantiser: int, size: Any, weighed: Callable[[Any, Any], Any]
) -> tuple[Any, Any, Any]:
    """What the nearest even and odd symbols cost, and in which lanes the even one is 0.

    Args:
        builder: of the intrinsic.
        quantiser: whose symbols.
        size: of values.
        weighed: what symbols cost, by how far their points are away and by their own sizes.
    """
    none, one = _everywhere(_INDICES, 0), _everywhere(_INDICES, 1)
    # Of the two symbols whose points the value lies between, the one nearer to 0.
    between = builder.fadd(size, _everywhere(_FLOATS, 0.5 * quantiser))
    inner = builder.fptosi(between, _INDICES)
    off = builder.fsub(between, builder.sitofp(inner, _FLOATS))
    rest = builder.fsub(_everywhere(_FLOATS, 1.0), off)
    if quantiser:  # the point of 0 is 0 too, not half a step below
        off = builder.select(builder.icmp_signed("==", inner, none), size, off)
    near, far = weighed(off, inner), weighed(rest, builder.add(inner, one))
    is_odd = builder.trunc(inner, _BITS_OF_LANES)
    even, odd = builder.select(is_odd, far, near), builder.select(is_odd, near, far)
    zero = weighed(size, none)
    is_less = builder.fcmp_ordered("<", zero, even)
    is_near = builder.fcmp_ordered("<", size, _everywhere(_FLOATS, FAR))
    is_zero = builder.and_(is_less, is_near)
    return builder.select(is_zero, zero, even), odd, is_zero


def _everywhere(kind: Any, number: float) -> Any:
    return kind([number] * WIDTH)


def _signs_and_sizes(builder: Any, values: Any) -> tuple[Any, Any]:
    """In which lanes values are below 0, and how large they are."""
    nothing = _everywhere(_FLOATS, 0.0)
    is_below = builder.fcmp_ordered("<", values, nothing)
    return is_below, builder.select(is_below, builder.fsub(nothing, values), values)


def _gathered(builder: Any, kind: Any, first: Any, indices: Any) -> Any:
    """The numbers at indices from the first on."""
    found = kind(ir.Undefined)
    for lane in range(WIDTH):
        place = ir.Constant(ir.IntType(32), lane)
        index = builder.zext(builder.extract_element(indices, place), ir.IntType(64))
        there = builder.load(builder.gep(first, [index]))
        found = builder.insert_element(found, there, place)
    return found


def _sum_of(builder: Any, states: Any, mask: int) -> Any:
    """`sum_of_bits`, of the eight bits of states."""
    bits = builder.and_(states, _everywhere(_INDICES, mask))
    for shift in (4, 2, 1):
        bits = builder.xor(bits, builder.lshr(bits, _everywhere(_INDICES, shift)))
    return builder.and_(bits, _everywhere(_INDICES, 1))


def _rows(context: Any, builder: Any, kind: Any, array: Any, value: Any) -> Callable[[Any], Any]:
    """Pointers to the rows of a contiguous array, each of them of a kind."""
    data = context.make_array(array)(context, builder, value).data
    first = builder.bitcast(data, kind.as_pointer())
    return lambda row: builder.gep(
        first, [ir.Constant(ir.IntType(64), row) if isinstance(row, int) else row]
    )


def _loaded(builder: Any, row: Any) -> Any:
    return builder.load(row, align=2)
