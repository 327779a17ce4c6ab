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
from models.decisions.logged_trials import NOTHING, Trials, doubly_robust
from models.decisions.off_policy import CONFIDENCE, constant, followed, interval, noise, unseen
from models.decisions.ridge import choose_penalty
from models.inference.interval import Estimate
from training.policy import learners
from training.policy.pooling import FEWEST_POOLED, pooled

N_FOLDS = 5
FEWEST_TRIALS = 100
"""An action with fewer trials than this is not learned."""
FEWEST_POOLED_TRIALS = 20
"""Unless it may be one of many that are compared with each other, and not with doing nothing: then this many do."""
FEWEST_EVENTS = 10
"""Nor is one that has, together with the reference, fewer rewards of the rarer kind than this; of several actions, which
shrink to what they have in common, all together need as many."""

MANY_REWARDS = 100.0
"""Whose noise is believed to be an action's own, where actions are compared by it."""
STRAY = 0.25
"""How far an action's slope is believed to stray from the slope that all have in common."""
BELIEVED = {"doubly_robust_line": 1.0}
"""The weights of the learners before anything is known of them: 1 for the one that shrinks by its own noise, 0 for the others."""
DOUBTED = 0.25
"""How far a weight is believed to lie from that."""
_PLACES = 1000


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
    and around averages without the row's part. `weights` and `lines` come from all rows.
    """

    trials: Trials
    fold: Rows
    penalty: float
    means: FloatArray
    scores: FloatArray
    candidates: Mapping[str, FloatArray]
    weights: Mapping[str, float]
    lines: tuple[Line, ...]
    judged: Rows
    """Which of five parts, by chance alone, each row (n,) is in: what is chosen on the others is judged on it."""
    without: tuple[tuple[Line, ...], ...]
    """The lines of all rows but those of each part."""
    effects: FloatArray

    @property
    def rest(self) -> FloatArray:
        """What the models that did not see a row missed of its reward (n,)."""
        return np.asarray(self.trials.y - self.means[np.arange(len(self.trials)), self.trials.action])

    @property
    def tells_customers_apart(self) -> bool:
        """Whether any effect that is served differs between customers."""
        return any(line.slope != 0.0 for line in self.lines)

    def best_constant(self) -> tuple[Rows, int]:
        """The best action for everybody, as it was without each row's part (n,), and the best of all rows.

        Averages are those that are served, so that the best of many is not whichever noise favours most.
        """
        chosen = np.empty(len(self.trials), dtype=np.int64)
        for number, lines in enumerate(self.without):
            held_out = self.judged == number
            chosen[held_out] = constant(self._best(lines), self.trials.eligible[held_out])
        return chosen, self._best(self.lines)

    def gain(self, one: Rows, other: Rows, tried: int = 1) -> Estimate:
        """What one policy, the best of so many that were tried, earns over another, by doubly robust estimates (n,)."""
        rows = np.arange(len(one))
        gain = self.scores[rows, one] - self.scores[rows, other]
        weights = followed(self.trials, one) - followed(self.trials, other)
        return interval(gain, self.trials.group, 1.0 - (1.0 - CONFIDENCE) / tried, unseen(weights, self.rest))

    def _best(self, lines: Sequence[Line]) -> int:
        averages = [line.average for line in lines]
        best = int(np.argmax(averages)) + 1
        return best if averages[best - 1] > 0.0 or self.trials.against_policy else NOTHING

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
    learned = counts[1:] >= (FEWEST_POOLED_TRIALS if trials.against_policy else FEWEST_TRIALS)
    if trials.is_binary:
        for arm in range(trials.k):
            alone = learned.sum() < FEWEST_POOLED and not trials.against_policy
            y = trials.y[np.isin(trials.action, (0, arm + 1))] if alone else trials.y
            learned[arm] &= min(y.sum(), len(y) - y.sum()) >= FEWEST_EVENTS
    elif np.ptp(trials.y) == 0.0:
        learned[:] = False
    return np.asarray(learned & (counts[0] >= FEWEST_TRIALS))


def only(trials: Trials, learned: npt.NDArray[np.bool_]) -> tuple[Trials, Rows]:
    """The trials of the reference and of some actions, numbered anew; also which rows they are.

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
    binary, has_features = trials.is_binary, trials.X.shape[1] > 0
    design = Design.fit(trials.X, trials.n_categories)
    Z = design.transform(trials.X)
    penalty = choose_penalty(Z, trials, 3, seed)
    by_mean: dict[str, FloatArray] = {}
    for number in range(N_FOLDS):
        train, held_out = fold != number, fold == number
        seen = trials.take(train)
        fitted = {"lines": learners.lines(seen, Z[train], penalty, binary=binary)}
        if has_features:
            fitted["departures"] = learners.departures(seen, Z[train], binary=binary)
        for name, member in fitted.items():
            found = by_mean.setdefault(name, np.empty((len(trials), trials.k + 1)))
            found[held_out] = member.means(Z[held_out], trials.X[held_out], member.open())
    means = _mixed(trials, by_mean["lines"], by_mean.get("departures", by_mean["lines"]))
    scores = doubly_robust(trials, means)
    target = scores[:, 1:] - scores[:, :1]
    candidates = {name: found[:, 1:] - found[:, :1] for name, found in by_mean.items()}
    for number in range(N_FOLDS):
        train, held_out = fold != number, fold == number
        fitted = _of_scores(trials.take(train), Z[train], target[train]) if has_features else {}
        for name, member in fitted.items():
            effects = member.effects(Z[held_out], trials.X[held_out], member.open())
            candidates.setdefault(name, np.zeros((len(trials), trials.k)))[held_out] = effects
        advance()
    weights_by_fold = [weigh(trials, target, candidates, np.flatnonzero(fold != number)) for number in range(N_FOLDS)]
    # Weights are fitted too: what they are good for is judged on rows that they did not see.
    honest = np.empty((len(trials), trials.k))
    for number, weights in enumerate(weights_by_fold):
        honest[fold == number] = together(candidates, weights)[fold == number]
    weights = weigh(trials, target, candidates, np.arange(len(trials)))
    score = together(candidates, weights)
    if not any(weights.values()):
        # What is served foretells no differences, so none are judged either.
        honest[:] = 0.0
    lines = fit_lines(trials, means, honest)
    # The best of many averages looks better than it is on the rows that chose it; slopes are all but one, which cannot.
    judged = trials.fold_numbers_by_chance(N_FOLDS, seed)
    parts = [judged != number for number in range(N_FOLDS)]
    without = tuple(fit_lines(trials.take(part), means[part], honest[part]) for part in parts)
    effects = np.empty_like(honest)
    for part, others in zip(parts, without, strict=True):
        for arm, (line, whole) in enumerate(zip(others, lines, strict=True)):
            effects[~part, arm] = replace(line, slope=whole.slope).effects(honest[~part, arm])
    # The same lines, over the scores of the weights that are served.
    centres = [float(score[trials.eligible[:, arm + 1], arm].mean()) for arm in range(trials.k)]
    lines = tuple(replace(line, centre=centre) for line, centre in zip(lines, centres, strict=True))
    return CrossFitted(trials, fold, penalty, means, scores, candidates, weights, lines, judged, without, effects)


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

    Averages are left out of it: a weight says how far a learner's differences between customers can be believed. What few
    rows say of weights is mostly noise, so that these leave `BELIEVED` only as far as the rows make them, by a normal prior.
    Source: van der Laan, Polley and Hubbard (2007), "Super learner".
    """
    if not trials.X.shape[1]:
        return dict.fromkeys(candidates, 0.0)  # nobody differs from anybody
    columns: list[list[FloatArray]] = [[] for _ in candidates]
    targets = []
    for arm in range(trials.k):
        mine = rows[trials.eligible[rows, arm + 1]]
        wanted = target[mine, arm] - target[mine, arm].mean()
        scale = float(wanted.std()) or 1.0
        targets.append(wanted / scale)
        for column, effects in zip(columns, candidates.values(), strict=True):
            column.append((effects[mine, arm] - effects[mine, arm].mean()) / scale)
    # Figures have a noise of about 1; so has a prior that is divided by its spread.
    believed = np.array([BELIEVED.get(name, 0.0) for name in candidates]) / DOUBTED
    matrix = np.vstack(
        [np.column_stack([np.concatenate(column) for column in columns]), np.eye(len(columns)) / DOUBTED]
    )
    weights, _ = nnls(matrix, np.concatenate([*targets, believed]))
    return dict(zip(candidates, weights.tolist(), strict=True))


def together(candidates: Mapping[str, FloatArray], weights: Mapping[str, float]) -> FloatArray:
    """The weighted sum of the learners' effects (n, k)."""
    return np.asarray(sum(weights[name] * effects for name, effects in candidates.items()))


