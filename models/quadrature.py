"""The compiled half of `models.tree_shap`: Shapley values of one tree after the other by Gauss-Legendre quadrature.

A leaf of value v pays v·Πⱼ zⱼ to a row of which nothing is known, where zⱼ is the share of the training rows that passed the
leaf's tests on feature j, and feature j turns its zⱼ into oⱼ: 1 where the row passes these tests, else 0. The Shapley value of
j in this game is v·∫₀¹ (oⱼ − zⱼ) Π_{i≠j} (zᵢ + (oᵢ − zᵢ)t) dt, a polynomial of degree below d for a leaf with d features, and
⌈d/2⌉ Gauss-Legendre nodes integrate it exactly. The products are shared between leaves: one walk up sums the leaves below a
node, one walk down multiplies what lies above it, eight quadrature nodes at a time in one vector.
Source: Lundberg et al. (2020), From local explanations to global understanding with explainable AI for trees (the game);
Yu et al. (2022), Linear TreeShap (sums of leaves as polynomials).

An edge to a child has three scalars a, b, c for each state of its parent: with F the factor of the parent's feature above it,
the factor below it is (a + bt)/F times F, and c/F² is what the integrand of that feature gains. The vector 1/F is 1 unless
the feature was tested before.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])

logger = logging.getLogger(__name__)

LANES: Final = 8
"""Quadrature nodes in one vector: trees with up to 16 features on a path need one pass."""

BLOCK: Final = 16
"""Rows that go through one tree before the next is read: their sums must fit the fast caches."""

TOO_SMALL: Final = float(np.float32(1e-35))

META: Final = 5
"""Integers of a node: parent, first vector of 1/F, feature, former test of the same feature, state in which it passed."""
_PARENT, INVERSE, _FEATURE, FORMER, _SIDE = range(META)
COEFFICIENTS: Final = 18
"""Numbers of a node: (a, b, c) of the edge above it × its parent's states, then the same of its leaves × its own states."""
DEAD: Final = 6
"""States are 0 (goes left), 3 (goes right), DEAD (an earlier test of the same feature failed): offsets of coefficients."""

# How a column of comparable numbers treats what LightGBM calls missing.
NAN_IS_ZERO, ZERO_LEFT, ZERO_RIGHT, NAN_LEFT, NAN_RIGHT = range(5)


class Plan(NamedTuple):
    """A forest laid out for the kernels; nodes are numbered within their tree from 1, and 0 is above the root.

    A column is one feature read under one treatment of missing values, so that a test is a plain comparison. A set is the
    test of a categorical node; its bits are numbered by the position of the category among all that the forest knows of
    that feature. A repeat is a node whose feature was tested above it.
    """

    node_start: NDArray[np.int64]
    meta: NDArray[np.uint32]
    coefficients: NDArray[np.float64]
    threshold: NDArray[np.float64]
    column: NDArray[np.uint32]
    column_feature: NDArray[np.uint32]
    column_kind: NDArray[np.uint8]
    set_start: NDArray[np.int64]
    set_node: NDArray[np.uint32]
    set_code: NDArray[np.uint32]
    set_bits: NDArray[np.uint64]
    bits: NDArray[np.uint32]
    category_feature: NDArray[np.uint32]
    category_start: NDArray[np.int64]
    category: NDArray[np.float64]
    repeat_start: NDArray[np.int64]
    repeat_node: NDArray[np.uint32]
    passes: NDArray[np.int64]
    rule_start: NDArray[np.int64]
    rule: NDArray[np.float64]
    inverse: NDArray[np.float64]


_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_INDEX = ir.IntType(64)
_SPLAT = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
_UNDEFINED = ir.Constant(_VECTOR, ir.Undefined)


