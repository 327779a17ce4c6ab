"""The meta-learners against econml's, on the same data with the same models."""

from __future__ import annotations

import numpy as np
import pytest
from econml.metalearners import SLearner as EconS
from econml.metalearners import TLearner as EconT
from econml.metalearners import XLearner as EconX
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.estimator_checks import check_get_params_invariance, check_set_params

from experiments.benchmarks.decisions.meta_learners import SLearner, TLearner, XLearner

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

rng = np.random.default_rng(8)
N = 3000
X = rng.normal(size=(N, 4))
ACTION = rng.integers(0, 3, N)
EFFECTS = np.column_stack([0.5 + X[:, 0], -0.3 + 0.5 * X[:, 1] ** 2])
Y = X[:, 2] + np.column_stack([np.zeros(N), EFFECTS])[np.arange(N), ACTION] + rng.normal(size=N)


def econml_effects(model: object) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.column_stack([np.ravel(model.effect(X, T0=0, T1=arm)) for arm in (1, 2)])  # type: ignore[attr-defined]


def test_s_learner_is_econmls() -> None:
    forest = RandomForestRegressor(20, min_samples_leaf=20, random_state=1)
    theirs = EconS(overall_model=forest).fit(Y, ACTION, X=X)
    np.testing.assert_allclose(SLearner(forest).fit(X, Y, ACTION).effect(X), econml_effects(theirs), atol=1e-9)


def test_t_learner_is_econmls() -> None:
    forest = RandomForestRegressor(20, min_samples_leaf=20, random_state=1)
    theirs = EconT(models=forest).fit(Y, ACTION, X=X)
    np.testing.assert_allclose(TLearner(forest).fit(X, Y, ACTION).effect(X), econml_effects(theirs), atol=1e-9)


def test_x_learner_is_econmls() -> None:
    theirs = EconX(models=Ridge(), propensity_model=DummyClassifier(strategy="prior")).fit(Y, ACTION, X=X)
    mine = XLearner(Ridge(), Ridge()).fit(X, Y, ACTION).effect(X)
    np.testing.assert_allclose(mine, econml_effects(theirs), atol=1e-6)


def test_rewards_of_0_and_1_take_a_classifier() -> None:
    y = (rng.random(N) < 1 / (1 + np.exp(-(X[:, 0] * (ACTION == 1))))).astype(int)
    found = TLearner(LogisticRegression()).fit(X, y, ACTION).effect(X)
    assert np.abs(found).max() < 1.0
    assert np.corrcoef(found[:, 0], X[:, 0])[0, 1] > 0.9


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="without gaps"):
        TLearner().fit(X, Y, np.where(ACTION == 1, 2, ACTION))
    with pytest.raises(ValueError, match="4 were fitted"):
        TLearner().fit(X, Y, ACTION).effect(X[:, :2])
    with pytest.raises(ValueError, match="inconsistent numbers"):
        SLearner().fit(X, Y[:-1], ACTION)


@pytest.mark.parametrize("learner", [SLearner(), TLearner(), XLearner()])
def test_parameters_work_as_scikit_learn_wants(learner: object) -> None:
    name = type(learner).__name__
    check_get_params_invariance(name, learner)
    check_set_params(name, learner)
