"""From trials to an effect model: cross-fitted learners, weighed against each other and shrunk by held-out doubly robust loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from models.arrays import FloatArray, Rows
from models.decisions.design_matrix import Design
from models.decisions.effect_model import LEARNED, PRIOR, ActionEffect, EffectModel, Member
from models.decisions.logged_trials import Trials, doubly_robust
from models.decisions.ridge import choose_penalty
from training.policy import learners

N_FOLDS = 5
FEWEST_TRIALS = 100
"""An action with fewer trials than this is not learned."""
FEWEST_EVENTS = 10
"""Nor one that has, together with doing nothing, fewer rewards of the rarer kind than this."""

STRAY = 0.25
"""How far an action's slope is believed to stray from the slope that all have in common."""


@dataclass(frozen=True, slots=True)
class Line:
    """`average + slope · (score − centre)` with its covariance, of one action."""

    centre: float
    average: float
    slope: float
    average_variance: float
    slope_variance: float
    covariance: float

    def effects(self, score: FloatArray) -> FloatArray:
        """The effects (n,) of scores (n,)."""
        return np.asarray(self.average + self.slope * (score - self.centre))


@dataclass(frozen=True, slots=True)
class CrossFitted:
    """What was found out of fold about the trials of the learned actions.

    `means` are the mean rewards (n, 1 + k) and `scores` the doubly robust ones, by models that did not see the row;
    `candidates` are each learner's effects (n, k), likewise; `effects` (n, k) those of all learners together, weighed
    without the row's fold. `weights` and `lines` come from all rows.
    """

    trials: Trials
    fold: Rows
    penalty: float
    means: FloatArray
    scores: FloatArray
    candidates: Mapping[str, FloatArray]
    weights: Mapping[str, float]
    lines: tuple[Line, ...]
    effects: FloatArray

    def loss(self, effects: FloatArray) -> FloatArray:
        """The doubly robust loss of out-of-fold effects (n, k), row by row (n,); constant effects have 1 on average."""
        target = self.scores[:, 1:] - self.scores[:, :1]
        mask = self.trials.eligible[:, 1:]
        rest = np.where(mask, (target - effects) ** 2, 0.0)
        averages = np.array([target[mask[:, a], a].mean() for a in range(target.shape[1])])
        constant = np.where(mask, (target - averages) ** 2, 0.0)
        return np.asarray(rest.sum(axis=1) / constant.sum(axis=1).mean())


def enough(trials: Trials) -> npt.NDArray[np.bool_]:
    """Whether each action (k,) has enough trials, and enough rewards of either kind, to be learned."""
    counts = trials.counts()
    learned = counts[1:] >= FEWEST_TRIALS
    if trials.is_binary:
        for arm in range(trials.k):
            y = trials.y[np.isin(trials.action, (0, arm + 1))]
            learned[arm] &= min(y.sum(), len(y) - y.sum()) >= FEWEST_EVENTS
    elif np.ptp(trials.y) == 0.0:
        learned[:] = False
    return np.asarray(learned & (counts[0] >= FEWEST_TRIALS))


def only(trials: Trials, learned: npt.NDArray[np.bool_]) -> tuple[Trials, Rows]:
    """The trials of doing nothing and of some actions, numbered anew; also which rows they are.

    Their pscores are then given that one of these was drawn, which is taken to be equally likely for everybody.
    """
    arms = np.concatenate([[True], learned])
    rows = np.flatnonzero(arms[trials.action])
    number = np.cumsum(arms) - 1
    kept = trials.take(rows)
    pscore = np.minimum(kept.pscore * len(trials) / len(rows), 1.0)
    return replace(kept, action=number[kept.action], eligible=kept.eligible[:, arms], pscore=pscore), rows