class _Emitter:
    """Writes the vector instructions of one walk's step: Numba does not make vectors out of loops of eight."""

    def __init__(self, context: Any, builder: ir.IRBuilder, names: tuple[str, ...], kinds: Any, values: Any) -> None:
        self.builder = builder
        self.value = dict(zip(names, values, strict=True))
        for name, kind in zip(names, kinds, strict=True):
            if isinstance(kind, types.Array):
                self.value[name] = context.make_array(kind)(context, builder, self.value[name]).data

    def add(self, left: ir.Value, right: ir.Value | int) -> ir.Value:
        return self.builder.add(left, _INDEX(right) if isinstance(right, int) else right)

    def times(self, left: ir.Value, right: int) -> ir.Value:
        return self.builder.mul(left, _INDEX(right))

    def integer(self, array: str, at: ir.Value) -> ir.Value:
        return self.builder.zext(self.builder.load(self.builder.gep(self.value[array], [at])), _INDEX)

    def _place(self, array: str, at: ir.Value) -> ir.Value:
        return self.builder.bitcast(self.builder.gep(self.value[array], [at]), _VECTOR.as_pointer())

    def load(self, array: str, at: ir.Value) -> ir.Value:
        loaded = self.builder.load(self._place(array, at))
        loaded.align = 8
        return loaded

    def store(self, vector: ir.Value, array: str, at: ir.Value) -> None:
        self.builder.store(vector, self._place(array, at)).align = 8

    def scalar(self, array: str, at: ir.Value, offset: int) -> ir.Value:
        """One number in all lanes."""
        number = self.builder.load(self.builder.gep(self.value[array], [self.add(at, offset)]))
        first = self.builder.insert_element(_UNDEFINED, number, ir.IntType(32)(0))
        return self.builder.shuffle_vector(first, _UNDEFINED, _SPLAT)

    def fused(self, left: ir.Value, right: ir.Value, addend: ir.Value) -> ir.Value:
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fmuladd.v{LANES}f64"
        )
        return self.builder.call(function, [left, right, addend])

    def node(self) -> tuple[ir.Value, ir.Value, ir.Value, ir.Value, ir.Value]:
        """Where node i finds its parent, its meta, its edge's and its leaves' coefficients, and its 1/F."""
        i = self.value["i"]
        of_forest = self.add(self.value["before"], i)
        meta = self.times(of_forest, META)
        parent = self.integer("meta", self.add(meta, _PARENT))
        state = self.integer("state", i)
        coefficients = self.times(of_forest, COEFFICIENTS)
        edge = self.add(coefficients, self.integer("state", parent))
        leaves = self.add(self.add(coefficients, state), COEFFICIENTS // 2)
        dead = self.builder.icmp_unsigned("==", state, _INDEX(DEAD))
        inverse = self.builder.select(dead, _INDEX(0), self.integer("meta", self.add(meta, INVERSE)))
        return parent, meta, edge, leaves, self.times(self.add(inverse, self.value["turn"]), LANES)

    def linear(self, at: ir.Value) -> ir.Value:
        """a + bt."""
        t = self.load("rule", self.value["at"])
        return self.fused(self.scalar("coefficients", at, 1), t, self.scalar("coefficients", at, 0))


def _compiled(function: F) -> F:
    """For what kernels call; it is compiled, and cached, as part of them."""
    return cast(F, numba.njit(nogil=True)(function))


_CLIMB = ("meta", "coefficients", "inverse", "rule", "at", "before", "turn", "state", "sums", "i")
_DESCEND = (*_CLIMB, "above", "total")


def _generate_climb(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    emit = _Emitter(context, builder, _CLIMB, signature.args, values)
    parent, _, edge, leaves, inverse = emit.node()
    here, there = emit.times(emit.value["i"], 2 * LANES), emit.times(parent, 2 * LANES)
    own = emit.linear(leaves)
    one_over = emit.load("inverse", inverse)
    paid = builder.fmul(builder.fadd(emit.load("sums", here), own), one_over)
    gain = builder.fadd(emit.load("sums", emit.add(here, LANES)), emit.scalar("coefficients", leaves, 2))
    emit.store(builder.fmul(gain, one_over), "sums", emit.add(here, LANES))
    emit.store(emit.fused(emit.linear(edge), paid, emit.load("sums", there)), "sums", there)
    there = emit.add(there, LANES)
    emit.store(emit.fused(emit.scalar("coefficients", edge, 2), paid, emit.load("sums", there)), "sums", there)
    return context.get_dummy_value()


def _generate_descend(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    emit = _Emitter(context, builder, _DESCEND, signature.args, values)
    parent, meta, edge, _, inverse = emit.node()
    above = builder.fmul(emit.load("above", emit.times(parent, LANES)), emit.linear(edge))
    above = builder.fmul(above, emit.load("inverse", inverse))
    emit.store(above, "above", emit.times(emit.value["i"], LANES))
    here = emit.times(emit.value["i"], 2 * LANES)
    feature = emit.times(emit.integer("meta", emit.add(meta, _FEATURE)), LANES)
    gain = emit.load("sums", emit.add(here, LANES))
    emit.store(emit.fused(above, gain, emit.load("total", feature)), "total", feature)
    nothing = ir.Constant(_VECTOR, [0.0] * LANES)
    emit.store(nothing, "sums", here)
    emit.store(nothing, "sums", emit.add(here, LANES))
    return context.get_dummy_value()


def _climb(typing: Any, meta: Any, coefficients: Any, inverse: Any, rule: Any, at: Any, before: Any, turn: Any,
           state: Any, sums: Any, i: Any) -> Any:  # fmt: skip
    """Finish the sums of node i, and add them to its parent's."""
    kinds = (meta, coefficients, inverse, rule, at, before, turn, state, sums, i)
    return types.void(*kinds), _generate_climb


def _descend(typing: Any, meta: Any, coefficients: Any, inverse: Any, rule: Any, at: Any, before: Any, turn: Any,
             state: Any, sums: Any, i: Any, above: Any, total: Any) -> Any:  # fmt: skip
    """Multiply what lies above node i, credit its feature, and clear its sums for the next row."""
    kinds = (meta, coefficients, inverse, rule, at, before, turn, state, sums, i, above, total)
    return types.void(*kinds), _generate_descend


_climb_node = intrinsic(_climb)
_descend_node = intrinsic(_descend)


@_compiled
def _read(plan: Plan, row: NDArray[np.float64], columns: NDArray[np.float64], codes: NDArray[np.uint32]) -> None:
    """Turn a row into columns to compare with thresholds, and into positions among the known categories."""
    for c in range(len(plan.column_feature)):
        x = row[plan.column_feature[c]]
        kind = plan.column_kind[c]
        missing = np.isnan(x)
        if abs(x) <= TOO_SMALL or (missing and kind < NAN_LEFT):
            x = 0.0
            missing = kind != NAN_IS_ZERO and kind < NAN_LEFT
        if missing:
            x = -np.inf if kind == ZERO_LEFT or kind == NAN_LEFT else np.nan
        columns[c] = x
    for c in range(len(plan.category_feature)):
        known = plan.category[plan.category_start[c] : plan.category_start[c + 1]]
        x = np.trunc(row[plan.category_feature[c]])
        low, high = 0, len(known)
        while low < high:
            middle = (low + high) // 2
            if known[middle] < x:
                low = middle + 1
            else:
                high = middle
        codes[c] = low if low < len(known) and known[low] == x else len(known)


@_compiled
def _decide(
    plan: Plan, tree: int, columns: NDArray[np.float64], codes: NDArray[np.uint32], state: NDArray[np.uint8]
) -> None:
    """The state of every node of a tree, whether the row comes by or not."""
    start, stop = plan.node_start[tree], plan.node_start[tree + 1]
    column, threshold, decided = plan.column[start:stop], plan.threshold[start:stop], state[1:]
    for i in range(stop - start):
        decided[i] = np.uint8(3 * (not columns[column[i]] <= threshold[i]))
    start, stop = plan.set_start[tree], plan.set_start[tree + 1]
    node, code_of, bits_of = plan.set_node[start:stop], plan.set_code[start:stop], plan.set_bits[start:stop]
    for i in range(stop - start):
        code = codes[code_of[i]]
        word = plan.bits[bits_of[i] + np.uint64(code >> np.uint32(5))]
        state[node[i]] = np.uint8(3 - 3 * ((word >> (code & np.uint32(31))) & np.uint32(1)))
    start, stop = plan.repeat_start[tree], plan.repeat_start[tree + 1]
    meta = plan.meta[plan.node_start[tree] * META :]
    for i in plan.repeat_node[start:stop]:
        at = np.uint64(i - np.uint32(1)) * np.uint64(META)
        if state[meta[at + np.uint64(FORMER)]] != meta[at + np.uint64(_SIDE)]:
            state[i] = DEAD


def aligned(length: int) -> NDArray[np.float64]:
    """Zeros that start on a cache line: a vector across two lines costs double."""
    room = np.zeros(length + LANES)
    return room[(-(room.ctypes.data >> 3)) & (LANES - 1) :][:length]


_aligned = _compiled(aligned)


def _explain(plan: Plan, rows: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Fill all but the last column of `out` (n, d + 1) with the contributions of `rows` (n, d)."""
    d = rows.shape[1]
    widest = np.max(np.diff(plan.node_start))
    columns, codes = (
        np.empty((BLOCK, len(plan.column_feature))),
        np.empty((BLOCK, len(plan.category_feature)), np.uint32),
    )
    sums, above, total = _aligned((widest + 1) * 2 * LANES), _aligned((widest + 1) * LANES), _aligned(BLOCK * d * LANES)
    state = np.zeros(widest + 1, np.uint8)
    for first in range(0, len(rows), BLOCK):
        size = min(BLOCK, len(rows) - first)
        total[:] = 0.0
        for r in range(size):
            _read(plan, rows[first + r], columns[r], codes[r])
        for tree in range(len(plan.node_start) - 1):
            before = plan.node_start[tree] - 1
            nodes = plan.node_start[tree + 1] - plan.node_start[tree]
            for r in range(size):
                _decide(plan, tree, columns[r], codes[r], state)
                credit = total[r * d * LANES :]
                for turn in range(plan.passes[tree]):
                    at = plan.rule_start[tree] + turn * 2 * LANES
                    above[:LANES] = plan.rule[at + LANES : at + 2 * LANES]
                    for i in range(nodes, 0, -1):
                        _climb_node(plan.meta, plan.coefficients, plan.inverse, plan.rule, at, before, turn, state, sums, i)  # fmt: skip
                    sums[: 2 * LANES] = 0.0
                    for i in range(1, nodes + 1):
                        _descend_node(plan.meta, plan.coefficients, plan.inverse, plan.rule, at, before, turn, state, sums, i, above, credit)  # fmt: skip
        for r in range(size):
            for f in range(d):
                out[first + r, f] = total[(r * d + f) * LANES : (r * d + f + 1) * LANES].sum()


def _land(plan: Plan, rows: NDArray[np.float64], children: NDArray[np.int64], leaves: NDArray[np.int32]) -> None:
    """Fill `leaves` (n, trees) with the leaf of each row; `children` (nodes, 2) counts nodes from 1, a leaf is −leaf."""
    columns, codes = np.empty(len(plan.column_feature)), np.empty(len(plan.category_feature), np.uint32)
    state = np.zeros(np.max(np.diff(plan.node_start)) + 1, np.uint8)
    for r in range(len(rows)):
        _read(plan, rows[r], columns, codes)
        for tree in range(len(plan.node_start) - 1):
            start, stop = plan.node_start[tree], plan.node_start[tree + 1]
            _decide(plan, tree, columns, codes, state)
            node = 1 if stop > start else 0
            while node > 0:
                node = children[start + node - 1, 0 if state[node] == 0 else 1]
            leaves[r, tree] = -node


def _lay_out(
    node_start: NDArray[np.int64],
    feature: NDArray[np.int64],
    children: NDArray[np.int64],
    shares: NDArray[np.float64],
    values: NDArray[np.float64],
    meta: NDArray[np.uint32],
    coefficients: NDArray[np.float64],
    former_share: NDArray[np.float64],
    longest: NDArray[np.int64],
) -> None:
    """Fill in parents, former tests and coefficients; how many features the longest path of each tree has.

    Of each node's two children come their number as in `_land`, their share of the node's training rows, and their value.
    """
    for tree in range(len(node_start) - 1):
        start, stop = node_start[tree], node_start[tree + 1]
        features = np.zeros(stop - start + 1, np.int64)
        side = np.zeros(stop - start + 1, np.int64)
        for i in range(1, stop - start + 1):
            g = start + i - 1
            if i == 1:
                coefficients[g, 0, 0, 0] = 1.0
            meta[g, _FEATURE] = feature[g]
            features[i] = features[meta[g, _PARENT]] + 1
            z = 1.0
            above = i
            while above > 1:
                taken = side[above]
                above = np.int64(meta[start + above - 1, _PARENT])
                if feature[start + above - 1] == feature[g]:
                    meta[g, FORMER], meta[g, _SIDE] = above, 3 * taken
                    z = former_share[start + above - 1] * shares[start + above - 1, taken]
                    features[i] -= 1
                    break
            former_share[g] = z
            longest[tree] = max(longest[tree], features[i])
            for taken in range(2):
                child, share, value = children[g, taken], shares[g, taken], values[g, taken]
                if child > 0:
                    meta[start + child - 1, _PARENT] = i
                    side[child] = taken
                for state in range(3):
                    if state == 2:
                        a, b, c = share, 0.0, 0.0
                    elif state == taken:
                        a, b, c = z * share, 1.0 - z * share, z - z * share
                    else:
                        a, b, c = z * share, -z * share, -z * share
                    if child > 0:
                        coefficients[start + child - 1, 0, state] = np.array([a, b, c])
                    else:
                        coefficients[g, 1, state] += value * np.array([a, b, c])


class Kernels(NamedTuple):
    """The compiled functions."""

    explain: Callable[..., None]
    land: Callable[..., None]
    lay_out: Callable[..., None]


@functools.cache
def kernels() -> Kernels:
    """The kernels, compiled at their first call or read from Numba's cache.

    They are cached where Numba finds a place to write: NUMBA_CACHE_DIR, beside this file, or the user's cache folder. Without
    any of these each process compiles for itself.
    """
    compiled = []
    for function in (_explain, _land, _lay_out):
        kernel = numba.njit(function, nogil=True)
        try:
            kernel.enable_caching()
        except RuntimeError as error:
            logger.warning("Kernels are compiled anew in each process: %s", error)
        compiled.append(kernel)
    return Kernels(*compiled)
