"""One step of each walk of `models.explanation.kernels`, in vectors of LANES numbers.

Numba makes no vectors out of loops of eight, so these are written in LLVM's own language, which knows vectors on every processor.
"""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from models.explanation.forest_layout import COEFFICIENTS, FEATURE, INVERSE, LANES, LEFT, META, PARENT, RIGHT

DEAD: Final = 6
"""States are LEFT, RIGHT, and DEAD: an earlier test of the same feature failed. They are offsets of coefficients."""

_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_INDEX = ir.IntType(64)
_SPLAT = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
_STATES = ir.VectorType(ir.IntType(8), LANES)


class _Emitter:
    """Writes the vector instructions of one step of a walk: Numba does not make vectors out of loops of eight."""

    def __init__(self, builder: ir.IRBuilder, names: tuple[str, ...], values: Any) -> None:
        self.builder = builder
        self.value = dict(zip(names, values, strict=True))

    def add(self, left: ir.Value, right: ir.Value | int) -> ir.Value:
        return self.builder.add(left, _INDEX(right) if isinstance(right, int) else right)

    def times(self, left: ir.Value, right: int) -> ir.Value:
        return self.builder.mul(left, _INDEX(right))

    def integer(self, array: str, at: ir.Value) -> ir.Value:
        return self.builder.zext(self.builder.load(self.builder.gep(self.value[array], [at])), _INDEX)

    def load(self, array: str, at: ir.Value, kind: ir.Type = _VECTOR) -> ir.Value:
        place = self.builder.bitcast(self.builder.gep(self.value[array], [at]), kind.as_pointer())
        loaded = self.builder.load(place)
        loaded.align = 8
        return loaded

    def store(self, vector: ir.Value, array: str, at: ir.Value) -> None:
        place = self.builder.bitcast(self.builder.gep(self.value[array], [at]), vector.type.as_pointer())
        self.builder.store(vector, place).align = 8

    def everywhere(self, number: ir.Value) -> ir.Value:
        """A number in all lanes."""
        undefined = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.IntType(32)(0))
        return self.builder.shuffle_vector(first, undefined, _SPLAT)

    def scalar(self, at: ir.Value, offset: int) -> ir.Value:
        """One coefficient in all lanes."""
        return self.everywhere(self.builder.load(self.builder.gep(self.value["coefficients"], [self.add(at, offset)])))

    def fused(self, left: ir.Value, right: ir.Value, addend: ir.Value) -> ir.Value:
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fmuladd.v{LANES}f64"
        )
        return self.builder.call(function, [left, right, addend])

    def linear(self, at: ir.Value) -> ir.Value:
        """a + bt of the coefficients."""
        return self.fused(self.scalar(at, 1), self.load("rule", self.value["at"]), self.scalar(at, 0))

    def node(self) -> tuple[ir.Value, ir.Value, ir.Value, ir.Value, ir.Value]:
        """Where node i finds its parent, its meta, its edge's and its leaves' coefficients, and its 1/F."""
        i = self.value["i"]
        of_forest = self.add(self.value["before"], i)
        meta = self.times(of_forest, META)
        parent = self.integer("meta", self.add(meta, PARENT))
        state = self.integer("state", self.add(self.times(i, LANES), self.value["row"]))
        coefficients = self.times(of_forest, COEFFICIENTS)
        edge = self.add(coefficients, self.integer("state", self.add(self.times(parent, LANES), self.value["row"])))
        leaves = self.add(self.add(coefficients, state), COEFFICIENTS // 2)
        dead = self.builder.icmp_unsigned("==", state, _INDEX(DEAD))
        inverse = self.builder.select(dead, _INDEX(0), self.integer("meta", self.add(meta, INVERSE)))
        return parent, meta, edge, leaves, self.times(self.add(inverse, self.value["turn"]), LANES)


_CLIMB = ("meta", "coefficients", "inverse", "rule", "at", "before", "turn", "state", "row", "sums", "i")
_DESCEND = (*_CLIMB, "above", "total", "credit")


def _generate_climb(context: Any, builder: Any, _: Any, values: Any) -> Any:
    emit = _Emitter(builder, _CLIMB, values)
    parent, _, edge, leaves, inverse = emit.node()
    here, there = emit.times(emit.value["i"], 2 * LANES), emit.times(parent, 2 * LANES)
    one_over = emit.load("inverse", inverse)
    paid = builder.fmul(builder.fadd(emit.load("sums", here), emit.linear(leaves)), one_over)
    gain = builder.fadd(emit.load("sums", emit.add(here, LANES)), emit.scalar(leaves, 2))
    emit.store(builder.fmul(gain, one_over), "sums", emit.add(here, LANES))
    emit.store(emit.fused(emit.linear(edge), paid, emit.load("sums", there)), "sums", there)
    there = emit.add(there, LANES)
    emit.store(emit.fused(emit.scalar(edge, 2), paid, emit.load("sums", there)), "sums", there)
    return context.get_dummy_value()


def _generate_descend(context: Any, builder: Any, _: Any, values: Any) -> Any:
    emit = _Emitter(builder, _DESCEND, values)
    parent, meta, edge, _, inverse = emit.node()
    above = builder.fmul(emit.load("above", emit.times(parent, LANES)), emit.linear(edge))
    above = builder.fmul(above, emit.load("inverse", inverse))
    emit.store(above, "above", emit.times(emit.value["i"], LANES))
    here = emit.times(emit.value["i"], 2 * LANES)
    feature = emit.add(emit.times(emit.integer("meta", emit.add(meta, FEATURE)), LANES), emit.value["credit"])
    gain = emit.load("sums", emit.add(here, LANES))
    emit.store(emit.fused(above, gain, emit.load("total", feature)), "total", feature)
    nothing = ir.Constant(_VECTOR, [0.0] * LANES)
    emit.store(nothing, "sums", here)
    emit.store(nothing, "sums", emit.add(here, LANES))
    return context.get_dummy_value()


# Numba reads the number of arguments from the function, so they are spelled out.
def _climb(_: Any, meta: Any, coefficients: Any, inverse: Any, rule: Any, at: Any, before: Any, turn: Any,
           state: Any, row: Any, sums: Any, i: Any) -> Any:  # fmt: skip
    """Finish the sums of node i, and add them to its parent's."""
    kinds = (meta, coefficients, inverse, rule, at, before, turn, state, row, sums, i)
    return types.void(*kinds), _generate_climb


def _descend(_: Any, meta: Any, coefficients: Any, inverse: Any, rule: Any, at: Any, before: Any, turn: Any,
             state: Any, row: Any, sums: Any, i: Any, above: Any, total: Any, credit: Any) -> Any:  # fmt: skip
    """Multiply what lies above node i, credit its feature, and clear its sums for the next row."""
    kinds = (meta, coefficients, inverse, rule, at, before, turn, state, row, sums, i, above, total, credit)
    return types.void(*kinds), _generate_descend


def _generate_compare(context: Any, builder: Any, _: Any, values: Any) -> Any:
    emit = _Emitter(builder, ("columns", "at", "threshold", "state", "to"), values)
    # Ordered, so that NaN, which stands for a missing value that goes right, goes right.
    left = builder.fcmp_ordered("<=", emit.load("columns", emit.value["at"]), emit.everywhere(emit.value["threshold"]))
    sides = builder.select(left, ir.Constant(_STATES, [LEFT] * LANES), ir.Constant(_STATES, [RIGHT] * LANES))
    emit.store(sides, "state", emit.value["to"])
    return context.get_dummy_value()


def _generate_bury(context: Any, builder: Any, _: Any, values: Any) -> Any:
    emit = _Emitter(builder, ("state", "to", "former", "passed"), values)
    passed = emit.everywhere(builder.trunc(emit.value["passed"], ir.IntType(8)))
    failed = builder.icmp_unsigned("!=", emit.load("state", emit.value["former"], _STATES), passed)
    own = emit.load("state", emit.value["to"], _STATES)
    emit.store(builder.select(failed, ir.Constant(_STATES, [DEAD] * LANES), own), "state", emit.value["to"])
    return context.get_dummy_value()


def _compare(_: Any, columns: Any, at: Any, threshold: Any, state: Any, to: Any) -> Any:
    """Decide one node for all rows of a group."""
    return types.void(columns, at, threshold, state, to), _generate_compare


def _bury(_: Any, state: Any, to: Any, former: Any, passed: Any) -> Any:
    """Mark one node dead for the rows of a group that failed the former test of its feature."""
    return types.void(state, to, former, passed), _generate_bury


compare_node = intrinsic(_compare)
bury_node = intrinsic(_bury)
climb_node = intrinsic(_climb)
descend_node = intrinsic(_descend)
