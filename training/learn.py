"""Fit the model and its baselines, and predict every tested row by parts that never saw it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.churn import ChurnClassifier
from training.baselines import LogisticBaseline
from training.categories import Categories
from training.dataset import TrainingSet
from training.evaluate import EvaluationReport, calibration_bins, ece_of_chance, measure
from training.split import Split, in_folds
from training.windows import Windows

Rows = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A classifier, and the category mapping that encodes its rows; both fitted on the same training rows."""

    classifier: ChurnClassifier
    categories: Categories


@dataclass(frozen=True, slots=True)
class Tested:
    """Probabilities of the tested rows, each by a model that was fitted without it; all shapes (n,)."""

    rows: Rows
    p: Probabilities
    p_logistic: Probabilities
    p_base_rate: Probabilities

    def evaluate(self, y: npt.NDArray[np.int8]) -> EvaluationReport:
        """The metrics of model and baselines; `y` are the outcomes of all rows."""
        outcome = y[self.rows]
        return EvaluationReport(
            metrics=measure(outcome, self.p),
            baselines={
                "base_rate": measure(outcome, self.p_base_rate),
                "logistic_regression": measure(outcome, self.p_logistic),
            },
            ece_of_chance=ece_of_chance(self.p),
            calibration=calibration_bins(outcome, self.p),
        )


def fit(data: TrainingSet, train: Rows, windows: Windows | None = None) -> FittedModel:
    """Fit categories, trees and calibration on the training rows alone.

    Args:
        windows: the training rows' windows where they have an order in time. The trees then stop where windows that
            came later are foretold best, and at the latest where held-out customers are; and if the churn rate drifts,
            the newest window alone calibrates.
    """
    categories = data.categories(train)
    X, y = data.X(train, categories), data.y[train]
    held_out = [(fold.train, fold.test) for fold in in_folds(y, data.labels.group[train]).folds]
    # One thread: a fold is too small to gain by two, and two that wait for a busy core lose tenfold.
    classifier = ChurnClassifier(num_threads=1)
    if windows is None:
        return FittedModel(classifier.fit(X, y, folds=held_out), categories)
    folds = windows.folds(y)
    if folds:
        by_time = ChurnClassifier(num_threads=1).fit(X, y, folds=folds)
        trees = by_time.best_iteration_
        classifier.set_params(max_trees=trees, patience=trees, num_leaves=by_time.num_leaves_)
    recent = windows.newest if windows.newest_foretells(y) else None
    return FittedModel(classifier.fit(X, y, folds=held_out, recent=recent), categories)


def predict(model: FittedModel, data: TrainingSet, rows: Rows) -> Probabilities:
    """Calibrated churn probabilities of some rows."""
    return np.asarray(model.classifier.predict_proba(data.X(rows, model.categories))[:, 1], dtype=np.float64)


def fit_and_test(
    data: TrainingSet, split: Split, windows: Windows | None, advance: Callable[[], None]
) -> tuple[FittedModel, Rows, Tested]:
    """The model to serve, the rows that it was fitted on, and the probabilities of all tested rows.

    In a time split the served model is the tested one. In folds, each fold's rows are predicted by a model fitted
    without them, and the served model is fitted on all rows.

    Args:
        windows: those of the training rows of a time split, else None.
        advance: is called after each fold.
    """
    p = np.full(len(data), np.nan)
    logistic = np.full(len(data), np.nan)
    model: FittedModel | None = None
    for fold in split.folds:
        model = fit(data, fold.train, windows)
        p[fold.test] = predict(model, data, fold.test)
        baseline = LogisticBaseline.fit(data.take(fold.train), data.numbers(), data.strings(), data.y[fold.train])
        logistic[fold.test] = baseline.predict(data.take(fold.test))
        advance()
    tested = np.flatnonzero(~np.isnan(p))
    if split.is_time:
        assert model is not None
        fitted_on = split.folds[0].train
    else:
        fitted_on = np.arange(len(data), dtype=np.int64)
        model = fit(data, fitted_on)
        advance()
    # The rate of all rows is the best that a constant can do out of fold: no fold's luck in the baseline.
    base_rate = np.full(len(tested), data.y[fitted_on].mean())
    return model, fitted_on, Tested(tested, p[tested], logistic[tested], base_rate)
