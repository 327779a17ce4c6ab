"""The linear part: what is fitted is what its trees answer, to the last digits, explained and exported alike."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from models.arrays import Matrix
from models.estimators.binned_logistic import LinearPart
from models.estimators.lightgbm_writer import joined, linear_trees, trees_of
from models.estimators.recipe import LabelledRows, Recipe, held_out_course, trained
from models.explanation.tree_shap import TreeShap
from models.inference.calibration import expit
from training.churn.gates import edge_rows
from training.churn.onnx_export import leaf_graph, margin_graph

WORDS = (3,)


def drawn(n: int = 1200, seed: int = 0) -> tuple[Matrix, NDArray[np.int64]]:
    """A number, a skewed amount with gaps, few whole numbers, words with rare ones, a number that is hardly known."""
    rng = np.random.default_rng(seed)
    X = np.column_stack(
        [
            rng.normal(size=n),
            rng.lognormal(3, 1.5, n),
            rng.integers(0, 4, n),
            rng.choice(9, n, p=[0.3, 0.3, 0.2, 0.1, 0.05, 0.03, 0.01, 0.005, 0.005]),
            rng.normal(size=n),
        ]
    ).astype(np.float32)
    X[rng.random(n) < 0.2, 1] = np.nan
    X[rng.random(n) < 0.04, 3] = np.nan
    X[rng.random(n) < 0.95, 4] = np.nan
    risk = X[:, 0] - 0.5 * np.log1p(np.nan_to_num(X[:, 1])) + np.where(X[:, 3] == 2, 1.5, 0.0) + np.isnan(X[:, 1])
    return X, (rng.random(n) < expit(risk)).astype(np.int64)


def boosted(X: Matrix, y: NDArray[np.int64], start: NDArray[np.float64], trees: int = 30) -> lightgbm.Booster:
    parameters = {"objective": "binary", "num_leaves": 7, "min_data_in_leaf": 5, "verbosity": -1, "num_threads": 1}
    return lightgbm.train(parameters, lightgbm.Dataset(X, y, init_score=start, params=parameters), trees)


@pytest.fixture(scope="module")
def fitted() -> tuple[Matrix, LinearPart, lightgbm.Booster, lightgbm.Booster]:
    """Rows, the linear part, the trees boosted from it, and both joined."""
    X, y = drawn()
    linear = LinearPart.fit(X, y, words=WORDS)
    trees = boosted(X, y, linear.margins(X))
    return X, linear, trees, joined(trees, [*linear_trees(linear), *trees_of(trees, 30)])


def adversarial(X: Matrix, booster: lightgbm.Booster) -> Matrix:
    """Real rows, rows around every threshold, and rows far outside of what was seen."""
    far = np.array([[-1e6] * 5, [1e6] * 5, [np.nan] * 5, [0.0] * 5, [-0.0] * 5, [1e-36] * 5, [3.4e38] * 5], np.float32)
    return np.vstack([X[:200], edge_rows(booster, X), far])


def test_joined_trees_answer_the_sum_of_the_parts(fitted: Any) -> None:
    X, linear, trees, both = fitted
    rows = adversarial(X, both)
    parts = linear.margins(rows) + trees.predict(rows, raw_score=True)
    np.testing.assert_allclose(both.predict(rows, raw_score=True), parts, atol=1e-9, rtol=0)
    assert both.num_trees() == len(linear.steps) + 30
    assert lightgbm.Booster(model_str=both.model_to_string()).model_to_string() == both.model_to_string()


def test_explanations_are_exact_by_lightgbm_and_by_our_own_kernels(fitted: Any) -> None:
    X, _, _, both = fitted
    rows = adversarial(X, both)[::7]
    theirs = both.predict(rows, pred_contrib=True)
    np.testing.assert_allclose(theirs.sum(axis=1), both.predict(rows, raw_score=True), atol=1e-9, rtol=0)
    np.testing.assert_allclose(TreeShap(both.model_to_string()).contributions(rows), theirs, atol=1e-9, rtol=0)


def test_a_linear_features_contribution_is_its_step_and_nothing_else(fitted: Any) -> None:
    """One tree a feature: no other feature can have a part in its points."""
    X, linear, trees, _ = fitted
    alone = joined(trees, linear_trees(linear))
    contributions = TreeShap(alone.model_to_string()).contributions(X[:50])
    for steps in linear.steps:
        own = steps.of(X[:50, steps.feature])
        np.testing.assert_allclose(np.diff(contributions[:, steps.feature]), np.diff(own), atol=1e-12)


def test_onnx_takes_the_same_leaves(fitted: Any) -> None:
    X, _, _, both = fitted
    rows = adversarial(X, both)
    leaves = onnxruntime.InferenceSession(leaf_graph(both)).run(None, {"features": rows})[0]
    np.testing.assert_array_equal(leaves, both.predict(rows, pred_leaf=True))
    margin = onnxruntime.InferenceSession(margin_graph(both)).run(None, {"features": rows})[0].ravel()
    np.testing.assert_allclose(expit(margin), expit(both.predict(rows, raw_score=True)), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(40, 300), penalty=st.sampled_from([0.1, 10.0, 1000.0]))
def test_any_linear_part_is_its_trees(seed: int, n: int, penalty: float) -> None:
    X, y = drawn(n, seed)
    if len(np.unique(y)) < 2:
        return
    linear = LinearPart.fit(X, y, penalty=penalty, words=WORDS)
    served = joined(boosted(X, y, linear.margins(X), 1), linear_trees(linear))
    trees = served.dump_model()["tree_info"] if linear.steps else []
    assert linear.leaves == sum(tree["num_leaves"] for tree in trees)
    rows = np.vstack([X, drawn(100, seed + 1)[0] * np.float32(3)])
    np.testing.assert_allclose(served.predict(rows, raw_score=True), linear.margins(rows), atol=1e-9, rtol=0)


def test_it_is_the_logistic_regression_of_its_centres() -> None:
    """Where bins are the values themselves, the steps lie on the line that scikit-learn fits."""
    rng = np.random.default_rng(4)
    x = rng.integers(0, 20, 3000).astype(np.float32)
    y = (rng.random(3000) < expit(0.3 * (x - 10))).astype(np.int64)
    linear = LinearPart.fit(x[:, None], y, penalty=1.0)
    scaled = ((x - x.mean()) / x.std()).astype(np.float64)[:, None]
    peer = LogisticRegression(C=1.0, tol=1e-8).fit(scaled, y).decision_function(scaled)
    np.testing.assert_allclose(linear.margins(x[:, None]), peer, atol=2e-3)


def test_the_line_goes_on_where_no_training_row_was() -> None:
    """A world that moves: a feature leaves its range, and the log-odds follow, where trees stand still."""
    rng = np.random.default_rng(5)
    x = rng.uniform(0, 10, 4000).astype(np.float32)
    y = (rng.random(4000) < expit(0.5 * (x - 5))).astype(np.int64)
    linear = LinearPart.fit(x[:, None], y)
    at = linear.margins(np.array([[10.0], [12.0], [15.0], [20.0], [1e6]], np.float32))
    np.testing.assert_allclose(np.diff(at[:4]), [1.0, 1.5, 2.5], atol=0.4)
    assert at[4] - at[3] < 0.5, "but not for ever"
    assert (
        LinearPart.fit(x[:, None], y).margins(np.array([[-5.0]], np.float32)) >= linear.margins(x[:, None]).min() - 0.5
    )


def test_a_number_never_works_against_its_declared_direction() -> None:
    rng = np.random.default_rng(6)
    X = rng.normal(size=(2000, 2)).astype(np.float32)
    y = (rng.random(2000) < expit(X[:, 0] - X[:, 1])).astype(np.int64)
    rows = LabelledRows(X, y, directions=(-1, 0))
    booster = trained(rows, Recipe(penalty=1.0, num_leaves=4), 30)
    steps = np.column_stack([np.linspace(-4, 4, 200), np.zeros(200)]).astype(np.float32)
    assert (np.diff(booster.predict(steps, raw_score=True)) <= 1e-12).all()
    free = trained(LabelledRows(X, y), Recipe(penalty=1.0, num_leaves=4), 30)
    assert np.ptp(free.predict(steps, raw_score=True)) > 3


@pytest.mark.parametrize(
    "recipe", [Recipe(penalty=5.0, max_trees=40), Recipe(penalty=5.0, blended=True, max_trees=40), Recipe(max_trees=40)]
)
def test_a_held_out_course_is_what_a_model_of_the_other_rows_says(recipe: Recipe) -> None:
    """Without words, whose codes a fold ranks anew, the course's margins are those of a model trained on the fold."""
    X, y = drawn(900)
    index = np.arange(900)
    fold = (index[:600], index[600:])
    course = held_out_course(LabelledRows(X, y), [fold], recipe)
    alone = trained(
        LabelledRows(X[:600], y[:600]), Recipe(**{**_fields(recipe), "min_child_samples": 20}), course.trees
    )
    np.testing.assert_allclose(course.margins[0], alone.predict(X[600:], raw_score=True), atol=1e-9)


def test_a_folds_words_are_not_ranked_by_what_it_holds_out() -> None:
    """A thousand words that say nothing: codes in the order of all outcomes would tell the held-out ones."""
    rng = np.random.default_rng(7)
    words, y = rng.integers(0, 200, 4000), rng.integers(0, 2, 4000)
    rate = np.bincount(words, weights=y) / np.bincount(words)
    X = np.argsort(np.argsort(rate))[words].astype(np.float32)[:, None]
    order = rng.permutation(4000)
    fold = (order[:2000], order[2000:])
    naive = held_out_course(LabelledRows(X, y), [fold], Recipe(max_trees=50))
    honest = held_out_course(LabelledRows(X, y, words=frozenset({0})), [fold], Recipe(max_trees=50))
    assert naive.log_loss[0] < 0.685
    assert honest.log_loss[0] > 0.69


def _fields(recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in recipe.__dataclass_fields__}