def fit_lines(trials: Trials, means: FloatArray, score: FloatArray) -> tuple[Line, ...]:
    """The line of each action's doubly robust effects over its score (n, k), its slope shrunk by its noise.

    Standard errors allow for a customer's rows being alike, and for rewards that are rare. All actions' slopes are first
    taken for one, which is anything from 0 to 1, all equally likely beforehand: its posterior mean is what is believed of
    it, and never 0. Then each is the mean of what its own action says and of that common slope, from which an action is
    believed to stray by 0.25.
    Averages shrink to what all actions have in common: see `pooled`.

    Args:
        means: the mean reward of every action (n, 1 + k), by models that did not see the row.
    """
    scores = doubly_robust(trials, means)
    target = scores[:, 1:] - scores[:, :1]
    rest = trials.y - means[np.arange(len(trials)), trials.action]
    raw = [
        _widened(_raw_line(trials, target[:, arm], score[:, arm], arm), trials, rest, arm) for arm in range(trials.k)
    ]
    told = [line for line in raw if line.slope_variance > 0.0]
    precision = sum(1.0 / line.slope_variance for line in told)
    common = _believed(sum(line.slope / line.slope_variance for line in told) / precision, precision) if told else 0.0
    lines = [_shrunk(line, common) for line in raw]
    return _pooled(trials, rest, lines)


