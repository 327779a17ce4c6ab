"""A tiny real model: a booster of a few trees, its ONNX graph and its bundle."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from features.config.environment import user_cache
from models.explanation.kernel_cache import KernelsUnavailable, load_kernels
from models.inference.calibration import Calibration
from models.registry.model_bundle import GateResult, ModelBundle
from models.scorecard import Scorecard

FEATURES = ("tickets_open", "plan", "Call  Failure")


@dataclass(frozen=True, slots=True)
class Trained:
    """A small booster with the rows that it was trained on."""

    booster: lightgbm.Booster
    X: NDArray[np.float32]
    y: NDArray[np.int64]


@pytest.fixture(scope="session")
def trained() -> Trained:
    rng = np.random.default_rng(7)
    X = rng.normal(size=(400, 3)).astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    risk = np.nan_to_num(X[:, 0]) + 0.5 * np.nan_to_num(X[:, 1]) ** 2 - 0.5
    y = (rng.random(400) < 1 / (1 + np.exp(-2 * risk))).astype(np.int64)
    booster = lightgbm.train(
        {"objective": "binary", "num_leaves": 4, "num_threads": 1, "verbosity": -1, "deterministic": True, "seed": 1},
        lightgbm.Dataset(X, y, feature_name=[f"f{i}" for i in range(3)]),
        num_boost_round=12,
    )
    return Trained(booster, X, y)


def margin_graph(booster: lightgbm.Booster) -> bytes:
    """The booster as an ONNX graph to the raw margin, written node by node."""
    tree_ids, node_ids, features, modes, values, missing, true, false = [], [], [], [], [], [], [], []
    leaf_trees, leaf_nodes, weights = [], [], []
    for tree, info in enumerate(booster.dump_model()["tree_info"]):
        pending, count = [(info["tree_structure"], 0)], 1
        while pending:
            node, number = pending.pop()
            tree_ids.append(tree)
            node_ids.append(number)
            if "split_feature" in node:
                threshold = np.float32(node["threshold"])
                down = np.nextafter(threshold, np.float32(-np.inf)) if threshold > node["threshold"] else threshold
                features.append(node["split_feature"])
                modes.append("BRANCH_LEQ")
                values.append(float(down))
                missing.append(int(node["default_left"]))
                true.append(count)
                false.append(count + 1)
                pending += [(node["left_child"], count), (node["right_child"], count + 1)]
                count += 2
            else:
                features.append(0)
                modes.append("LEAF")
                values.append(0.0)
                missing.append(0)
                true.append(0)
                false.append(0)
                leaf_trees.append(tree)
                leaf_nodes.append(number)
                weights.append(node["leaf_value"])
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["margin"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=tree_ids,
        nodes_nodeids=node_ids,
        nodes_featureids=features,
        nodes_modes=modes,
        nodes_values=values,
        nodes_missing_value_tracks_true=missing,
        nodes_truenodeids=true,
        nodes_falsenodeids=false,
        target_treeids=leaf_trees,
        target_nodeids=leaf_nodes,
        target_ids=[0] * len(leaf_trees),
        target_weights=weights,
    )
    graph = helper.make_graph(
        [node],
        "churn",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, booster.num_feature()])],
        [helper.make_tensor_value_info("margin", TensorProto.FLOAT, [None, 1])],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=8
    )
    return bytes(model.SerializeToString(deterministic=True))


@pytest.fixture(scope="session")
def onnx(trained: Trained) -> bytes:
    return margin_graph(trained.booster)


MakeBundle = Callable[..., ModelBundle]


@pytest.fixture(scope="session")
def make_bundle(trained: Trained, onnx: bytes) -> MakeBundle:
    def make(**changes: object) -> ModelBundle:
        fields: dict[str, object] = {
            "business": "acme",
            "horizon_days": 90,
            "schema": {"features": [{"name": name, "pillar": "other"} for name in FEATURES]},
            "feature_names": FEATURES,
            "categories": {"plan": ("basic", "größer")},
            "typical": {"tickets_open": 0.0, "plan": "basic", "Call  Failure": None},
            "prior": 0.4,
            "model_text": trained.booster.model_to_string(),
            "onnx": onnx,
            "calibration": Calibration(1.1, -0.05),
            "scorecard_proposal": Scorecard("1", 0.4, 9.5),
            "metrics": {"auc": 0.8, "calibration_slope": None},
            "gates": {"ece": GateResult(True, 0.01, 0.03)},
            "data_fingerprint": "ab" * 32,
            "trained_at": datetime(2026, 11, 21, 12, tzinfo=UTC),
            "run_id": "r1",
            "commit": "c1",
        }
        return ModelBundle(**(fields | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session", autouse=True)
def kernels() -> None:
    """The compiled kernels of this machine, where other commands keep theirs too: tests compile none without need."""
    with contextlib.suppress(KernelsUnavailable):
        load_kernels(user_cache())
