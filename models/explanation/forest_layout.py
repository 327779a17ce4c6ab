"""A forest laid out for the kernels of `models.explanation.kernels`, and the kernels' work space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.explanation.lightgbm_reader import CATEGORICAL, DEFAULT_LEFT, MISSING_NAN, MISSING_ZERO, Forest

LANES: Final = 8
"""Quadrature nodes in one vector: trees with up to 16 features on a path need one pass."""

BLOCK: Final = 16
"""Rows that go through one tree before the next is read: their sums must fit the fast caches."""

META: Final = 5
"""Integers of a node: parent, first vector of 1/F, feature, former test of the same feature, state in which it passed."""
PARENT, INVERSE, FEATURE, FORMER, PASSED = range(META)

COEFFICIENTS: Final = 18
"""Numbers of a node: (a, b, c) of the edge above it × its parent's states, then the same of its leaves × its own states."""

LEFT, RIGHT = 0, 3

# How a column treats what LightGBM calls missing.
NAN_IS_ZERO, ZERO_LEFT, ZERO_RIGHT, NAN_LEFT, NAN_RIGHT = range(5)


@dataclass(frozen=True, slots=True)
class Plan:
    """The arrays that kernels read; nodes are numbered within their tree from 1, and 0 is above the root.

    A column is one feature read under one treatment of missing values, so that a test is a plain comparison. A set is the
    test of a categorical node: the side to which each category goes, by its position among all that the forest knows of that
    feature, and last the side of all others. A repeat is a node whose feature was tested above it.
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
    set_side: NDArray[np.int64]
    side: NDArray[np.uint8]
    category_feature: NDArray[np.uint32]
    category_start: NDArray[np.int64]
    category: NDArray[np.float64]
    repeat_start: NDArray[np.int64]
    repeat_node: NDArray[np.uint32]
    passes: NDArray[np.int64]
    rule_start: NDArray[np.int64]
    rule: NDArray[np.float64]
    inverse: NDArray[np.float64]
    children: NDArray[np.int64]

    @property
    def addresses(self) -> list[int]:
        """Where each array lies, in the order of the fields."""
        return [getattr(self, field.name).ctypes.data for field in fields(self)]


def aligned(length: int) -> NDArray[np.float64]:
    """Zeros that start on a cache line: a vector across two lines costs double."""
    room = np.zeros(length + LANES)
    return room[(-(room.ctypes.data >> 3)) & (LANES - 1) :][:length]


class Workspace:
    """What the kernels write beside their results, for up to BLOCK rows of one thread; they leave `sums` and `state` cleared."""

    def __init__(self, plan: Plan, n_features: int) -> None:
        widest = int(np.diff(plan.node_start).max()) + 1
        self.columns = aligned(BLOCK * len(plan.column_feature))
        self.codes = np.zeros(BLOCK * len(plan.category_feature), dtype=np.uint32)
        self.state = np.zeros(widest * LANES, dtype=np.uint8)
        self.sums = aligned(widest * 2 * LANES)
        self.above = aligned(widest * LANES)
        self.total = aligned(BLOCK * n_features * LANES)

    @property
    def addresses(self) -> list[int]:
        """Where each array lies, in the order above."""
        arrays = (self.columns, self.codes, self.state, self.sums, self.above, self.total)
        return [array.ctypes.data for array in arrays]


def lay_out(forest: Forest, kernel: Callable[..., object]) -> Plan:
    """Lay a forest out; `kernel` is the compiled `lay_out` of `models.explanation.kernels`."""
    nodes = len(forest.feature)
    tree = np.repeat(np.arange(forest.n_trees), np.diff(forest.node_start))
    sides = np.column_stack([forest.left, forest.right])
    is_leaf = sides < 0
    first_node, first_leaf = forest.node_start[tree][:, None], forest.leaf_start[tree][:, None]
    # Nodes count from 1 within their tree, and leaf k is −k.
    children = np.where(is_leaf, sides + 1 + first_leaf, sides - first_node + 1)
    leaf, node = np.where(is_leaf, ~sides, 0), np.where(is_leaf, 0, sides)
    counts = np.where(is_leaf, forest.leaf_count[leaf], forest.node_count[node] if nodes else 0.0)
    shares = counts / forest.node_count[:, None]
    values = forest.leaf_value[leaf]
    meta = np.zeros((nodes, META), dtype=np.uint32)
    coefficients = np.zeros((nodes, COEFFICIENTS))
    former_share = np.ones(nodes)
    longest = np.zeros(forest.n_trees, dtype=np.int64)
    # Where the parent of each node lies, how many features are on the way to it, and which way its parent went to it.
    room = np.zeros((3, int(np.diff(forest.node_start).max()) + 1), dtype=np.int64)
    arrays = (
        forest.node_start,
        forest.feature,
        children,
        shares,
        values,
        meta,
        coefficients,
        former_share,
        longest,
        room,
    )
    kernel(forest.n_trees, room.shape[1], *(array.ctypes.data for array in arrays))
    passes = np.maximum(1, -(-longest // (2 * LANES)))
    rule, rule_start = _rules(int(passes.max()))
    repeated = np.flatnonzero(meta[:, FORMER])
    meta[repeated, INVERSE], inverse = _inverses(former_share[repeated], passes[tree[repeated]], rule, rule_start)
    columns, column = np.unique(_columns(forest), axis=0, return_inverse=True)
    categorical = np.flatnonzero((forest.decision & CATEGORICAL) != 0)
    sets = _sets(forest, categorical)
    local = np.arange(nodes) - forest.node_start[tree] + 1
    return Plan(
        node_start=forest.node_start,
        meta=meta,
        coefficients=coefficients,
        threshold=forest.threshold,
        column=column.reshape(-1).astype(np.uint32),
        column_feature=columns[:, 0].astype(np.uint32),
        column_kind=columns[:, 1].astype(np.uint8),
        set_start=np.searchsorted(categorical, forest.node_start).astype(np.int64),
        set_node=local[categorical].astype(np.uint32),
        set_code=sets.code,
        set_side=sets.start,
        side=sets.side,
        category_feature=sets.feature,
        category_start=sets.category_start,
        category=sets.category,
        repeat_start=np.searchsorted(repeated, forest.node_start).astype(np.int64),
        repeat_node=local[repeated].astype(np.uint32),
        passes=passes,
        rule_start=rule_start[passes],
        rule=rule,
        inverse=inverse,
        children=children,
    )


def _rules(passes: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Gauss-Legendre rules on [0, 1] for 1 to `passes` vectors of nodes, and where each starts; weights follow their vector."""
    rules = [np.zeros((0, 2, LANES))]
    for vectors in range(1, passes + 1):
        x, w = np.polynomial.legendre.leggauss(vectors * LANES)
        rules.append(np.stack([(1 + x).reshape(-1, LANES) / 2, w.reshape(-1, LANES) / 2], axis=1))
    start = np.cumsum([0] + [rule.size for rule in rules[:-1]]).astype(np.int64)
    flat = aligned(sum(rule.size for rule in rules))
    flat[:] = np.concatenate(rules).reshape(-1)
    return flat, start