def cross_fit(trials: Trials, advance: Callable[[], None] = lambda: None, seed: int = learners.SEED) -> CrossFitted:
    """Fit every learner without each fold in turn, and weigh them; `advance` is called after each of `N_FOLDS` folds."""
    fold = trials.fold_numbers(N_FOLDS, seed)
    binary = trials.is_binary
    design = Design.fit(trials.X, trials.n_categories)
    Z = design.transform(trials.X)
    penalty = choose_penalty(Z, trials, 3, seed)
    by_mean: dict[str, FloatArray] = {name: np.empty((len(trials), trials.k + 1)) for name in ("lines", "departures")}
    for number in range(N_FOLDS):
        train, held_out = fold != number, fold == number
        seen = trials.take(train)
        fitted = {
            "lines": learners.lines(seen, Z[train], penalty, binary=binary),
            "departures": learners.departures(seen, Z[train], binary=binary),
        }
        for name, member in fitted.items():
            by_mean[name][held_out] = member.means(Z[held_out], trials.X[held_out], member.open())
    means = _mixed(trials, by_mean["lines"], by_mean["departures"])
    scores = doubly_robust(trials, means)
    target = scores[:, 1:] - scores[:, :1]
    candidates = {name: found[:, 1:] - found[:, :1] for name, found in by_mean.items()}
    for number in range(N_FOLDS):
        train, held_out = fold != number, fold == number
        for name, member in _of_scores(trials.take(train), Z[train], target[train]).items():
            effects = member.effects(Z[held_out], trials.X[held_out], member.open())
            candidates.setdefault(name, np.zeros((len(trials), trials.k)))[held_out] = effects
        advance()
    by_fold = [weigh(trials, target, candidates, np.flatnonzero(fold != number)) for number in range(N_FOLDS)]
    # Weights are fitted too: what they are good for is judged on rows that they did not see.
    honest = np.empty((len(trials), trials.k))
    for number, weights in enumerate(by_fold):
        honest[fold == number] = together(candidates, weights)[fold == number]
    weights = weigh(trials, target, candidates, np.arange(len(trials)))
    score = together(candidates, weights)
    lines = fit_lines(trials, target, honest)
    effects = np.column_stack([line.effects(honest[:, arm]) for arm, line in enumerate(lines)])
    # The same lines, over the scores of the weights that are served.
    centres = [float(score[trials.eligible[:, arm + 1], arm].mean()) for arm in range(trials.k)]
    lines = tuple(replace(line, centre=centre) for line, centre in zip(lines, centres, strict=True))
    return CrossFitted(trials, fold, penalty, means, scores, candidates, weights, lines, effects)


def _of_scores(trials: Trials, Z: FloatArray, target: FloatArray) -> dict[str, Member]:
    """The learners that are fitted to doubly robust effects (n, k)."""
    fitted = {
        "doubly_robust_line": learners.doubly_robust_line(trials, Z, target),
        "doubly_robust_trees": learners.doubly_robust_trees(trials, target),
    }
    answers = learners.responses(trials, Z, target)
    return fitted if answers is None else {**fitted, "responses": answers}


def weigh(trials: Trials, target: FloatArray, candidates: Mapping[str, FloatArray], rows: Rows) -> dict[str, float]:
    """The weights of the learners, none below 0, whose sum has the least doubly robust loss on some rows.

    Averages are left out of it: a weight says how far a learner's differences between customers can be believed.
    Source: van der Laan, Polley and Hubbard (2007), "Super learner".
    """
    columns: list[list[FloatArray]] = [[] for _ in candidates]
    targets = []
    for arm in range(trials.k):
        mine = rows[trials.eligible[rows, arm + 1]]
        wanted = target[mine, arm] - target[mine, arm].mean()
        scale = float(wanted.std()) or 1.0
        targets.append(wanted / scale)
        for column, effects in zip(columns, candidates.values(), strict=True):
            column.append((effects[mine, arm] - effects[mine, arm].mean()) / scale)
    matrix = np.column_stack([np.concatenate(column) for column in columns])
    weights, _ = nnls(matrix, np.concatenate(targets))
    return dict(zip(candidates, weights.tolist(), strict=True))


def together(candidates: Mapping[str, FloatArray], weights: Mapping[str, float]) -> FloatArray:
    """The weighted sum of the learners' effects (n, k)."""
    return np.asarray(sum(weights[name] * effects for name, effects in candidates.items()))


def fit_lines(trials: Trials, target: FloatArray, score: FloatArray) -> tuple[Line, ...]:
    """The line of each action's doubly robust effects over its score, both (n, k), its slope shrunk by its noise.

    Standard errors allow for a customer's rows being alike. All actions' slopes are first taken for one, b with variance
    v, and shrunk to b · max(0, 1 − v/b²): James and Stein (1961), positive part. Then each is the mean of what its own
    action says and of that common slope, from which an action is believed to stray by 0.25.
    """
    raw = [_raw_line(trials, target[:, arm], score[:, arm], arm) for arm in range(trials.k)]
    told = [line for line in raw if line.slope_variance > 0.0]
    precision = sum(1.0 / line.slope_variance for line in told)
    common = sum(line.slope / line.slope_variance for line in told) / precision if told else 0.0
    common *= max(0.0, 1.0 - 1.0 / (precision * common**2)) if common > 0.0 else 0.0
    return tuple(_shrunk(line, common) for line in raw)


