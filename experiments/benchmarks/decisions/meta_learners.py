"""Meta-learners of effects over any scikit-learn estimator: what the served effects are compared with.

Each takes `action` (n,), 0 for doing nothing and 1 … k, and gives effects (n, k) against doing nothing. Source: Künzel,
Sekhon, Bickel and Yu (2019), "Metalearners for estimating heterogeneous treatment effects".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.linear_model import LinearRegression
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, column_or_1d

from models.arrays import FloatArray, Rows


class SLearner(BaseEstimator):  # type: ignore[misc]
    """One model of the reward, with a flag an action among its features.

    Args:
        model: a regressor, or a classifier of rewards 0 and 1; linear regression by default.
    """

    def __init__(self, model: Any = None) -> None:
        self.model = model

    def fit(self, X: ArrayLike, y: ArrayLike, action: ArrayLike) -> SLearner:
        """Fit on rewards y (n,) after actions (n,)."""
        X, y, action = _checked(self, X, y, action)
        self.n_actions_ = int(action.max())
        self.model_ = clone(_or_linear(self.model)).fit(np.hstack([X, _flags(action, self.n_actions_)]), y)
        return self

    def effect(self, X: ArrayLike) -> FloatArray:
        """Effects (n, k)."""
        X = _features(self, X)
        means = [
            _mean(self.model_, np.hstack([X, _flags(np.full(len(X), arm), self.n_actions_)]))
            for arm in range(self.n_actions_ + 1)
        ]
        return np.column_stack([mean - means[0] for mean in means[1:]])


class TLearner(BaseEstimator):  # type: ignore[misc]
    """One model of the reward an action.

    Args:
        model: as of `SLearner`.
    """

    def __init__(self, model: Any = None) -> None:
        self.model = model

    def fit(self, X: ArrayLike, y: ArrayLike, action: ArrayLike) -> TLearner:
        """Fit on rewards y (n,) after actions (n,)."""
        X, y, action = _checked(self, X, y, action)
        self.models_ = [
            clone(_or_linear(self.model)).fit(X[action == arm], y[action == arm]) for arm in range(action.max() + 1)
        ]
        return self

    def effect(self, X: ArrayLike) -> FloatArray:
        """Effects (n, k)."""
        X = _features(self, X)
        means = [_mean(model, X) for model in self.models_]
        return np.column_stack([mean - means[0] for mean in means[1:]])


class XLearner(BaseEstimator):  # type: ignore[misc]
    """What each row gained over the other side's model, modelled on either side, and mixed by the propensity.

    Args:
        model: of the reward, as of `SLearner`.
        effect_model: a regressor of what was gained; linear regression by default.
    """

    def __init__(self, model: Any = None, effect_model: Any = None) -> None:
        self.model = model
        self.effect_model = effect_model

    def fit(self, X: ArrayLike, y: ArrayLike, action: ArrayLike) -> XLearner:
        """Fit on rewards y (n,) after actions (n,); the propensity is each action's share."""
        X, y, action = _checked(self, X, y, action)
        sides = [np.flatnonzero(action == arm) for arm in range(action.max() + 1)]
        models = [clone(_or_linear(self.model)).fit(X[rows], y[rows]) for rows in sides]
        nothing = sides[0]
        self.pairs_, self.shares_ = [], []
        for rows, model in zip(sides[1:], models[1:], strict=True):
            of_treated = clone(_or_linear(self.effect_model)).fit(X[rows], y[rows] - _mean(models[0], X[rows]))
            of_others = clone(_or_linear(self.effect_model)).fit(X[nothing], _mean(model, X[nothing]) - y[nothing])
            self.pairs_.append((of_treated, of_others))
            self.shares_.append(len(rows) / (len(rows) + len(nothing)))
        return self

    def effect(self, X: ArrayLike) -> FloatArray:
        """Effects (n, k)."""
        X = _features(self, X)
        return np.column_stack(
            [
                share * others.predict(X) + (1.0 - share) * treated.predict(X)
                for (treated, others), share in zip(self.pairs_, self.shares_, strict=True)
            ]
        )


def _checked(learner: Any, X: ArrayLike, y: ArrayLike, action: ArrayLike) -> tuple[FloatArray, FloatArray, Rows]:
    features = check_array(X, dtype=np.float64, ensure_all_finite="allow-nan")
    rewards, codes = column_or_1d(y).astype(np.float64), column_or_1d(action).astype(np.int64)
    check_consistent_length(features, rewards, codes)
    if set(np.unique(codes).tolist()) != set(range(int(codes.max()) + 1)) or codes.max() < 1:
        raise ValueError("Actions must be numbered 0 … k without gaps, 0 for doing nothing, and k at least 1.")
    learner.n_features_in_ = features.shape[1]
    return features, rewards, codes


def _features(learner: Any, X: ArrayLike) -> FloatArray:
    check_is_fitted(learner, "n_features_in_")
    features: FloatArray = check_array(X, dtype=np.float64, ensure_all_finite="allow-nan")
    if features.shape[1] != learner.n_features_in_:
        raise ValueError(f"X has {features.shape[1]} features, but {learner.n_features_in_} were fitted.")
    return features


def _flags(action: NDArray[Any], k: int) -> FloatArray:
    """A flag an action, doing nothing among them."""
    return np.asarray(np.eye(k + 1)[action.astype(np.int64)])


def _mean(model: Any, X: FloatArray) -> FloatArray:
    return np.asarray(model.predict_proba(X)[:, 1] if is_classifier(model) else model.predict(X), dtype=np.float64)


def _or_linear(model: Any) -> Any:
    return LinearRegression() if model is None else model
