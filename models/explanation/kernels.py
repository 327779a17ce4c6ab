"""The kernels of `models.tree_shap`: Shapley values of one tree after the other, by Gauss-Legendre quadrature.

A leaf of value v pays v·Πⱼ zⱼ to a row of which nothing is known, where zⱼ is the share of the training rows that passed the
leaf's tests on feature j, and feature j turns its zⱼ into oⱼ: 1 where the row passes these tests, else 0. The Shapley value of
j in this game is v·∫₀¹ (oⱼ − zⱼ) Π_{i≠j} (zᵢ + (oᵢ − zᵢ)t) dt, a polynomial of degree below d for a leaf with d features, and
⌈d/2⌉ Gauss-Legendre nodes integrate it exactly. The products are shared between leaves: one walk up sums the leaves below a
node, one walk down multiplies what lies above it, eight quadrature nodes at a time in one vector.
Source: Lundberg et al. (2020), From local explanations to global understanding with explainable AI for trees (the game);
Yu et al. (2022), Linear TreeShap (sums over leaves as polynomials).

An edge to a child has three scalars a, b, c for each state of its parent: with F the factor of the parent's feature above it,
the factor below it is (a + bt)/F times F, and c/F² is what the integrand of that feature gains. The vector 1/F is 1 unless
the feature was tested before.

Only `models.explanation.kernel_cache` imports this module, and only to compile it: importing Numba takes seconds that a server has not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, cast

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from models.explanation.forest_layout import (
    BLOCK,
    COEFFICIENTS,
    FEATURE,
    FORMER,
    LANES,
    LEFT,
    META,
    NAN_IS_ZERO,
    NAN_LEFT,
    PARENT,
    PASSED,
    RIGHT,
    ZERO_LEFT,
)  # fmt: skip
from models.explanation.kernel_steps import bury_node, climb_node, compare_node, descend_node
from models.explanation.lightgbm_reader import ZERO_THRESHOLD

F = TypeVar("F", bound=Callable[..., Any])


def _pointer(kind: Any) -> Any:
    """What turns an address into a pointer to numbers of a kind."""

    def cast_address(_: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(address), generate

    return intrinsic(cast_address)


_floats, _int64s, _uint32s, _uint8s = (
    _pointer(kind) for kind in (types.float64, types.int64, types.uint32, types.uint8)
)


def _compiled(function: F) -> F:
    """For what kernels call. Without Numba's runtime, so that the machine code stands alone."""
    return cast(F, numba.njit(error_model="numpy", _nrt=False)(function))


class _Forest(NamedTuple):
    """What `Plan` holds, as pointers in the same order."""

    node_start: Any
    meta: Any
    coefficients: Any
    threshold: Any
    column: Any
    column_feature: Any
    column_kind: Any
    set_start: Any
    set_node: Any
    set_code: Any
    set_side: Any
    side: Any
    category_feature: Any
    category_start: Any
    category: Any
    repeat_start: Any
    repeat_node: Any
    passes: Any
    rule_start: Any
    rule: Any
    inverse: Any
    children: Any


class _Room(NamedTuple):
    """What `Workspace` holds, as pointers in the same order."""

    columns: Any
    codes: Any
    state: Any
    sums: Any
    above: Any
    total: Any


@_compiled
def _forest(at: Any) -> _Forest:
    return _Forest(
        _int64s(at[0]), _uint32s(at[1]), _floats(at[2]), _floats(at[3]), _uint32s(at[4]), _uint32s(at[5]), _uint8s(at[6]),
        _int64s(at[7]), _uint32s(at[8]), _uint32s(at[9]), _int64s(at[10]), _uint8s(at[11]), _uint32s(at[12]),
        _int64s(at[13]), _floats(at[14]), _int64s(at[15]), _uint32s(at[16]), _int64s(at[17]), _int64s(at[18]),
        _floats(at[19]), _floats(at[20]), _int64s(at[21]),
    )  # fmt: skip


@_compiled
def _room(at: Any) -> _Room:
    return _Room(_floats(at[0]), _uint32s(at[1]), _uint8s(at[2]), _floats(at[3]), _floats(at[4]), _floats(at[5]))


