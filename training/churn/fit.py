"""Fit the model and its baselines, and predict every tested row by parts that never saw it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_limits

from features.config.search_budget import Budget
from models.arrays import FloatArray, Rows
from models.estimators.churn_classifier import ChurnClassifier
from models.estimators.recipe import LabelledRows, held_out_course
from training.churn.baselines import LogisticBaseline
from training.churn.level import Level, foretold_level
from training.churn.tuning import BLEND, Tuned, Tuner
from training.dataset.split import Split, in_folds
from training.dataset.target_encoding import Categories
from training.dataset.time_windows import Windows
from training.dataset.training_set import TrainingSet
from training.evaluation.held_out import HeldOutPredictions

DEFAULT_TUNER = Tuner()


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A classifier, and the category mapping that encodes its rows; both fitted on the same training rows.

    `level` is what windows in time say of the next one; None where rows have no order in time.
    """

    classifier: ChurnClassifier
    categories: Categories
    tuned: Tuned
    level: Level | None


def fit(
    data: TrainingSet,
    train: Rows,
    windows: Windows | None = None,
    tuner: Tuner = DEFAULT_TUNER,
    advance: Callable[[], None] = lambda: None,
) -> FittedModel:
    """Fit categories, recipe, trees and calibration on the training rows alone.

    Args:
        windows: the training rows' windows where they have an order in time. Recipe and number of trees are then those that
            foretell later windows best, or, where no window had ended when another began, those of a blend; and the
            calibration has the level that is foretold for the next window.
        advance: is called after each trial.
    """
    categories = data.categories(train)
    rows = _rows(data, train, categories)
    y = data.y[train]
    held_out = [(fold.train, fold.test) for fold in in_folds(y, data.labels.group[train]).folds]
    by_time = [] if windows is None else windows.folds(y)
    if windows is None or by_time:
        tuned = tuner.search(rows, by_time or held_out, advance, in_time=bool(by_time))
    else:
        # Customers of the same windows cannot tell what lasts. On the seven rolling windows of public logs and of the
        # simulated business whose past was that short, a blend's log-loss was .0004 to .0155 below that of the line with
        # trees boosted from it.
        tuned = tuner.unsearched(rows, held_out, BLEND, advance)
    course = tuned.course
    if by_time:
        # Later windows choose, but customers calibrate: what windows of another season got wrong is not the next one's error.
        # On online_retail, calibrated by windows, the test window's ECE was .14, and by customers .06.
        recipe = replace(course.recipe, max_trees=course.trees, patience=max(course.trees, 1))
        course = held_out_course(rows, held_out, recipe, tuner.threads)
    classifier = ChurnClassifier.of(course.recipe).adopt(rows, held_out, course)
    level = None
    if windows is not None:
        level = foretold_level(windows, classifier.calibration_.log_odds(classifier.oof_margins_), y)
        classifier.raise_level(level.added)
    return FittedModel(classifier, categories, tuned, level)


def _rows(data: TrainingSet, rows: Rows, categories: Categories) -> LabelledRows:
    names = data.schema.names
    words = frozenset(names.index(name) for name in data.strings())
    directions = tuple(0 if place in words else feature.direction for place, feature in enumerate(data.schema))
    return LabelledRows(data.X(rows, categories), data.y[rows].astype(np.int64), words, directions)


def predict(model: FittedModel, data: TrainingSet, rows: Rows) -> FloatArray:
    """Calibrated churn probabilities of some rows."""
    return np.asarray(model.classifier.predict_proba(data.X(rows, model.categories))[:, 1], dtype=np.float64)


def fit_and_test(
    data: TrainingSet,
    split: Split,
    windows: Windows | None,
    advance: Callable[[], None],
    tuner: Tuner = DEFAULT_TUNER,
) -> tuple[FittedModel, Rows, HeldOutPredictions]:
    """The model to serve, the rows that it was fitted on, and the probabilities of all tested rows.

    In a time split the served model is the tested one. In folds, each fold's rows are predicted by a model fitted
    without them, and the served model is fitted on all rows.

    Args:
        windows: those of the training rows of a time split, else None.
        tuner: searches each fold by itself, so that no tested row had a say in the recipe.
        advance: is called after each trial.
    """
    p = np.full(len(data), np.nan)
    logistic = np.full(len(data), np.nan)
    everything = np.arange(len(data), dtype=np.int64)
    fitted_on = split.folds[0].train if split.is_time else everything
    parts = [fold.train for fold in split.folds] + ([] if split.is_time else [everything])
    models = _fitted(data, parts, windows, tuner, advance)
    for fold, model in zip(split.folds, models, strict=False):
        p[fold.test] = predict(model, data, fold.test)
        baseline = LogisticBaseline.fit(data.take(fold.train), data.numbers(), data.strings(), data.y[fold.train])
        logistic[fold.test] = baseline.predict(data.take(fold.test))
    tested = np.flatnonzero(~np.isnan(p))
    # The rate of all rows is the best that a constant can do out of fold: no fold's luck in the baseline.
    base_rate = np.full(len(tested), data.y[fitted_on].mean())
    return models[-1], fitted_on, HeldOutPredictions(tested, p[tested], logistic[tested], base_rate)


def _fitted(
    data: TrainingSet, parts: Sequence[Rows], windows: Windows | None, tuner: Tuner, advance: Callable[[], None]
) -> list[FittedModel]:
    """A model of each part; side by side, where there are several and their budget is known beforehand.

    All searches of a run are as long as the first, so that a run by minutes can be replayed by trials.
    """
    if len(parts) == 1 or tuner.budget.trials is None:
        first = fit(data, parts[0], windows, tuner, advance)
        tuner = replace(tuner, budget=Budget(trials=len(first.tuned.trials)))
        return [first, *(fit(data, part, windows, tuner, advance) for part in parts[1:])]
    broken_off = threading.Event()

    def told() -> None:
        if broken_off.is_set():
            raise CancelledError
        advance()

    def fitted(part: Rows) -> FittedModel:
        return fit(data, part, windows, replace(tuner, threads=1), told)

    # The limit is the process's: set by each thread, one would end another's.
    with threadpool_limits(1), ThreadPoolExecutor(tuner.threads) as pool:
        searches = [pool.submit(fitted, part) for part in parts]
        try:
            done = wait(searches, return_when=FIRST_EXCEPTION).done
        finally:
            broken_off.set()
            for search in searches:
                search.cancel()
        for search in done:
            search.result()
        return [search.result() for search in searches]
