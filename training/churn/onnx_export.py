"""The booster as ONNX graphs that take every branch exactly as LightGBM does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from training.errors import ExportError

# Fixed, so that the same booster gives the same bytes under every version of onnx.
ONNX_OPSET = 17
ONNX_ML_OPSET = 3
IR_VERSION = 8


# LightGBM reads every value within ±1e-35f as 0.0 before it walks a tree (kZeroThreshold), and splits there by itself.
ZERO = np.float32(1e-35)


def round_down(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The float32 thresholds that decide each float32 x as LightGBM decides it by its doubles.

    That is the largest float32 not above the double; but within ±1e-35, where LightGBM takes x for 0.0, the end of that
    range on the threshold's side of 0.0.
    """
    with np.errstate(over="ignore", under="ignore"):
        nearest = thresholds.astype(np.float32)
        down = np.where(nearest.astype(np.float64) > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)
    down = np.where((thresholds >= 0.0) & (thresholds < float(ZERO)), ZERO, down)
    down = np.where((thresholds < 0.0) & (thresholds >= -float(ZERO)), np.nextafter(-ZERO, np.float32(-np.inf)), down)
    return down.astype(np.float32)


@dataclass(slots=True)
class _Nodes:
    """The columns of a TreeEnsembleRegressor, filled tree by tree."""

    tree: list[int] = field(default_factory=list)
    node: list[int] = field(default_factory=list)
    feature: list[int] = field(default_factory=list)
    mode: list[str] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    missing_true: list[int] = field(default_factory=list)
    true: list[int] = field(default_factory=list)
    false: list[int] = field(default_factory=list)
    leaf_tree: list[int] = field(default_factory=list)
    leaf_node: list[int] = field(default_factory=list)
    leaf_index: list[int] = field(default_factory=list)
    leaf_value: list[float] = field(default_factory=list)

    def add_tree(self, tree: int, root: dict[str, Any]) -> None:
        """Append one tree of `Booster.dump_model`, its nodes numbered in depth-first order from 0."""
        pending: list[tuple[dict[str, Any], list[tuple[int, bool]]]] = [(root, [])]
        first = len(self.tree)
        while pending:
            content, parents = pending.pop()
            for parent, is_true in parents:
                (self.true if is_true else self.false)[first + parent] = len(self.tree) - first
            if "split_feature" in content:
                left, right = self._add_split(tree, first, content)
                pending.append((content["right_child"], right))
                pending.append((content["left_child"], left))
            else:
                self._add_node(tree, first, 0, "LEAF", 0.0, 0)
                self.leaf_tree.append(tree)
                self.leaf_node.append(self.node[-1])
                self.leaf_index.append(int(content.get("leaf_index", 0)))
                self.leaf_value.append(float(content["leaf_value"]))

    def _add_split(
        self, tree: int, first: int, split: dict[str, Any]
    ) -> tuple[list[tuple[int, bool]], list[tuple[int, bool]]]:
        """Append a split's nodes; the branches (node, whether it is the true one) that lead to its left and right child.

        A set of categories becomes a chain of nodes, one for each end of a run of neighbouring codes, whose true branches
        share the two children.
        """
        feature = int(split["split_feature"])
        if split["decision_type"] != "==":
            number = self._add_node(
                tree, first, feature, "BRANCH_LEQ", float(split["threshold"]), _missing_goes_left(split)
            )
            return [(number, True)], [(number, False)]
        left: list[tuple[int, bool]] = []
        right: list[tuple[int, bool]] = []
        for end, is_left in _runs(split["threshold"]):
            number = self._add_node(tree, first, feature, "BRANCH_LEQ", end, 0)
            self.false[-1] = number + 1
            (left if is_left else right).append((number, True))
        # NaN, and every code above the last run, fall through the chain.
        right.append((number, False))
        return left, right

    def _add_node(self, tree: int, first: int, feature: int, mode: str, threshold: float, missing_true: int) -> int:
        number = len(self.tree) - first
        self.tree.append(tree)
        self.node.append(number)
        self.feature.append(feature)
        self.mode.append(mode)
        self.threshold.append(threshold)
        self.missing_true.append(missing_true)
        self.true.append(0)
        self.false.append(0)
        return number