@_compiled
def _slot(r: int, c: int, columns: int) -> int:
    """Where row r of a block keeps column c: a group of rows lies together in each column."""
    return ((r // LANES) * columns + c) * LANES + r % LANES


@_compiled
def _read(forest: _Forest, counts: tuple[int, int], room: _Room, r: int, rows: Any, at: int) -> None:
    """Turn a row into columns to compare with thresholds, and into positions among the known categories."""
    columns, categories = counts
    for c in range(columns):
        x = rows[at + forest.column_feature[c]]
        kind = forest.column_kind[c]
        missing = np.isnan(x)
        if abs(x) <= ZERO_THRESHOLD or (missing and kind < NAN_LEFT):
            x = 0.0
            missing = kind != NAN_IS_ZERO and kind < NAN_LEFT
        if missing:
            x = -np.inf if kind in (ZERO_LEFT, NAN_LEFT) else np.nan
        room.columns[_slot(r, c, columns)] = x
    for c in range(categories):
        first, last = forest.category_start[c], forest.category_start[c + 1]
        low, high = first, last
        x = rows[at + forest.category_feature[c]]
        # LightGBM cuts decimals off, so −0.5 is category 0.
        x = np.floor(x) if x >= 0 else np.ceil(x)
        while low < high:
            middle = (low + high) >> 1
            if forest.category[middle] < x:
                low = middle + 1
            else:
                high = middle
        found = low < last and forest.category[low] == x
        room.codes[_slot(r, c, categories)] = np.uint32((low if found else last) - first)


@_compiled
def _decide(forest: _Forest, counts: tuple[int, int], room: _Room, group: int, rows: int, tree: int) -> None:
    """The state of every node of a tree for the rows of a group, whether they come by or not."""
    start = forest.node_start[tree]
    at = group * counts[0]
    for i in range(forest.node_start[tree + 1] - start):
        column = np.int64(forest.column[start + i])
        compare_node(room.columns, (at + column) * LANES, forest.threshold[start + i], room.state, (i + 1) * LANES)
    at = group * counts[1]
    for s in range(forest.set_start[tree], forest.set_start[tree + 1]):
        codes, to = (at + np.int64(forest.set_code[s])) * LANES, np.int64(forest.set_node[s]) * LANES
        sides = forest.set_side[s]
        for r in range(rows):
            room.state[to + r] = forest.side[sides + np.int64(room.codes[codes + r])]
    for s in range(forest.repeat_start[tree], forest.repeat_start[tree + 1]):
        node = np.int64(forest.repeat_node[s])
        meta = (start + node - 1) * META
        former, passed = np.int64(forest.meta[meta + FORMER]), np.int64(forest.meta[meta + PASSED])
        bury_node(room.state, node * LANES, former * LANES, passed)


def explain(
    n: int, d: int, rows: Any, out: Any, trees: int, columns: int, categories: int, plan: Any, workspace: Any
) -> None:
    """Fill all but the last column of `out` (n, d + 1) with the contributions of `rows` (n, d)."""
    forest, room, counts = _forest(plan), _room(workspace), (columns, categories)
    for first in range(0, n, BLOCK):
        size = min(BLOCK, n - first)
        for k in range(size * d * LANES):
            room.total[k] = 0.0
        for r in range(size):
            _read(forest, counts, room, r, rows, (first + r) * d)
        for tree in range(trees):
            before = forest.node_start[tree] - 1
            nodes = forest.node_start[tree + 1] - forest.node_start[tree]
            for r in range(size):
                if r % LANES == 0:
                    _decide(forest, counts, room, r // LANES, min(LANES, size - r), tree)
                credit, row = r * d * LANES, r % LANES
                for turn in range(forest.passes[tree]):
                    at = forest.rule_start[tree] + turn * 2 * LANES
                    for k in range(LANES):
                        room.above[k] = forest.rule[at + LANES + k]
                    for i in range(nodes, 0, -1):
                        climb_node(forest.meta, forest.coefficients, forest.inverse, forest.rule, at, before, turn,
                                    room.state, row, room.sums, i)  # fmt: skip
                    for k in range(2 * LANES):
                        room.sums[k] = 0.0
                    for i in range(1, nodes + 1):
                        descend_node(forest.meta, forest.coefficients, forest.inverse, forest.rule, at, before, turn,
                                      room.state, row, room.sums, i, room.above, room.total, credit)  # fmt: skip
        for r in range(size):
            for f in range(d):
                contribution = 0.0
                for k in range(LANES):
                    contribution += room.total[(r * d + f) * LANES + k]
                out[(first + r) * (d + 1) + f] = contribution


def land(
    n: int, d: int, rows: Any, out: Any, trees: int, columns: int, categories: int, plan: Any, workspace: Any
) -> None:
    """Fill `out` (n, trees) with the leaf of each of the `rows` (n, d)."""
    forest, room, counts = _forest(plan), _room(workspace), (columns, categories)
    for first in range(0, n, LANES):
        size = min(LANES, n - first)
        for r in range(size):
            _read(forest, counts, room, r, rows, (first + r) * d)
        for tree in range(trees):
            start = forest.node_start[tree]
            _decide(forest, counts, room, 0, size, tree)
            for r in range(size):
                node = 1 if forest.node_start[tree + 1] > start else 0
                while node > 0:
                    side = 0 if room.state[node * LANES + r] == LEFT else 1
                    node = forest.children[2 * (start + node - 1) + side]
                out[(first + r) * trees + tree] = np.int32(-node)


def lay_out(trees: int, widest: int, node_start: Any, feature: Any, children: Any, shares: Any, values: Any, meta: Any,
            coefficients: Any, former_share: Any, longest: Any, room: Any) -> None:  # fmt: skip
    """Fill in parents, former tests and coefficients, and how many features the longest path of each tree has.

    Of each node's two children come the number, the share of the node's training rows, and the value of a leaf. The room
    (3, widest) takes each node's parent, the features down to it, and the side it is on.
    """
    count, side = widest, 2 * widest
    for tree in range(trees):
        start = node_start[tree]
        room[1] = room[count] = 0
        if node_start[tree + 1] > start:
            coefficients[start * COEFFICIENTS] = 1.0
        for i in range(1, node_start[tree + 1] - start + 1):
            g = start + i - 1
            room[count + i] = room[count + room[i]] + 1
            meta[g * META + PARENT], meta[g * META + FEATURE] = np.uint32(room[i]), np.uint32(feature[g])
            z = 1.0
            above = i
            while above > 1:
                taken = room[side + above]
                above = room[above]
                if feature[start + above - 1] == feature[g]:
                    meta[g * META + FORMER], meta[g * META + PASSED] = np.uint32(above), np.uint32(taken * RIGHT)
                    z = former_share[start + above - 1] * shares[2 * (start + above - 1) + taken]
                    room[count + i] -= 1
                    break
            former_share[g] = z
            longest[tree] = max(longest[tree], room[count + i])
            for taken in range(2):
                child, share = children[2 * g + taken], shares[2 * g + taken]
                if child > 0:
                    room[child], room[side + child] = i, taken
                    weight, at = 1.0, (start + child - 1) * COEFFICIENTS
                else:
                    weight, at = values[2 * g + taken], g * COEFFICIENTS + COEFFICIENTS // 2
                for state in range(3):
                    if state == 2:
                        a, b, c = share, 0.0, 0.0
                    elif state == taken:
                        a, b, c = z * share, 1.0 - z * share, z - z * share
                    else:
                        a, b, c = z * share, -z * share, -z * share
                    coefficients[at + 3 * state] += weight * a
                    coefficients[at + 3 * state + 1] += weight * b
                    coefficients[at + 3 * state + 2] += weight * c


_NUMBER, _FLOATS, _INT64S, _INT32S, _UINT32S = (
    types.int64, *(types.CPointer(kind) for kind in (types.float64, types.int64, types.int32, types.uint32)))  # fmt: skip
_ROWS: Final = (_NUMBER, _NUMBER, _FLOATS)
_MODEL: Final = (_NUMBER, _NUMBER, _NUMBER, _INT64S, _INT64S)
_SIGNATURES: Final = {
    explain: (*_ROWS, _FLOATS, *_MODEL),
    land: (*_ROWS, _INT32S, *_MODEL),
    lay_out: (
        _NUMBER,
        _NUMBER,
        _INT64S,
        _INT64S,
        _INT64S,
        _FLOATS,
        _FLOATS,
        _UINT32S,
        _FLOATS,
        _FLOATS,
        _INT64S,
        _INT64S,
    ),
}


def compile_kernels(machine: llvm.TargetMachine) -> bytes:
    """An object file with the functions `explain`, `land` and `lay_out`, which needs nothing but itself."""
    whole = llvm.parse_assembly("")
    for function, arguments in _SIGNATURES.items():
        kernel = numba.cfunc(types.void(*arguments), error_model="numpy", _nrt=False)(function)
        module = llvm.parse_assembly(kernel.inspect_llvm())
        # The callback wraps the function in Python's error handling, which a function that raises nothing has no use for.
        module.get_function(kernel.native_name).linkage = llvm.Linkage.internal
        module.get_function(kernel.native_name.removeprefix("cfunc.")).name = function.__name__
        whole.link_in(module)
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(whole, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    needed = [needs.name for needs in whole.functions if needs.is_declaration and not needs.name.startswith("llvm.")]
    if needed:
        raise RuntimeError(f"The kernels need functions from outside: {', '.join(needed)}.")
    return cast(bytes, machine.emit_object(whole))
