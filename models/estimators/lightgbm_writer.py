"""Trees as LightGBM writes them: step functions as one tree a feature, and several models' trees in one text."""

from __future__ import annotations

import re
from collections.abc import Sequence

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from models.estimators.binned_logistic import LinearPart, Steps

# As LightGBM writes a threshold that every known value is below.
_ABOVE_ALL = 1e300
_NAN_RIGHT = "8"


def linear_trees(linear: LinearPart) -> list[str]:
    """The fields of one tree a feature, in LightGBM's words; the intercept is in the first, or in a tree of one leaf."""
    if not linear.steps:
        return [f"num_leaves=1\nnum_cat=0\nleaf_value={linear.intercept!r}\nis_linear=0\nshrinkage=1\n"]
    return [_tree(steps, linear.intercept if place == 0 else 0.0) for place, steps in enumerate(linear.steps)]


def _tree(steps: Steps, offset: float) -> str:
    """Known values go left at the root and then by halves; missing ones have the last leaf."""
    k = len(steps.values)
    counts = np.maximum(steps.counts, 1)
    left, right, threshold, count = [0], [~k], [_ABOVE_ALL], [int(counts.sum())]

    def grow(first: int, end: int) -> int:
        if end - first == 1:
            return ~first
        node = len(left)
        middle = (first + end) // 2
        left.append(0)
        right.append(0)
        threshold.append(float(steps.thresholds[middle - 1]))
        count.append(int(counts[first:end].sum()))
        left[node] = grow(first, middle)
        right[node] = grow(middle, end)
        return node

    left[0] = grow(0, k)
    values: FloatArray = np.append(steps.values, steps.missing) + offset
    nodes = len(left)
    return "\n".join(
        [
            f"num_leaves={k + 1}",
            "num_cat=0",
            f"split_feature={_row([steps.feature] * nodes)}",
            f"split_gain={_row([0] * nodes)}",
            f"threshold={_row(threshold)}",
            f"decision_type={_row([_NAN_RIGHT] * nodes)}",
            f"left_child={_row(left)}",
            f"right_child={_row(right)}",
            f"leaf_value={_row(values.tolist())}",
            f"leaf_weight={_row(counts.tolist())}",
            f"leaf_count={_row(counts.tolist())}",
            f"internal_value={_row([0] * nodes)}",
            f"internal_weight={_row(count)}",
            f"internal_count={_row(count)}",
            "is_linear=0",
            "shrinkage=1",
            "",
        ]
    )


def _row(values: Sequence[object]) -> str:
    return " ".join(repr(v) if isinstance(v, float) else str(v) for v in values)


def trees_of(booster: lightgbm.Booster, iterations: int, share: float = 1.0) -> list[str]:
    """The fields of a booster's first trees, their leaves times `share`."""
    _, blocks, _ = _parts(booster.model_to_string(num_iteration=iterations))
    return [_scaled(block, share) if share != 1.0 else block for block in blocks]


def joined(model: lightgbm.Booster, trees: Sequence[str]) -> lightgbm.Booster:
    """A booster of these trees, with the features and the objective of `model`."""
    head, _, tail = _parts(model.model_to_string())
    # Without the sizes, LightGBM reads tree by tree; it writes them anew.
    head = re.sub(r"\ntree_sizes=[^\n]*", "", head)
    body = "".join(f"\nTree={place}\n{tree.strip()}\n\n" for place, tree in enumerate(trees))
    text = f"{head.rstrip()}\n{body}\nend of trees{tail}"
    return lightgbm.Booster(model_str=text)


def _parts(text: str) -> tuple[str, list[str], str]:
    """What stands before the trees, the trees without their numbers, and what follows them."""
    body, _, tail = text.partition("\nend of trees")
    head, *blocks = body.split("\nTree=")
    return head, [block.partition("\n")[2] for block in blocks], tail


def _scaled(block: str, share: float) -> str:
    def times(match: re.Match[str]) -> str:
        values: NDArray[np.float64] = np.array(match[2].split(), dtype=np.float64) * share
        return f"{match[1]}={_row(values.tolist())}"

    return re.sub(r"^(leaf_value|internal_value)=(.*)$", times, block, flags=re.MULTILINE)
