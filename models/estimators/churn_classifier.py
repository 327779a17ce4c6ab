"""The churn model: a linear part, boosted trees, or both, stopped early and calibrated on rows that the trees did not see."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from models.arrays import FloatArray
from models.estimators.recipe import Course, Fold, LabelledRows, LinearParts, Recipe, held_out_course, trained
from models.inference.calibration import Calibration, expit


class ChurnClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """LightGBM, from a linear part where there is one, with a calibration that is affine in log-odds, both chosen out of fold.

    The number of trees is where the mean log-loss of the held-out folds is least; the calibration is fitted on the same
    held-out margins; the booster that serves is then trained on all rows, which it calls f0, f1, …

    Args:
        linear_penalty: of the linear part from which trees are boosted (see `LinearPart`); None for none.
        blended: whether the margin is the mean of linear part and trees, instead of their sum.
        categorical: whether the trees split words by sets of their levels, instead of by the order of their codes.
        learning_rate: shrinkage of each tree.
        max_trees: where early stopping ends at the latest; 0 for a linear part alone.
        patience: trees without a better held-out log-loss before it stops.
        num_leaves: leaves of a tree; of several sizes, the first that no later one beats by more than a standard error.
        min_child_samples: the least number of rows in a leaf, but never more than a tenth of all rows.
        subsample: the share of rows that each tree sees.
        colsample: the share of features that each tree sees.
        reg_lambda: L2 regularisation of the leaves.
        n_folds: fewer where a class, or the groups, have fewer members.
        num_threads: how many folds are run side by side; never more than the process may use cores.
        seed: of the folds and the trees.

    Attributes:
        booster_: the trees, trained on all rows; those of the linear part come first, one a feature.
        calibration_: from their margin to log-odds.
        recipe_: what the booster is made of.
        best_iteration_: how many trees were boosted.
        num_leaves_: the size that was chosen.
        oof_margins_: (n,) raw margins of each row by trees that did not see it; NaN if no fold held it out.
        oof_probabilities_: (n,) the same calibrated, by a calibration that did not see the row's fold either.
        prior_: the churn rate of the rows that calibrated.
        classes_, n_features_in_: as scikit-learn has them.
    """

    def __init__(
        self,
        *,
        linear_penalty: float | None = None,
        blended: bool = False,
        categorical: bool = False,
        learning_rate: float = 0.05,
        max_trees: int = 1000,
        patience: int = 50,
        num_leaves: int | Sequence[int] = (8, 31),
        min_child_samples: int = 20,
        subsample: float = 0.8,
        colsample: float = 0.6,
        reg_lambda: float = 5.0,
        n_folds: int = 5,
        num_threads: int = 2,
        seed: int = 42,
    ) -> None:
        self.linear_penalty = linear_penalty
        self.blended = blended
        self.categorical = categorical
        self.learning_rate = learning_rate
        self.max_trees = max_trees
        self.patience = patience
        self.num_leaves = num_leaves
        self.min_child_samples = min_child_samples
        self.subsample = subsample
        self.colsample = colsample
        self.reg_lambda = reg_lambda
        self.n_folds = n_folds
        self.num_threads = num_threads
        self.seed = seed

    @classmethod
    def of(cls, recipe: Recipe, *, num_threads: int = 1) -> ChurnClassifier:
        """The classifier that follows a recipe."""
        return cls(
            linear_penalty=recipe.penalty,
            blended=recipe.blended,
            categorical=recipe.categorical,
            learning_rate=recipe.learning_rate,
            max_trees=recipe.max_trees,
            patience=recipe.patience,
            num_leaves=recipe.num_leaves,
            min_child_samples=recipe.min_child_samples,
            subsample=recipe.subsample,
            colsample=recipe.colsample,
            reg_lambda=recipe.reg_lambda,
            num_threads=num_threads,
            seed=recipe.seed,
        )

    def __sklearn_tags__(self) -> Any:
        """Two classes, and missing values are welcome."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.allow_nan = True
        return tags

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        folds: Sequence[Fold] | None = None,
        words: Collection[int] = (),
        directions: Sequence[int] | None = None,
    ) -> ChurnClassifier:
        """Choose trees and calibration out of fold, then train on all rows.

        Args:
            X: (n, d) numbers, taken as float32; NaN is missing.
            y: (n,) two classes; the greater one is churn.
            groups: (n,) rows of one group never straddle a fold.
            folds: (training rows, held-out rows) in place of the stratified ones; no row is held out twice.
            words: columns that hold codes of words, 0, 1, …: the linear part gives each code a term of its own, and no fold's
                order of them knows what it holds out.
            directions: (d,) +1 where more of a number never means less risk, −1 where it never means more, else 0.

        Raises:
            ValueError: one class only, too few rows of one, or groups that cannot be kept on one side of a fold.
        """
        matrix: NDArray[np.float32]
        outcome: NDArray[Any]
        matrix, outcome = validate_data(self, X, y, dtype=np.float32, order="C", ensure_all_finite="allow-nan")
        churned = self._outcome(outcome)
        split = self._folds(churned, groups) if folds is None else _checked(folds, len(churned))
        sizes = (self.num_leaves,) if isinstance(self.num_leaves, int) else tuple(self.num_leaves)
        rows = LabelledRows(matrix, churned, frozenset(words), directions)
        linear = LinearParts()
        courses = [held_out_course(rows, split, self._recipe(size), self._threads(), linear) for size in sizes]
        return self.adopt(rows, split, _least(courses))

    def adopt(self, rows: LabelledRows, folds: Sequence[Fold], course: Course) -> ChurnClassifier:
        """Calibrate on what a course held out, and train its recipe on all rows; `fit` and tuning end here.

        Args:
            rows: what the course was run on.
            folds: those of the course.
        """
        churned = rows.y
        if not hasattr(self, "classes_"):
            self.classes_, self.n_features_in_ = np.array([0, 1]), rows.X.shape[1]
        self.recipe_ = course.recipe
        self.num_leaves_ = course.recipe.num_leaves
        self.best_iteration_ = course.trees
        self.oof_margins_ = np.full(len(churned), np.nan)
        fold = np.full(len(churned), -1)
        for number, ((_, held_out), margins) in enumerate(zip(folds, course.margins, strict=True)):
            self.oof_margins_[held_out] = margins
            fold[held_out] = number
        judged = fold >= 0
        self.calibration_ = Calibration.fit(self.oof_margins_[judged], churned[judged])
        self.oof_probabilities_ = cross_fitted(self.oof_margins_, churned, fold)
        self.prior_ = float(churned[judged].mean())
        # As many trees as were calibrated: with more of them, margins spread further than the calibration knows.
        self.booster_ = trained(rows, course.recipe, course.trees)
        return self

    def raise_level(self, added: float) -> None:
        """Add so much to all calibrated log-odds, where the rows to come are known to be of another level than all rows."""
        self.calibration_ = self.calibration_.raised(added)
        log_odds = self.calibration_.log_odds(self.oof_margins_)
        self.prior_ = float(expit(log_odds[np.isfinite(log_odds)]).mean())

    def margins(self, X: ArrayLike) -> FloatArray:
        """The booster's raw margins (n,), in log-odds before calibration."""
        check_is_fitted(self, "booster_")
        matrix: NDArray[np.float32] = validate_data(
            self, X, dtype=np.float32, order="C", ensure_all_finite="allow-nan", reset=False
        )
        return _margins(self.booster_, matrix)

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Calibrated probabilities (n, 2), in the order of `classes_`."""
        margins = self.margins(X)
        p = self.calibration_.apply(margins)
        return np.column_stack([1.0 - p, p])

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The more probable class of each row."""
        churns = self.predict_proba(X)[:, 1] > 0.5
        return np.asarray(self.classes_[churns.astype(np.intp)])

    def _outcome(self, y: NDArray[Any]) -> NDArray[np.int64]:
        """Set `classes_`, and y as 0 and 1."""
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y", raise_unknown=True)
        self.classes_, churned = np.unique(y, return_inverse=True)
        if len(self.classes_) > 2:
            raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
        rarest = int(np.bincount(churned, minlength=2).min())
        if rarest < 2:
            raise ValueError(
                f"ChurnClassifier needs at least 2 rows of each class to learn from, but one class has {rarest} of "
                f"{len(churned)} (n_samples={len(churned)})."
            )
        return np.asarray(churned, dtype=np.int64)

    def _folds(self, y: NDArray[np.int64], groups: ArrayLike | None) -> list[Fold]:
        """Stratified folds that keep groups whole, as many up to `n_folds` as leave both classes to train on."""
        members = None
        most = min(self.n_folds, int(np.bincount(y, minlength=2).min()))
        if groups is not None:
            members = column_or_1d(groups)
            check_consistent_length(y, members)
            most = min(most, len(np.unique(members)))
        for k in range(most, 1, -1):
            splitter = (
                StratifiedKFold(k, shuffle=True, random_state=self.seed)
                if members is None
                else StratifiedGroupKFold(k, shuffle=True, random_state=self.seed)
            )
            folds = list(splitter.split(y, y, members))
            if all(len(np.unique(y[seen])) == 2 and len(held_out) for seen, held_out in folds):
                return folds
        raise ValueError("The groups cannot be split so that both classes stand on either side: use finer groups.")

    def _threads(self) -> int:
        return max(1, min(self.num_threads, len(os.sched_getaffinity(0))))

    def _recipe(self, num_leaves: int) -> Recipe:
        return Recipe(
            penalty=self.linear_penalty,
            blended=self.blended,
            categorical=self.categorical,
            num_leaves=num_leaves,
            learning_rate=self.learning_rate,
            min_child_samples=self.min_child_samples,
            subsample=self.subsample,
            colsample=self.colsample,
            reg_lambda=self.reg_lambda,
            max_trees=self.max_trees,
            patience=self.patience,
            seed=self.seed,
        )