def _inverses(
    share: NDArray[np.float64], passes: NDArray[np.int64], rule: NDArray[np.float64], rule_start: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """1/F of the nodes that test a feature again, a vector for each pass; ones come first, for all other nodes."""
    ones = len(rule_start) - 1
    first = ones + np.cumsum(passes) - passes
    inverse = aligned(int(ones + passes.sum()) * LANES)
    vectors = inverse.reshape(-1, LANES)
    vectors[:ones] = 1.0
    for turn in range(ones):
        has = passes > turn
        at = rule_start[passes[has]] + turn * 2 * LANES
        t = rule[at[:, None] + np.arange(LANES)]
        z = share[has, None]
        vectors[first[has] + turn] = 1 / (z + (1 - z) * t)
    return first, inverse


def _columns(forest: Forest) -> NDArray[np.int64]:
    """The feature of each node, and how its test treats missing values."""
    kind = np.full(len(forest.feature), NAN_IS_ZERO)
    left = (forest.decision & DEFAULT_LEFT) != 0
    for missing, to_left, to_right in ((MISSING_ZERO, ZERO_LEFT, ZERO_RIGHT), (MISSING_NAN, NAN_LEFT, NAN_RIGHT)):
        here = (forest.decision >> 2) == missing
        kind[here] = np.where(left[here], to_left, to_right)
    # A categorical node's comparison is made with the rest, and then replaced by the test of its set.
    kind[(forest.decision & CATEGORICAL) != 0] = NAN_IS_ZERO
    return np.column_stack([forest.feature, kind]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Sets:
    """The code and first side of each categorical node, all sides, and the features of the codes with their categories."""

    code: NDArray[np.uint32]
    start: NDArray[np.int64]
    side: NDArray[np.uint8]
    feature: NDArray[np.uint32]
    category_start: NDArray[np.int64]
    category: NDArray[np.float64]


def _sets(forest: Forest, nodes: NDArray[np.int64]) -> _Sets:
    """Renumber the categories, which keeps the sets small when the categories are large numbers."""
    left = [np.flatnonzero(_bits(forest, int(node))) for node in nodes]
    feature, code = np.unique(forest.feature[nodes], return_inverse=True)
    known = [np.unique(np.concatenate([left[i] for i in np.flatnonzero(code == c)])) for c in range(len(feature))]
    length = np.array([len(categories) + 1 for categories in known], dtype=np.int64)[code]
    start = np.cumsum(length) - length
    side = np.full(int(length.sum()), RIGHT, dtype=np.uint8)
    for i, categories in enumerate(left):
        side[start[i] + np.searchsorted(known[code[i]], categories)] = LEFT
    return _Sets(
        code.astype(np.uint32),
        start,
        side,
        feature.astype(np.uint32),
        np.cumsum([0] + [len(categories) for categories in known]).astype(np.int64),
        np.concatenate([np.zeros(0), *known]).astype(np.float64),
    )


def _bits(forest: Forest, node: int) -> NDArray[np.uint8]:
    start, words = forest.category_start[node], forest.category_words[node]
    return np.unpackbits(forest.category_bits[start : start + words].astype("<u4").view(np.uint8), bitorder="little")