def _widened(line: Line, trials: Trials, rest: FloatArray, arm: int) -> Line:
    """The line with what its variances lack where rewards are rare."""
    mine = trials.eligible[:, arm + 1]
    weights = _followed(trials, arm + 1) - _followed(trials, NOTHING)
    lacking = unseen(weights[mine], rest[mine])
    if lacking == 0.0 or line.average_variance == 0.0:
        return replace(line, average_variance=line.average_variance + lacking)
    times = 1.0 + lacking / line.average_variance
    return replace(
        line,
        average_variance=times * line.average_variance,
        slope_variance=times * line.slope_variance,
        covariance=times * line.covariance,
    )


def _followed(trials: Trials, arm: int) -> FloatArray:
    return followed(trials, np.full(len(trials), arm))


def _pooled(trials: Trials, rest: FloatArray, lines: Sequence[Line]) -> tuple[Line, ...]:
    """The lines with their averages pooled; the errors that they share, by the reference, they keep."""
    if trials.k < FEWEST_POOLED:
        return tuple(lines)
    # Rows of one action that happen to hold many rewards, or none, say little of its noise.
    own, shared = np.empty(trials.k), np.empty(trials.k)
    for arm, line in enumerate(lines):
        mine = trials.eligible[:, arm + 1]
        left, weights = rest[mine], _followed(trials, arm + 1)[mine]
        against = weights - _followed(trials, NOTHING)[mine]
        foretold = (
            line.average_variance - float(np.square(against * left).sum()) / len(left) ** 2 - unseen(against, left)
        )
        own[arm] = noise(weights, left, MANY_REWARDS)
        shared[arm] = foretold + noise(against, left, MANY_REWARDS) - own[arm]
    averages, variances = pooled(np.array([line.average for line in lines]), own)
    found: list[Line] = []
    for line, average, variance in zip(lines, averages, np.maximum(shared + variances, 0.0), strict=True):
        share = np.sqrt(variance / line.average_variance) if line.average_variance > 0.0 else 1.0
        found.append(
            replace(
                line,
                average=float(average),
                average_variance=float(variance),
                covariance=float(share * line.covariance),
            )
        )
    return tuple(found)


def _believed(slope: float, precision: float) -> float:
    """The mean of a normal figure that is known to lie between 0 and 1."""
    places = (np.arange(_PLACES) + 0.5) / _PLACES
    likelihood = -0.5 * precision * np.square(places - slope)
    weight = np.exp(likelihood - likelihood.max())
    return float(weight @ places / weight.sum())


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
    if found is not None and found.tells_customers_apart:
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
