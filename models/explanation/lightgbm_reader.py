"""Read the text of a LightGBM booster into flat arrays, without LightGBM.

Only boosters whose raw score is a log-odds are read: objective `binary` with `sigmoid:1`, or `cross_entropy`; one output,
constant leaves. Everything else is a `BoosterError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelsError

ZERO_THRESHOLD = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold: smaller magnitudes are zero."""

CATEGORICAL = 1
DEFAULT_LEFT = 2
MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2


class BoosterError(ModelsError):
    """The text is not a booster that can be read; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Forest:
    """All trees of a booster, one after the other, in flat arrays.

    Tree t owns the nodes `node_start[t]:node_start[t + 1]`, each after its parent, and the leaves
    `leaf_start[t]:leaf_start[t + 1]`. A child is ≥ 0 for a node and ~leaf for a leaf, both counted over the whole forest.
    A single-leaf tree has no node. `decision` holds LightGBM's bits: 1 categorical, 2 default left, missing type × 4.
    The categories that go left at a categorical node are the set bits of `category_bits[category_start[node]:][:category_words[node]]`.
    """

    n_features: int
    feature_names: tuple[str, ...]
    node_start: NDArray[np.int64]
    leaf_start: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    decision: NDArray[np.uint8]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    node_count: NDArray[np.float64]
    leaf_count: NDArray[np.float64]
    leaf_value: NDArray[np.float64]
    category_start: NDArray[np.int64]
    category_words: NDArray[np.int64]
    category_bits: NDArray[np.uint32]

    @property
    def n_trees(self) -> int:
        return len(self.node_start) - 1


def parse_booster(text: str) -> Forest:
    """Parse what `Booster.model_to_string()` or a saved model file holds.

    Raises BoosterError if the text is damaged, or if the booster is of a kind whose contributions would not be log-odds.
    """
    head, *blocks = text.split("\nTree=")
    header = _fields(head)
    if "max_feature_idx" not in header:
        raise BoosterError("This is not the text of a LightGBM booster: it has no line max_feature_idx.")
    if "\nend of trees" not in (blocks[-1] if blocks else head):
        raise BoosterError("The booster's text is cut short: the line 'end of trees' is missing.")
    if not blocks:
        raise BoosterError("The booster has no tree.")
    _check_kind(header, head)
    n_features = _whole(header["max_feature_idx"], "the header", "max_feature_idx") + 1
    trees = [_tree(block.split("\nend of trees", 1)[0], n_features) for block in blocks]
    return _join(n_features, tuple(header.get("feature_names", "").split()), trees)


def _check_kind(header: dict[str, str], head: str) -> None:
    if header.get("num_class", "1") != "1" or header.get("num_tree_per_iteration", "1") != "1":
        raise BoosterError("Only boosters with one output can be explained, and this one has several classes.")
    objective = header.get("objective", "none").split()
    if objective[0] not in ("binary", "cross_entropy"):
        raise BoosterError(f"The objective {objective[0]} does not give log-odds; use binary or cross_entropy.")
    sigmoid = next((word.split(":", 1)[1] for word in objective if word.startswith("sigmoid:")), "1")
    if float(sigmoid) != 1.0:
        raise BoosterError(f"The booster scales its log-odds by sigmoid {sigmoid}; train with sigmoid=1.")
    if "average_output" in head.splitlines():
        raise BoosterError(
            "Random forests (boosting=rf) average their trees and cannot be explained; use gbdt or dart."
        )


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _whole(text: str, where: str, field: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BoosterError(f"In {where} the field {field} is {text!r}, which is not a whole number.") from None


def _numbers(fields: dict[str, str], name: str, length: int, dtype: Any, where: str) -> NDArray[Any]:
    if name not in fields:
        raise BoosterError(f"{where} lacks the field {name}.")
    try:
        numbers = np.array(fields[name].split(), dtype=dtype)
    except (ValueError, OverflowError):
        raise BoosterError(f"In {where.lower()} the field {name} holds something that is not a number.") from None
    if len(numbers) != length:
        raise BoosterError(f"In {where.lower()} the field {name} has {len(numbers)} entries, not {length}.")
    return numbers


@dataclass(frozen=True, slots=True)
class _Tree:
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    decision: NDArray[np.uint8]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    node_count: NDArray[np.float64]
    leaf_count: NDArray[np.float64]
    leaf_value: NDArray[np.float64]
    category_start: NDArray[np.int64]
    category_words: NDArray[np.int64]
    category_bits: NDArray[np.uint32]


def _tree(block: str, n_features: int) -> _Tree:
    number, _, rest = block.partition("\n")
    where = f"Tree {number.strip()}"
    fields = _fields(rest)
    if fields.get("is_linear", "0") != "0":
        raise BoosterError(
            f"{where} has linear leaves, whose contributions are not defined; train with linear_tree=false."
        )
    leaves = _whole(fields.get("num_leaves", "missing"), where, "num_leaves")
    if leaves < 1:
        raise BoosterError(f"In {where.lower()} the field num_leaves is {leaves}, which is less than one.")
    leaf_value = _numbers(fields, "leaf_value", leaves, np.float64, where)
    if not np.isfinite(leaf_value).all():
        raise BoosterError(f"In {where.lower()} the field leaf_value holds something that is not a number.")
    none = np.zeros(0, dtype=np.int64)
    if leaves == 1:
        # LightGBM writes no counts for a tree that never split.
        return _Tree(none, np.zeros(0), np.zeros(0, np.uint8), none, none, np.zeros(0), np.ones(1), leaf_value,
                     none, none, np.zeros(0, np.uint32))  # fmt: skip
    nodes = leaves - 1
    feature = _numbers(fields, "split_feature", nodes, np.int64, where)
    if feature.min() < 0 or feature.max() >= n_features:
        raise BoosterError(f"{where} splits on a feature outside 0 to {n_features - 1}.")
    threshold = _numbers(fields, "threshold", nodes, np.float64, where)
    decision = _numbers(fields, "decision_type", nodes, np.uint8, where)
    if ((decision >> 2) > MISSING_NAN).any():
        raise BoosterError(f"In {where.lower()} the field decision_type names an unknown kind of missing value.")
    left = _numbers(fields, "left_child", nodes, np.int64, where)
    right = _numbers(fields, "right_child", nodes, np.int64, where)
    _check_shape(left, right, leaves, where)
    node_count = _numbers(fields, "internal_count", nodes, np.float64, where)
    if node_count.min() <= 0:
        raise BoosterError(f"{where} has a node that no training row reached, so its cover is undefined.")
    leaf_count = _numbers(fields, "leaf_count", leaves, np.float64, where)
    if leaf_count.min() < 0:
        raise BoosterError(f"{where} has a leaf with a negative number of training rows.")
    return _Tree(
        feature,
        threshold,
        decision,
        left,
        right,
        node_count,
        leaf_count,
        leaf_value,
        *_categories(fields, threshold, (decision & CATEGORICAL) != 0, where),
    )


def _check_shape(left: NDArray[np.int64], right: NDArray[np.int64], leaves: int, where: str) -> None:
    """Each node but the first, and each leaf, has one parent, and a node comes after its parent: so walks end."""
    children = np.concatenate([left, right])
    wanted = np.concatenate([np.arange(-leaves, 0), np.arange(1, leaves - 1)])
    parents = np.concatenate([np.arange(leaves - 1)] * 2)
    inner = children >= 0
    if not np.array_equal(np.sort(children), wanted) or (children[inner] <= parents[inner]).any():
        raise BoosterError(f"The children of {where.lower()} do not form a tree.")


def _categories(
    fields: dict[str, str], threshold: NDArray[np.float64], categorical: NDArray[np.bool_], where: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint32]]:
    start = np.zeros(len(threshold), dtype=np.int64)
    words = np.zeros(len(threshold), dtype=np.int64)
    if not categorical.any():
        return start, words, np.zeros(0, dtype=np.uint32)
    sets = _whole(fields.get("num_cat", "missing"), where, "num_cat")
    bounds = _numbers(fields, "cat_boundaries", sets + 1, np.int64, where)
    if bounds[0] != 0 or (np.diff(bounds) < 0).any():
        raise BoosterError(f"In {where.lower()} the field cat_boundaries does not grow from zero.")
    bits = _numbers(fields, "cat_threshold", int(bounds[-1]), np.uint32, where)
    index = threshold[categorical]
    if not np.isin(index, np.arange(sets)).all():
        raise BoosterError(f"{where} refers to a set of categories it does not have.")
    chosen = index.astype(np.int64)
    start[categorical] = bounds[chosen]
    words[categorical] = bounds[chosen + 1] - bounds[chosen]
    return start, words, bits


def _join(n_features: int, names: tuple[str, ...], trees: list[_Tree]) -> Forest:
    node_start = np.concatenate([[0], np.cumsum([len(tree.feature) for tree in trees])]).astype(np.int64)
    leaf_start = np.concatenate([[0], np.cumsum([len(tree.leaf_value) for tree in trees])]).astype(np.int64)
    bits_start = np.concatenate([[0], np.cumsum([len(tree.category_bits) for tree in trees])]).astype(np.int64)

    def child(children: NDArray[np.int64], t: int) -> NDArray[np.int64]:
        counted: NDArray[np.int64] = np.where(children >= 0, children + node_start[t], children - leaf_start[t])
        return counted

    return Forest(
        n_features=n_features,
        feature_names=names,
        node_start=node_start,
        leaf_start=leaf_start,
        feature=np.concatenate([tree.feature for tree in trees]),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        decision=np.concatenate([tree.decision for tree in trees]),
        left=np.concatenate([child(tree.left, t) for t, tree in enumerate(trees)]),
        right=np.concatenate([child(tree.right, t) for t, tree in enumerate(trees)]),
        node_count=np.concatenate([tree.node_count for tree in trees]),
        leaf_count=np.concatenate([tree.leaf_count for tree in trees]),
        leaf_value=np.concatenate([tree.leaf_value for tree in trees]),
        category_start=np.concatenate([tree.category_start + bits_start[t] for t, tree in enumerate(trees)]),
        category_words=np.concatenate([tree.category_words for tree in trees]),
        category_bits=np.concatenate([tree.category_bits for tree in trees]),
    )
