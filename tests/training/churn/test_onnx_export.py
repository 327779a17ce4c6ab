"""The exported graph takes every branch as LightGBM does, on the floats where that is hardest."""

from __future__ import annotations

import lightgbm
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.arrays import Matrix
from training.churn.gates import edge_rows
from training.churn.onnx_export import leaf_graph, margin_graph, round_down, split_points
from training.errors import ExportError

PARAMETERS = {"objective": "binary", "verbosity": -1, "num_threads": 1, "deterministic": True, "seed": 1}


def _data(seed: int, rows: int = 800) -> tuple[Matrix, npt.NDArray[np.int64]]:
    """Columns with NaNs, whole numbers around zero, codes, tiny numbers, and huge ones."""
    rng = np.random.default_rng(seed)
    X = np.column_stack(
        [
            np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows)),
            rng.integers(-2, 3, rows),
            rng.integers(0, 4, rows),
            rng.normal(size=rows) * 1e-36,
            rng.normal(size=rows) * 1e30,
            rng.random(rows) / 3,
        ]
    ).astype(np.float32)
    y = (np.nan_to_num(X[:, 0]) + X[:, 1] + 2 * X[:, 5] + rng.normal(size=rows) > 0.5).astype(np.int64)
    return X, y


@pytest.fixture(scope="module")
def trained() -> tuple[lightgbm.Booster, Matrix]:
    X, y = _data(0)
    parameters = PARAMETERS | {"num_leaves": 12, "min_child_samples": 5}
    return lightgbm.train(parameters, lightgbm.Dataset(X, y), 60), X


def _run(graph: bytes, X: Matrix) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"features": X})
    return np.asarray(answer)


def test_every_leaf_is_the_same_on_every_threshold(trained: tuple[lightgbm.Booster, Matrix]) -> None:
    booster, X = trained
    rows = np.vstack([X, edge_rows(booster, X)])
    assert np.array_equal(_run(leaf_graph(booster), rows), booster.predict(rows, pred_leaf=True))
    margins = booster.predict(rows, raw_score=True)
    assert np.abs(_run(margin_graph(booster), rows)[:, 0] - margins).max() < 5e-6


@given(arrays(np.float32, (20, 6), elements=st.floats(width=32, allow_infinity=False)))
def test_any_float32_takes_the_same_leaf(X: Matrix) -> None:
    booster, graph = _small()
    assert np.array_equal(_run(graph, X), booster.predict(X, pred_leaf=True))


_SMALL: list[tuple[lightgbm.Booster, bytes]] = []


def _small() -> tuple[lightgbm.Booster, bytes]:
    if not _SMALL:
        X, y = _data(1, rows=300)
        booster = lightgbm.train(PARAMETERS | {"num_leaves": 5, "min_child_samples": 5}, lightgbm.Dataset(X, y), 10)
        _SMALL.append((booster, leaf_graph(booster)))
    return _SMALL[0]


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_rounding_down_decides_like_the_double(threshold: float, x: float) -> None:
    rounded = round_down(np.array([threshold]))[0]
    read_as = 0.0 if abs(x) <= float(np.float32(1e-35)) else x
    assert (np.float32(x) <= rounded) == (read_as <= threshold)


def test_the_same_booster_gives_the_same_bytes(trained: tuple[lightgbm.Booster, Matrix]) -> None:
    booster, _ = trained
    again = lightgbm.Booster(model_str=booster.model_to_string())
    assert margin_graph(again) == margin_graph(booster)
    assert list(split_points(again)) == list(split_points(booster))


def test_a_booster_that_found_nothing_still_answers() -> None:
    X, _ = _data(2, rows=100)
    y = np.random.default_rng(0).integers(0, 2, 100)
    booster = lightgbm.train(PARAMETERS | {"min_gain_to_split": 1e9}, lightgbm.Dataset(X, y), 2)
    assert _run(margin_graph(booster), X)[:, 0] == pytest.approx(booster.predict(X, raw_score=True), abs=1e-6)


def test_what_the_graph_cannot_say_is_refused() -> None:
    X, y = _data(3)
    booster = lightgbm.train(PARAMETERS | {"zero_as_missing": True}, lightgbm.Dataset(X, y), 5)
    with pytest.raises(ExportError, match="cannot be exported"):
        margin_graph(booster)


@pytest.fixture(scope="module")
def with_sets() -> tuple[lightgbm.Booster, Matrix]:
    """A booster that splits 40 codes by sets, among numbers."""
    X, _ = _data(4, rows=2000)
    rng = np.random.default_rng(4)
    X[:, 2] = np.where(rng.random(len(X)) < 0.1, np.nan, rng.integers(0, 40, len(X)))
    effect = rng.normal(size=40)[np.nan_to_num(X[:, 2]).astype(int)]
    y = (effect * (1 + X[:, 5]) + np.nan_to_num(X[:, 0]) + rng.normal(size=len(X)) > 0).astype(np.int64)
    parameters = PARAMETERS | {"num_leaves": 12, "min_data_per_group": 5, "cat_smooth": 1, "max_cat_threshold": 64}
    return lightgbm.train(parameters, lightgbm.Dataset(X, y, categorical_feature=[2]), 40), X


def test_sets_of_categories_take_the_same_leaf(with_sets: tuple[lightgbm.Booster, Matrix]) -> None:
    booster, X = with_sets
    text = booster.model_to_string()
    assert "num_cat=0" not in text.split("Tree=1")[0]
    rows = np.vstack([X, edge_rows(booster, X)])
    assert np.array_equal(_run(leaf_graph(booster), rows), booster.predict(rows, pred_leaf=True))
    margins = booster.predict(rows, raw_score=True)
    assert np.abs(_run(margin_graph(booster), rows)[:, 0] - margins).max() < 5e-6


@given(st.floats(-3, 50, width=32) | st.just(float("nan")) | st.integers(-2, 45).map(float), st.integers(0, 1999))
def test_any_code_takes_the_same_leaf(with_sets: tuple[lightgbm.Booster, Matrix], code: float, row: int) -> None:
    booster, X = with_sets
    one = X[row : row + 1].copy()
    one[0, 2] = code
    if not _SETS:
        _SETS.append(leaf_graph(booster))
    assert np.array_equal(_run(_SETS[0], one), booster.predict(one, pred_leaf=True))


_SETS: list[bytes] = []
