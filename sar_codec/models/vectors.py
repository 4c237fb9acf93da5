"""Vectors of float32 in code that Numba compiles, where its compiler makes none of loops."""

from collections.abc import Iterable, Sequence
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba.core import cgutils

LANES = 16 if get_host_cpu_features().get("avx512f") else 8  # numbers of a vector
INDEX = ir.IntType(64)
_VECTOR, _MASK = (ir.VectorType(kind, LANES) for kind in (ir.FloatType(), ir.IntType(32)))


class Vectors:
    """Instructions of an intrinsic; arrays are contiguous, and taken as one row.

    Args:
        context: of the intrinsic.
        builder: likewise.
    """

    def __init__(self, context: Any, builder: Any) -> None:
        self._context = context
        self._builder = builder

    def arrays(self, signature: Any, arguments: Any, which: Iterable[int]) -> list[Any]:
        """Those of an intrinsic's arguments, by their numbers."""
        return [
            self._context.make_array(signature.args[each])(
                self._context, self._builder, arguments[each]
            )
            for each in which
        ]

    def number(self, array: Any, index: Any) -> Any:
        """A number of an array."""
        return self._builder.load(self._builder.gep(array.data, [index]))

    def load(self, array: Any, index: Any) -> Any:
        """The vector from an index of an array on."""
        return self._builder.load(self._pointer(array, index), align=4)

    def store(self, vector: Any, array: Any, index: Any) -> None:
        """Puts it from an index of an array on."""
        self._builder.store(vector, self._pointer(array, index), align=4)

    def everywhere(self, number: Any) -> Any:
        """The vector of a number alone: Python's or one of LLVM's."""
        if isinstance(number, int | float):
            return _VECTOR([float(number)] * LANES)
        one = self._builder.insert_element(_VECTOR(ir.Undefined), number, INDEX(0))
        return self._builder.shuffle_vector(one, one, _MASK([0] * LANES))

    def multiply_add(self, first: Any, second: Any, third: Any) -> Any:
        """The product of the first two, and the third."""
        called = cgutils.get_or_insert_function(
            self._builder.module,
            ir.FunctionType(_VECTOR, [_VECTOR] * 3),
            f"llvm.fmuladd.v{LANES}f32",
        )
        return self._builder.call(called, [first, second, third])

    def weighed(self, vectors: Sequence[Any], weights: Sequence[float]) -> Any:
        """The sum of vectors, each times its weight."""
        total = self.everywhere(0)
        for vector, weight in zip(vectors, weights, strict=True):
            if weight:
                total = self.multiply_add(vector, self.everywhere(weight), total)
        return total

    def polynomial(self, x: Any, coefficients: Sequence[float]) -> Any:
        """Of a vector, the constant first."""
        total = self.everywhere(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            total = self.multiply_add(total, x, self.everywhere(coefficient))
        return total

    def at_least(self, x: Any, least: Any) -> Any:
        """Numbers, but for those below the least; what is no number stays so."""
        return self._held("<", x, least)

    def at_most(self, x: Any, most: Any) -> Any:
        """Numbers, but for those above the most; what is no number stays so."""
        return self._held(">", x, most)

    def _held(self, sign: str, x: Any, bound: Any) -> Any:
        bounds = self.everywhere(bound)
        is_beyond = self._builder.fcmp_ordered(sign, x, bounds)
        return self._builder.select(is_beyond, bounds, x)

    def _pointer(self, array: Any, index: Any) -> Any:
        pointer = self._builder.gep(array.data, [index])
        return self._builder.bitcast(pointer, _VECTOR.as_pointer())