def _runs(categories: str) -> Iterator[tuple[float, bool]]:
    """The runs of codes that a set like `0||1||4` divides the numbers into: where each ends, and whether it is in the set.

    LightGBM cuts a number to its whole part before it looks for it in the set, and what is below 0 then is not in it: so
    -0.5 is code 0, and 4.9 is code 4. Above the last end, nothing is in the set.
    """
    codes = sorted(int(code) for code in categories.split("||"))
    yield _below(codes[0]) if codes[0] else -1.0, False
    for place, code in enumerate(codes):
        following = codes[place + 1] if place + 1 < len(codes) else None
        if following != code + 1:
            yield _below(code + 1), True
            if following is not None:
                yield _below(following), False


def _below(code: int) -> float:
    return float(np.nextafter(np.float32(code), np.float32(-np.inf)))


def _missing_goes_left(split: dict[str, Any]) -> int:
    """Where NaN goes, as LightGBM decides it: by default_left if it learned from NaNs, else as 0.0 would."""
    if split["missing_type"] == "NaN":
        return int(bool(split["default_left"]))
    if split["missing_type"] == "None":
        return int(float(split["threshold"]) >= 0.0)
    raise ExportError(
        f"A split with missing_type '{split['missing_type']}' cannot be exported: train without zero_as_missing."
    )


def _nodes(booster: lightgbm.Booster) -> tuple[_Nodes, int, int]:
    """All nodes, the number of trees, and the number of features."""
    dump = booster.dump_model(num_iteration=-1)
    nodes = _Nodes()
    for number, tree in enumerate(dump["tree_info"]):
        nodes.add_tree(number, tree["tree_structure"])
    if not dump["tree_info"]:
        raise ExportError("The booster has no trees: nothing in the data told churners from others.")
    return nodes, len(dump["tree_info"]), int(dump["max_feature_idx"]) + 1


def _graph(
    nodes: _Nodes, n_features: int, n_targets: int, targets: list[int], weights: list[float], output: str
) -> bytes:
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        inputs=["features"],
        outputs=[output],
        name="trees",
        domain="ai.onnx.ml",
        n_targets=n_targets,
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=nodes.tree,
        nodes_nodeids=nodes.node,
        nodes_featureids=nodes.feature,
        nodes_modes=nodes.mode,
        nodes_values=round_down(np.asarray(nodes.threshold, dtype=np.float64)).tolist(),
        nodes_missing_value_tracks_true=nodes.missing_true,
        nodes_truenodeids=nodes.true,
        nodes_falsenodeids=nodes.false,
        nodes_hitrates=[1.0] * len(nodes.tree),
        target_treeids=nodes.leaf_tree,
        target_nodeids=nodes.leaf_node,
        target_ids=targets,
        target_weights=weights,
    )
    graph = helper.make_graph(
        [ensemble],
        "churn",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, n_features])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, n_targets])],
    )
    model = helper.make_model(
        graph,
        producer_name="keepwell",
        opset_imports=[helper.make_opsetid("", ONNX_OPSET), helper.make_opsetid("ai.onnx.ml", ONNX_ML_OPSET)],
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def margin_graph(booster: lightgbm.Booster) -> bytes:
    """The raw margin (log-odds before calibration) as an ONNX model: `features` float32 (n, d) → `margin` float32 (n, 1).

    Thresholds are the booster's doubles rounded DOWN to float32, which decides every float32 input exactly alike; what
    onnxmltools writes, rounded to nearest, does not.

    Raises:
        ExportError: the booster has zero_as_missing, or no trees.
    """
    nodes, _, n_features = _nodes(booster)
    return _graph(nodes, n_features, 1, [0] * len(nodes.leaf_tree), nodes.leaf_value, "margin")


def leaf_graph(booster: lightgbm.Booster) -> bytes:
    """The same nodes, answering which leaf each tree took: `features` float32 (n, d) → `leaves` float32 (n, trees).

    Raises:
        ExportError: as `margin_graph`.
    """
    nodes, n_trees, n_features = _nodes(booster)
    return _graph(nodes, n_features, n_trees, nodes.leaf_tree, [float(leaf) for leaf in nodes.leaf_index], "leaves")


def split_points(booster: lightgbm.Booster) -> Iterator[tuple[int, float]]:
    """Every distinct (feature index, threshold as the booster's double), in order."""
    nodes, _, _ = _nodes(booster)
    yield from sorted(
        {(f, t) for f, t, mode in zip(nodes.feature, nodes.threshold, nodes.mode, strict=True) if mode != "LEAF"}
    )
