"""What a model is made of, and how one recipe fares on held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from models.estimators.binned_logistic import RARE, LinearPart
from models.estimators.lightgbm_writer import joined, linear_trees, trees_of

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]

# So many trees are grown on each fold before the folds are asked together whether to go on.
_STRIDE = 10
# So many folds run before the others where a recipe may be given up.
FIRST_FOLDS = 2
# So many rows at the average rate are added to a level before levels are ranked.
_SMOOTHING = 20.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """A linear part (`penalty` is None for none), and trees boosted from it (`max_trees` is 0 for none).

    The trees split a column of words by sets of its levels if they are `categorical`, else by the order of their codes.

    If it is `blended`, the trees are grown as if there were no linear part, and the margin is the mean of the two: where
    the world moves, either errs in its own way.

    `patience` trees without a better held-out log-loss end the boosting; no leaf has fewer rows than `min_child_samples`,
    but a tenth of all rows is always enough.
    """

    penalty: float | None = None
    blended: bool = False
    categorical: bool = False
    num_leaves: int = 8
    learning_rate: float = 0.05
    min_child_samples: int = 20
    subsample: float = 0.8
    colsample: float = 0.6
    reg_lambda: float = 5.0
    max_trees: int = 1000
    patience: int = 50
    seed: int = 42

    def __post_init__(self) -> None:
        if self.penalty is None and self.max_trees < 1:
            raise ValueError("A model needs a linear part or at least one tree.")
        if self.blended and (self.penalty is None or self.max_trees < 1):
            raise ValueError("A blend needs a linear part and trees.")

    def parameters(self, rows: int, directions: Sequence[int] | None) -> dict[str, Any]:
        """LightGBM's."""
        return {
            "objective": "binary",
            "metric": "binary_logloss",
            "num_leaves": self.num_leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": min(self.min_child_samples, max(1, rows // 10)),
            "bagging_fraction": self.subsample,
            "bagging_freq": 1,
            "feature_fraction": self.colsample,
            "lambda_l2": self.reg_lambda,
            **({"monotone_constraints": list(directions)} if directions is not None and any(directions) else {}),
            "deterministic": True,
            "force_row_wise": True,
            # Its threads wait for each other by spinning: on busy cores, two of them take twenty times as long as one.
            "num_threads": 1,
            "seed": self.seed,
            "verbosity": -1,
        }


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """What a recipe is tried on: X float32 (n, d), y 0 or 1 (n,), which columns hold codes of words, and directions (d,)."""

    X: NDArray[np.float32]
    y: NDArray[np.int64]
    words: Collection[int] = ()
    directions: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """How a recipe fared: `margins[k]` are those of fold k's held-out rows with `trees` trees, `log_loss` (folds,) theirs.

    One that was given up has those of the first folds alone.
    """

    recipe: Recipe
    trees: int
    size: float
    """How many leaves the model has, those of the linear part's trees among them, on average over the folds."""
    margins: tuple[FloatArray, ...]
    log_loss: FloatArray


class LinearParts:
    """The linear parts of each fold of some rows, each fitted once, however many recipes share its penalty."""

    def __init__(self) -> None:
        self._fitted: dict[tuple[int, float], LinearPart] = {}

    def of(self, fold: int, rows: LabelledRows, recipe: Recipe) -> LinearPart | None:
        """That of a recipe on a fold's training rows, which are the same at each call."""
        if recipe.penalty is None:
            return None
        found = self._fitted.get((fold, recipe.penalty))
        if found is None:
            found = self._fitted[fold, recipe.penalty] = _linear(rows, recipe.penalty)
        return found


def held_out_course(
    rows: LabelledRows,
    folds: Sequence[Fold],
    recipe: Recipe,
    threads: int = 1,
    linear: LinearParts | None = None,
    hopeless: Callable[[Course], bool] | None = None,
) -> Course:
    """Train a recipe on every fold, up to the number of trees that is best for all of them together.

    Args:
        linear: of other courses on the same rows and folds.
        hopeless: is asked with the course of the first folds alone, and gives the recipe up, where there are more.
    """
    known = linear or LinearParts()
    with ThreadPoolExecutor(threads) as pool:

        def runners_of(numbers: range) -> list[_Runner]:
            return list(pool.map(lambda number: _Runner(rows, folds, number, recipe, known), numbers))

        def course_of(runners: Sequence[_Runner]) -> Course:
            trees = _most_likely_trees(pool, runners, recipe)
            margins = tuple(pool.map(lambda runner: runner.margins(trees), runners))
            losses = [float(np.mean(np.logaddexp(0.0, m) - r.y * m)) for m, r in zip(margins, runners, strict=True)]
            size = float(np.mean([runner.size(trees) for runner in runners]))
            return Course(recipe, trees, size, margins, np.asarray(losses))

        if hopeless is None or len(folds) <= FIRST_FOLDS:
            return course_of(runners_of(range(len(folds))))
        runners = runners_of(range(FIRST_FOLDS))
        begun = course_of(runners)
        return begun if hopeless(begun) else course_of(runners + runners_of(range(FIRST_FOLDS, len(folds))))


def _most_likely_trees(pool: ThreadPoolExecutor, runners: Sequence[_Runner], recipe: Recipe) -> int:
    """The number of trees with the least log-loss of all held-out rows; boosting ends `patience` trees after it."""
    weight = np.array([len(runner.y) for runner in runners], dtype=np.float64)
    best, least = 0, _mean(weight, [runner.losses(0)[0] for runner in runners])
    grown = 0
    while grown < recipe.max_trees and grown - best < recipe.patience:
        until = min(grown + _STRIDE, recipe.max_trees)
        losses = np.array(list(pool.map(lambda runner: runner.losses(until), runners)))  # noqa: B023 - used at once
        for trees in range(grown + 1, until + 1):
            loss = _mean(weight, losses[:, trees])
            if loss < least:
                best, least = trees, loss
        grown = until
    return max(best, 1) if recipe.penalty is None or recipe.blended else best


