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
        pending: list[tuple[dict[str, Any], int, bool]] = [(root, -1, True)]
        number = 0
        first = len(self.tree)
        while pending:
            content, parent, is_true = pending.pop()
            if parent >= 0:
                (self.true if is_true else self.false)[first + parent] = number
            self.tree.append(tree)
            self.node.append(number)
            self.true.append(0)
            self.false.append(0)
            if "split_feature" in content:
                self.feature.append(int(content["split_feature"]))
                self.mode.append("BRANCH_LEQ")
                self.missing_true.append(_missing_goes_left(content))
                self.threshold.append(float(content["threshold"]))
                pending.append((content["right_child"], number, False))
                pending.append((content["left_child"], number, True))
            else:
                self.feature.append(0)
                self.mode.append("LEAF")
                self.threshold.append(0.0)
                self.missing_true.append(0)
                self.leaf_tree.append(tree)
                self.leaf_node.append(number)
                self.leaf_index.append(int(content.get("leaf_index", 0)))
                self.leaf_value.append(float(content["leaf_value"]))
            number += 1


def _missing_goes_left(split: dict[str, Any]) -> int:
    """Where NaN goes, as LightGBM decides it: by default_left if it learned from NaNs, else as 0.0 would."""
    if split["decision_type"] != "<=":
        raise ExportError(
            f"A split by '{split['decision_type']}' cannot be exported: encode categories as ordered numbers."
        )
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
        ExportError: the booster has categorical splits, zero_as_missing, or no trees.
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
