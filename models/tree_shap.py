"""Exact path-dependent TreeSHAP of a LightGBM booster, fast on one row and on a million."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.booster import (
    CATEGORICAL,
    DEFAULT_LEFT,
    MISSING_NAN,
    MISSING_ZERO,
    BoosterError,
    Forest,
    parse_booster,
)
from models.quadrature import (
    COEFFICIENTS,
    FORMER,
    INVERSE,
    LANES,
    META,
    NAN_IS_ZERO,
    NAN_LEFT,
    NAN_RIGHT,
    ZERO_LEFT,
    ZERO_RIGHT,
    Plan,
    aligned,
    kernels,
)

__all__ = ["BoosterError", "TreeShap"]

_CHUNK: Final = 2048
"""Rows that are converted to float64 and explained at a time: one share of a thread's work."""


class TreeShap:
    """Contributions of features to a booster's raw score, as `Booster.predict(pred_contrib=True)` gives them.

    Making one compiles the kernels, or reads them from Numba's cache, so that no later call waits for a compiler. It may be
    used by several threads at once.

    Args:
        model_text: what `Booster.model_to_string()` returns.

    Raises:
        BoosterError: the text is damaged, or of a booster whose raw score is not a sum of constant leaves in log-odds.
    """

    def __init__(self, model_text: str) -> None:
        forest = parse_booster(model_text)
        self.n_features = forest.n_features
        self.base_value = _base_value(forest)
        """The expected score over the training rows, in log-odds."""
        self._children = _children(forest)
        self._plan = _plan(forest, self._children)
        self._leaf_start = forest.leaf_start[:-1]
        self._leaf_value = forest.leaf_value
        nothing = np.zeros((1, self.n_features))
        self.contributions(nothing)
        self.leaves(nothing)

    def contributions(self, X: NDArray[np.floating], *, threads: int = 1) -> NDArray[np.float64]:
        """Contributions (n, d + 1) in log-odds of rows (n, d); the last column is the base value, and a row sums to its score.

        The result does not depend on the number of threads, nor on which rows come together.

        Raises:
            ValueError: X has not one column for each feature of the booster.
        """
        self._check(X)
        out = np.empty((len(X), self.n_features + 1))
        out[:, -1] = self.base_value

        def explain(first: int) -> None:
            rows = np.ascontiguousarray(X[first : first + _CHUNK], dtype=np.float64)
            kernels().explain(self._plan, rows, out[first : first + _CHUNK])

        chunks = range(0, len(X), _CHUNK)
        if threads > 1 and len(chunks) > 1:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(explain, chunks))
        else:
            for first in chunks:
                explain(first)
        return out

    def leaves(self, X: NDArray[np.floating]) -> NDArray[np.int32]:
        """The leaf (n, trees) that each row reaches in each tree, as `Booster.predict(pred_leaf=True)` gives it."""
        self._check(X)
        leaves = np.empty((len(X), len(self._leaf_start)), dtype=np.int32)
        kernels().land(self._plan, np.ascontiguousarray(X, dtype=np.float64), self._children, leaves)
        return leaves

    def margin(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """The raw score (n,) in log-odds, summed from the leaves."""
        scores: NDArray[np.float64] = self._leaf_value[self._leaf_start + self.leaves(X)].sum(axis=1)
        return scores

    def _check(self, X: NDArray[np.floating]) -> None:
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise ValueError(f"The rows have the shape {X.shape}, but the booster needs (n, {self.n_features}).")


def _base_value(forest: Forest) -> float:
    weight = np.ones(len(forest.leaf_value))
    sizes = np.diff(forest.leaf_start)
    split = np.repeat(sizes > 1, sizes)
    roots = forest.node_count[forest.node_start[:-1][sizes > 1]]
    weight[split] = forest.leaf_count[split] / np.repeat(roots, sizes[sizes > 1])
    return float((weight * forest.leaf_value).sum())


def _children(forest: Forest) -> NDArray[np.int64]:
    """Both children of each node, counted within the tree: nodes from 1, leaf k as −k."""
    sizes = np.diff(forest.node_start)
    first_node, first_leaf = np.repeat(forest.node_start[:-1], sizes), np.repeat(forest.leaf_start[:-1], sizes)
    children = np.column_stack([forest.left, forest.right])
    return np.where(children >= 0, children - first_node[:, None] + 1, children + 1 + first_leaf[:, None])


def _plan(forest: Forest, children: NDArray[np.int64]) -> Plan:
    nodes = len(forest.feature)
    sides = np.column_stack([forest.left, forest.right])
    leaf = np.where(sides < 0, ~sides, 0)
    counts = np.where(sides < 0, forest.leaf_count[leaf], forest.node_count[np.maximum(sides, 0)] if nodes else 0.0)
    meta = np.zeros((nodes, META), dtype=np.uint32)
    coefficients = np.zeros((nodes, 2, 3, 3))
    former_share = np.ones(nodes)
    longest = np.zeros(forest.n_trees, dtype=np.int64)
    kernels().lay_out(
        forest.node_start, forest.feature, children, counts / forest.node_count[:, None], forest.leaf_value[leaf],
        meta, coefficients, former_share, longest,
    )  # fmt: skip
    passes = np.maximum(1, -(-longest // (2 * LANES)))
    rule, rule_start = _rules(int(passes.max()))
    tree = np.repeat(np.arange(forest.n_trees), np.diff(forest.node_start))
    repeated = np.flatnonzero(meta[:, FORMER])
    meta[repeated, INVERSE], inverse = _inverses(former_share[repeated], passes[tree[repeated]], rule, rule_start)
    categorical = np.flatnonzero((forest.decision & CATEGORICAL) != 0)
    columns, column = np.unique(_columns(forest), axis=0, return_inverse=True)
    sets = _sets(forest, categorical)
    local = np.arange(nodes) - forest.node_start[tree] + 1
    return Plan(
        node_start=forest.node_start,
        meta=meta.reshape(-1),
        coefficients=coefficients.reshape(nodes * COEFFICIENTS),
        threshold=forest.threshold,
        column=column.astype(np.uint32),
        column_feature=columns[:, 0].astype(np.uint32),
        column_kind=columns[:, 1].astype(np.uint8),
        set_start=np.searchsorted(categorical, forest.node_start),
        set_node=local[categorical].astype(np.uint32),
        set_code=sets[0],
        set_bits=sets[1],
        bits=sets[2],
        category_feature=sets[3],
        category_start=sets[4],
        category=sets[5],
        repeat_start=np.searchsorted(repeated, forest.node_start),
        repeat_node=local[repeated].astype(np.uint32),
        passes=passes,
        rule_start=rule_start[passes],
        rule=rule,
        inverse=inverse,
    )


def _rules(passes: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Gauss-Legendre rules on [0, 1] for 1 to `passes` vectors of nodes, and where each starts; weights follow their vector."""
    rules = [np.zeros((0, 2, LANES))]
    for vectors in range(1, passes + 1):
        x, w = np.polynomial.legendre.leggauss(vectors * LANES)
        rules.append(np.stack([(1 + x).reshape(-1, LANES) / 2, w.reshape(-1, LANES) / 2], axis=1))
    start = np.cumsum([0] + [rule.size for rule in rules[:-1]])
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
    # A categorical node's comparison is made with the rest and then replaced by the test of its set.
    kind[(forest.decision & CATEGORICAL) != 0] = NAN_IS_ZERO
    return np.column_stack([forest.feature, kind]).astype(np.int64).reshape(-1, 2)


def _sets(
    forest: Forest, nodes: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint32], NDArray[np.int64], NDArray[np.float64]]:  # fmt: skip
    """Each categorical node's code and first word, all words; the features of the codes, and their known categories.

    Renumbering the categories keeps the sets small when the categories are large numbers, and one more bit than there are
    categories, never set, is where unseen values and NaN go.
    """
    left = [np.flatnonzero(_bits(forest, node)) for node in nodes]
    features, code = np.unique(forest.feature[nodes], return_inverse=True)
    known = [np.unique(np.concatenate([left[i] for i in np.flatnonzero(code == c)])) for c in range(len(features))]
    words = np.array([len(categories) // 32 + 1 for categories in known], dtype=np.int64)
    length = words[code]
    start = np.cumsum(length) - length
    packed = np.zeros(int(length.sum()) * 32, dtype=np.uint8)
    for i in range(len(nodes)):
        packed[start[i] * 32 + np.searchsorted(known[code[i]], left[i])] = 1
    return (
        code.astype(np.uint32),
        start.astype(np.uint64),
        np.packbits(packed, bitorder="little").view("<u4").astype(np.uint32),
        features.astype(np.uint32),
        np.concatenate([[0], np.cumsum([len(categories) for categories in known])]).astype(np.int64),
        np.concatenate([np.zeros(0), *known]).astype(np.float64),
    )


def _bits(forest: Forest, node: int) -> NDArray[np.uint8]:
    start, words = forest.category_start[node], forest.category_words[node]
    return np.unpackbits(forest.category_bits[start : start + words].astype("<u4").view(np.uint8), bitorder="little")