def trained(rows: LabelledRows, recipe: Recipe, trees: int) -> lightgbm.Booster:
    """A booster of the linear part's trees and so many boosted ones, trained on all rows."""
    parameters = recipe.parameters(len(rows.y), rows.directions)
    linear = None if recipe.penalty is None else _linear(rows, recipe.penalty)
    start = None if linear is None or recipe.blended else linear.margins(rows.X)
    # A booster without a tree has no text to start from: one is grown, and left out again.
    boosted = lightgbm.train(parameters, _dataset(rows, parameters, start, recipe), max(trees, 1))
    if linear is None:
        return boosted
    if recipe.blended:
        return joined(boosted, [*linear_trees(linear.times(0.5)), *trees_of(boosted, trees, 0.5)])
    return joined(boosted, [*linear_trees(linear), *(trees_of(boosted, trees) if trees else [])])


class _Runner:
    """One fold's booster, grown step by step."""

    def __init__(
        self, rows: LabelledRows, folds: Sequence[Fold], number: int, recipe: Recipe, linear: LinearParts
    ) -> None:
        seen, held_out = folds[number]
        X = _reranked(rows, seen)
        mine = LabelledRows(X[seen], rows.y[seen], rows.words, rows.directions)
        self.y = rows.y[held_out]
        self._X = X[held_out]
        self._linear = linear.of(number, mine, recipe)
        self._blended = recipe.blended
        if self._linear is None or recipe.blended:
            rate = float(np.clip(mine.y.mean(), 1e-6, 1.0 - 1e-6))
            self._start = np.full(len(self.y), np.log(rate / (1.0 - rate)))
            start = None
        else:
            self._start, start = self._linear.margins(self._X), self._linear.margins(mine.X)
        self._losses = [float(np.mean(np.logaddexp(0.0, self._start) - self.y * self._start))]
        self._num_leaves = recipe.num_leaves
        if recipe.max_trees:
            # The least number of rows in a leaf is the whole table's, as the model to serve will have it.
            parameters = recipe.parameters(len(rows.y), rows.directions)
            train = _dataset(mine, parameters, start, recipe)
            self._booster = lightgbm.Booster(parameters, train)
            valid_start = None if start is None else self._start
            # With its parameters: without them LightGBM goes back to all cores, in all threads, and one that was laying out its
            # bins for one core writes past them.
            valid = train.create_valid(self._X, self.y, init_score=valid_start, params=parameters)
            self._booster.add_valid(valid, "held out")

    def losses(self, trees: int) -> list[float]:
        """The held-out log-loss with 0, 1, … up to so many trees, which are grown if they are not yet."""
        while len(self._losses) <= trees:
            self._booster.update()
            self._losses.append(float(self._booster.eval_valid()[0][2]))
        return self._losses[: trees + 1]

    def margins(self, trees: int) -> FloatArray:
        if not trees:
            return self._start
        boosted = np.asarray(self._booster.predict(self._X, raw_score=True, num_iteration=trees, num_threads=1))
        if self._linear is None:
            return boosted
        return 0.5 * (boosted + self._linear.margins(self._X)) if self._blended else boosted + self._start

    def size(self, trees: int) -> int:
        return (0 if self._linear is None else self._linear.leaves) + trees * self._num_leaves


def _linear(rows: LabelledRows, penalty: float) -> LinearPart:
    return LinearPart.fit(rows.X, rows.y, penalty=penalty, words=rows.words, directions=rows.directions)


def _dataset(
    rows: LabelledRows, parameters: dict[str, Any], start: FloatArray | None, recipe: Recipe
) -> lightgbm.Dataset:
    # Plain names: LightGBM refuses some characters that columns have. The real ones live in the bundle.
    names = [f"f{i}" for i in range(rows.X.shape[1])]
    sets = sorted(rows.words) if recipe.categorical else []
    return lightgbm.Dataset(
        rows.X, rows.y, feature_name=names, categorical_feature=sets, init_score=start, params=parameters
    )


def _reranked(rows: LabelledRows, seen: NDArray[np.intp]) -> NDArray[np.float32]:
    """The rows with words coded as the training rows of a fold alone would have them: by churn rate, the rare ones NaN.

    The codes of all rows know the outcomes of the held-out ones, which flatters where there are many words.
    """
    if not rows.words:
        return rows.X
    X = rows.X.copy()
    y = rows.y[seen]
    for j in sorted(rows.words):
        column = rows.X[:, j]
        known = ~np.isnan(column)
        if not known.any():
            continue
        code = np.where(known, column, 0).astype(np.int64)
        levels = int(code.max()) + 1
        here = known[seen]
        count = np.bincount(code[seen][here], minlength=levels)
        churned = np.bincount(code[seen][here], weights=y[here], minlength=levels)
        rate = (churned + _SMOOTHING * y.mean()) / (count + _SMOOTHING)
        frequent = np.flatnonzero(count >= RARE)
        rank = np.full(levels, np.nan, dtype=np.float32)
        rank[frequent[np.argsort(rate[frequent], kind="stable")]] = np.arange(len(frequent))
        X[:, j] = np.where(known, rank[code], np.nan)
    return X


def _mean(weight: FloatArray, losses: Sequence[float] | FloatArray) -> float:
    return float(np.average(losses, weights=weight))