def _shrunk(line: Line, common: float) -> Line:
    """The line with its slope shrunk; the interval stays as wide as the data leave it."""
    if line.slope_variance == 0.0 or common == 0.0:
        return replace(line, slope=0.0)
    own = STRAY**2 / (STRAY**2 + line.slope_variance)
    return replace(line, slope=max(0.0, own * line.slope + (1.0 - own) * common))


def _raw_line(trials: Trials, target: FloatArray, score: FloatArray, arm: int) -> Line:
    mine = np.flatnonzero(trials.eligible[:, arm + 1])
    y, s = target[mine], score[mine]
    centre, average = float(s.mean()), float(y.mean())
    inner = s - centre
    size = float(inner @ inner)
    groups = np.unique(trials.group[mine], return_inverse=True)[1]
    n_groups = int(groups.max()) + 1
    if size <= 1e-12 * len(y):
        deviations = np.bincount(groups, y - average, minlength=n_groups)
        return Line(centre, average, 0.0, float((deviations**2).sum()) / len(y) ** 2, 0.0, 0.0)
    slope = float(inner @ y) / size
    rest = y - average - slope * inner
    influence = np.column_stack(
        [
            np.bincount(groups, rest, minlength=n_groups) / len(y),
            np.bincount(groups, rest * inner, minlength=n_groups) / size,
        ]
    )
    covariance = influence.T @ influence * n_groups / max(n_groups - 1, 1)
    return Line(centre, average, slope, float(covariance[0, 0]), float(covariance[1, 1]), float(covariance[0, 1]))


def fit_effects(
    found: CrossFitted | None,
    names: Sequence[str],
    priors: Mapping[str, float],
    counts: Rows,
    learned: npt.NDArray[np.bool_],
    encoding: Encoding,
) -> EffectModel:
    """The model to serve: the learners that have a weight, fitted on all trials.

    Args:
        found: out of fold; None where no action has enough trials.
        names: of the actions (k,), without doing nothing.
        priors: by action, the share of the churn probability that it is believed to remove.
        counts: how often each was taken, doing nothing first.
        learned: which of them are learned.
    """
    lines = iter(found.lines if found is not None else ())
    actions = []
    for position, name in enumerate(names):
        n, prior = int(counts[position + 1]), priors.get(name, 0.0)
        if learned[position]:
            line = next(lines)
            actions.append(
                ActionEffect(
                    name,
                    LEARNED,
                    prior,
                    n,
                    line.average,
                    line.average_variance,
                    line.centre,
                    line.slope,
                    line.slope_variance,
                    line.covariance,
                )
            )
        else:
            actions.append(ActionEffect(name, PRIOR, prior, n))
    design, members = Design(()), dict[str, Member]()
    if found is not None:
        design, members = _refitted(found)
    return EffectModel(
        unit=encoding.unit,
        schema=encoding.schema,
        feature_names=encoding.feature_names,
        categories=encoding.categories,
        actions=tuple(actions),
        design=design,
        members=tuple(members.values()),
        learners=tuple(members),
    )


@dataclass(frozen=True, slots=True)
class Encoding:
    """How raw features became X, and what the reward is."""

    unit: Any
    schema: Mapping[str, Any]
    feature_names: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]


def _refitted(found: CrossFitted) -> tuple[Design, dict[str, Member]]:
    trials = found.trials
    design = Design.fit(trials.X, trials.n_categories)
    Z = design.transform(trials.X)
    target = found.scores[:, 1:] - found.scores[:, :1]
    fitted: dict[str, Member] = {}
    if found.weights["lines"] > 0:
        fitted["lines"] = learners.lines(trials, Z, found.penalty, binary=trials.is_binary)
    if found.weights["departures"] > 0:
        fitted["departures"] = learners.departures(trials, Z, binary=trials.is_binary)
    fitted |= _of_scores(trials, Z, target)
    return design, {
        name: replace(member, weight=found.weights[name])
        for name, member in fitted.items()
        if found.weights.get(name, 0.0) > 0
    }


def _mixed(trials: Trials, one: FloatArray, other: FloatArray) -> FloatArray:
    """Two models' means, mixed by the share that has the least squared error, between 0 and 1."""
    rows = np.arange(len(trials))
    first, second = one[rows, trials.action], other[rows, trials.action]
    difference = first - second
    size = float(difference @ difference)
    share = float(np.clip(difference @ (trials.y - second) / size, 0.0, 1.0)) if size > 0 else 1.0
    return np.asarray(share * one + (1.0 - share) * other)