def _margins(booster: lightgbm.Booster, X: NDArray[np.float32]) -> FloatArray:
    return np.asarray(booster.predict(X, raw_score=True, num_threads=1), dtype=np.float64)


def _least(courses: Sequence[Course]) -> Course:
    """The first course that no later one beats by more than a standard error of their folds' differences.

    Source: Breiman et al. (1984), Classification and Regression Trees, section 3.4.3 (the one-standard-error rule).
    """
    chosen = courses[0]
    for course in courses[1:]:
        gain = chosen.log_loss - course.log_loss
        error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else 0.0
        if float(gain.mean()) > error:
            chosen = course
    return chosen


def _checked(folds: Sequence[Fold], rows: int) -> list[Fold]:
    """Folds that were given, if no row is held out twice or by a fold that trains on it."""
    held_out = np.concatenate([np.asarray(fold[1]) for fold in folds]) if len(folds) else np.empty(0, dtype=np.intp)
    straddles = any(np.intersect1d(seen, held).size for seen, held in folds)
    if not len(held_out) or len(np.unique(held_out)) != len(held_out) or straddles or held_out.max() >= rows:
        raise ValueError("Folds must hold out some rows, each row at most once, and none that the fold trains on.")
    return [(np.asarray(seen, dtype=np.intp), np.asarray(held, dtype=np.intp)) for seen, held in folds]


def cross_fitted(margins: FloatArray, y: NDArray[np.int64], fold: NDArray[np.int64]) -> FloatArray:
    """Probabilities of the held-out margins, each fold calibrated without its own rows."""
    p = np.full(len(y), np.nan)
    for number in range(int(fold.max()) + 1):
        rows = fold == number
        others = (fold >= 0) & ~rows
        if len(np.unique(y[others])) < 2:
            # A single fold: two parameters can't flatter many rows by much, and there is nothing else to fit them on.
            others = fold >= 0
        p[rows] = Calibration.fit(margins[others], y[others]).apply(margins[rows])
    return p
