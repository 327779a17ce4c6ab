"""What may become a part of an effect model: each learner fits a `Member` that a server loads."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np

from models.arrays import FloatArray, Matrix
from models.decisions.effect_model import LINEAR, MEANS, RESPONSE, TREES, Member
from models.decisions.logged_trials import NOTHING, Trials
from models.decisions.ridge import ALIKE, fit_lines
from training.churn.onnx_export import margin_graph
from training.policy.posterior_line import posterior_line

SEED = 42
N_DEPARTURES, N_EFFECT_TREES, N_RESPONSE_TREES = 60, 60, 150
FEWEST_RESPONSES = 50


def lines(trials: Trials, Z: FloatArray, penalty: float, *, binary: bool) -> Member:
    """A line an action, its departure from the shared one penalised."""
    fitted = fit_lines(Z, trials, penalty, binary=binary)
    return Member(MEANS, 1.0, fitted.intercepts, fitted.coefficients, binary=binary)


def departures(trials: Trials, Z: FloatArray, *, binary: bool) -> Member:
    """One line for all actions, and small trees an action, boosted from it: what the action changes, and where."""
    shared = fit_lines(Z, trials, ALIKE, binary=binary)
    margins = Z @ shared.coefficients.T + shared.intercepts
    graphs = []
    for arm in range(trials.k + 1):
        rows = trials.rows_of(arm)
        parameters = _parameters(len(rows), num_leaves=4, objective="binary" if binary else "regression")
        if not binary:
            parameters["boost_from_average"] = False
        data = _dataset(trials.X[rows], trials.y[rows], init_score=margins[rows, arm])
        graphs.append(margin_graph(lightgbm.train(parameters, data, N_DEPARTURES)))
    return Member(MEANS, 1.0, shared.intercepts, shared.coefficients, tuple(graphs), binary=binary)


def doubly_robust_line(trials: Trials, Z: FloatArray, effects: FloatArray) -> Member:
    """A line an action as its doubly robust effects (n, k) let one believe: see `posterior_line`."""
    coefficients, intercepts = np.empty((trials.k, Z.shape[1])), np.empty(trials.k)
    for position in range(trials.k):
        rows = trials.eligible[:, position + 1]
        coefficients[position], intercepts[position] = posterior_line(Z[rows], effects[rows, position])
    return Member(LINEAR, 1.0, intercepts, coefficients)


def doubly_robust_trees(trials: Trials, effects: FloatArray) -> Member:
    """Small trees an action, boosted on its doubly robust effects (n, k)."""
    graphs, intercepts = [], np.empty(trials.k)
    for position in range(trials.k):
        rows = trials.eligible[:, position + 1]
        target = effects[rows, position]
        intercepts[position] = target.mean()
        parameters = _parameters(int(rows.sum()), num_leaves=4, objective="regression", boost_from_average=False)
        parameters["min_data_in_leaf"] = max(5, min(200, int(rows.sum()) // 20))
        data = _dataset(trials.X[rows], target - intercepts[position])
        graphs.append(margin_graph(lightgbm.train(parameters, data, N_EFFECT_TREES)))
    return Member(TREES, 1.0, intercepts, graphs=tuple(graphs))


def responses(trials: Trials, Z: FloatArray, effects: FloatArray) -> Member | None:
    """Who answers to an action, as by a click, times the risk: what the answers say of the effect is fitted to it.

    Answers are many and come at once, outcomes are few and late. That who answers is helped is not assumed: the two
    levels an action are fitted to its doubly robust effects (n, k). None where the log has too few answers.
    """
    if trials.response is None or not trials.is_binary:
        return None
    shared = fit_lines(Z, trials, ALIKE, binary=True)
    baseline = Member(MEANS, 1.0, shared.intercepts, shared.coefficients, binary=True)
    risk = 1.0 - baseline.means(Z, trials.X, ())[:, NOTHING]
    graphs, levels = [], np.empty((trials.k, 2))
    for position in range(trials.k):
        known = np.flatnonzero((trials.action == position + 1) & ~np.isnan(trials.response))
        answers = trials.response[known]
        if min(answers.sum(), len(answers) - answers.sum()) < FEWEST_RESPONSES:
            return None
        parameters = _parameters(len(known), num_leaves=8, objective="binary")
        booster = lightgbm.train(parameters, _dataset(trials.X[known], answers), N_RESPONSE_TREES)
        graphs.append(margin_graph(booster))
        rows = trials.eligible[:, position + 1]
        response = np.asarray(booster.predict(trials.X[rows], num_threads=1), dtype=np.float64)
        basis = risk[rows, None] * np.column_stack([np.ones(len(response)), response])
        levels[position] = np.linalg.lstsq(basis, effects[rows, position], rcond=None)[0]
    return Member(
        RESPONSE, 1.0, shared.intercepts[:1], shared.coefficients[:1], graphs=tuple(graphs), levels=levels, binary=True
    )


def _parameters(rows: int, **changed: Any) -> dict[str, Any]:
    return {
        "learning_rate": 0.05,
        "min_data_in_leaf": max(5, min(100, rows // 50)),
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "feature_fraction": 0.6,
        "lambda_l2": 5.0,
        "max_bin": 127,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "seed": SEED,
        "verbosity": -1,
    } | changed


def _dataset(X: Matrix, y: FloatArray, init_score: FloatArray | None = None) -> lightgbm.Dataset:
    # Plain names: LightGBM refuses some characters that columns have.
    return lightgbm.Dataset(X, y, init_score=init_score, feature_name=[f"f{i}" for i in range(X.shape[1])])
