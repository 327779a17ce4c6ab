"""Learners of effects side by side on one trial, on the same folds: keepwell's, plain meta-learners, econml's, causalml's."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np

from experiments.benchmarks.decisions.meta_learners import SLearner, TLearner, XLearner
from models.arrays import FloatArray
from models.decisions.design_matrix import Design
from models.decisions.logged_trials import NOTHING, Trials
from models.decisions.qini import UpliftCurve, uplift_curve
from training.policy.cross_fitting import N_FOLDS, CrossFitted
from training.policy.learners import SEED

Learner = Callable[[Trials, Trials], FloatArray]
"""Fitted on the first trials, it foretells the effects (n, k) of the second."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A learner's curves out of fold, by the code of the action."""

    name: str
    curves: Mapping[int, UpliftCurve]


def contend(found: CrossFitted, *, peers: bool, say: Callable[[str], None]) -> list[Contender]:
    """Every learner on the folds of `found`; those of econml and causalml if `peers`, and if they are installed."""
    trials = found.trials
    contenders = [Contender("keepwell", _curves(trials, found.effects))]
    contenders += [Contender(f"keepwell: {name}", _curves(trials, found.candidates[name])) for name in found.candidates]
    learners: dict[str, Learner] = {
        "S, LightGBM": _meta(SLearner(_classifier(trials))),
        "T, LightGBM": _meta(TLearner(_classifier(trials))),
        "X, LightGBM": _meta(XLearner(_classifier(trials), _regressor())),
    }
    if peers and importlib.util.find_spec("econml"):
        learners |= {"econml: ridge DR": _econml_dr, "econml: causal forest": _econml_forest}
    if peers and importlib.util.find_spec("causalml"):
        learners |= {"causalml: T, LightGBM": _causalml("T"), "causalml: X, LightGBM": _causalml("X")}
    for name, learner in learners.items():
        say(name)
        effects = np.empty((len(trials), trials.k))
        for number in range(N_FOLDS):
            train, held_out = np.flatnonzero(found.fold != number), np.flatnonzero(found.fold == number)
            with warnings.catch_warnings():
                # Libraries' notes to programmers.
                warnings.simplefilter("ignore")
                effects[held_out] = learner(trials.take(train), trials.take(held_out))
        contenders.append(Contender(name, _curves(trials, effects)))
    return contenders


def _curves(trials: Trials, effects: FloatArray) -> dict[int, UpliftCurve]:
    curves = {}
    for arm in range(1, trials.k + 1):
        mine = np.flatnonzero(trials.eligible[:, arm] & np.isin(trials.action, (NOTHING, arm)))
        curves[arm] = uplift_curve(
            effects[mine, arm - 1],
            trials.action[mine] == arm,
            trials.y[mine],
            trials.pscore[mine],
            trials.group[mine],
            np.random.default_rng(SEED),
        )
    return curves


def _classifier(trials: Trials) -> Any:
    made = {"n_estimators": 250, "learning_rate": 0.03, "num_leaves": 8, "min_child_samples": 40, **_QUIET}
    return lightgbm.LGBMClassifier(**made) if trials.is_binary else lightgbm.LGBMRegressor(**made)


def _regressor() -> Any:
    return lightgbm.LGBMRegressor(n_estimators=100, learning_rate=0.03, num_leaves=8, min_child_samples=40, **_QUIET)


_QUIET: dict[str, Any] = {"n_jobs": 1, "verbosity": -1, "random_state": SEED, "reg_lambda": 5.0}


def _meta(learner: Any) -> Learner:
    def run(train: Trials, test: Trials) -> FloatArray:
        return np.asarray(learner.fit(train.X, train.y, train.action).effect(test.X))

    return run


def _designs(train: Trials, test: Trials) -> tuple[FloatArray, FloatArray]:
    design = Design.fit(train.X, train.n_categories)
    return design.transform(train.X), design.transform(test.X)


def _econml_dr(train: Trials, test: Trials) -> FloatArray:
    from econml.dr import DRLearner
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import RidgeCV

    Z, wanted = _designs(train, test)
    model = DRLearner(
        model_propensity=DummyClassifier(strategy="prior"),
        model_regression=RidgeCV(),
        model_final=RidgeCV(np.geomspace(10, 1e5, 9)),
        cv=3,
        random_state=SEED,
    ).fit(train.y, train.action, X=Z)
    return np.column_stack([model.effect(wanted, T0=0, T1=arm) for arm in range(1, train.k + 1)])


def _econml_forest(train: Trials, test: Trials) -> FloatArray:
    from econml.dml import CausalForestDML

    Z, wanted = _designs(train, test)
    model = CausalForestDML(
        model_y=_regressor(),
        model_t=lightgbm.LGBMClassifier(n_estimators=50, num_leaves=4, **_QUIET),
        discrete_treatment=True,
        n_estimators=300,
        min_samples_leaf=100,
        max_samples=0.4,
        cv=3,
        n_jobs=1,
        random_state=SEED,
    ).fit(train.y, train.action, X=Z)
    return np.column_stack([model.effect(wanted, T0=0, T1=arm) for arm in range(1, train.k + 1)])


def _causalml(kind: str) -> Learner:
    def run(train: Trials, test: Trials) -> FloatArray:
        from causalml.inference.meta import BaseTRegressor, BaseXRegressor

        model = (BaseTRegressor if kind == "T" else BaseXRegressor)(learner=_regressor(), control_name=0)
        shares = {arm: np.full(len(train), 0.5) for arm in range(1, train.k + 1)}
        if kind == "X":
            model.fit(train.X, train.action, train.y, p=shares)
            return np.asarray(model.predict(test.X, p={arm: np.full(len(test), 0.5) for arm in shares}))
        model.fit(train.X, train.action, train.y)
        return np.asarray(model.predict(test.X))

    return run
