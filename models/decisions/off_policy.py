"""What a policy would have earned, from a log of decisions that another one made; with intervals.

Every estimate is a mean over rows, and its interval the normal one (95 %) of that mean, a customer's rows counting as
one. Where rewards are rare, what a policy chose may have earned none at all, and its rows would then seem to agree: what
their noise lacks beside that of all rows is added, see `unseen`. For a policy that gives action a the probability
π(a|x), with weights w = π(A|x) / pscore of what was done:

- `ips`: mean of w·y. Horvitz and Thompson (1952).
- `snips`: Σ w·y / Σ w, its variance by the delta method. Swaminathan and Joachims (2015).
- `dm`: mean of Σ_a π(a|x)·m(a, x), m the mean reward that a model foretells. Its interval is that of a least-squares
  model on the same features, whose influence function has the projection of w on them in place of w; it knows nothing of
  a model's bias.
- `dr`: mean of Σ_a π(a|x)·m(a, x) + w·(y − m(A, x)). Dudík, Langford and Li (2011).

The policy that made the log has w = 1 and chose A: its ips, snips and dr are the mean reward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray, Rows
from models.decisions.design_matrix import Design
from models.decisions.logged_trials import NOTHING, Trials
from models.inference.interval import Estimate, critical_value

ESTIMATORS = ("ips", "snips", "dm", "dr")
CONFIDENCE = 0.95
FEW_REWARDS = 10.0


@dataclass(frozen=True, slots=True)
class PolicyValue:
    """What a policy would earn a decision, by each estimator, and how many rows that rests on."""

    ips: Estimate
    snips: Estimate
    dm: Estimate
    dr: Estimate
    effective_sample_size: float
    """(Σ w)² / Σ w²; Kong (1992)."""


def evaluate(trials: Trials, means: FloatArray, action_dist: FloatArray, Z: FloatArray | None = None) -> PolicyValue:
    """What a policy would have earned on these trials.

    Args:
        means: the mean reward of every action (n, 1 + k), by models that did not see the row.
        action_dist: the policy's probability of every action (n, 1 + k).
        Z: the design (n, p) of the trials' features, where it is at hand.
    """
    rows = np.arange(len(trials))
    w = action_dist[rows, trials.action] / trials.pscore
    return _valued(trials, w, (action_dist * means).sum(axis=1), means[rows, trials.action], Z)


def evaluate_logging(trials: Trials, means: FloatArray, Z: FloatArray | None = None) -> PolicyValue:
    """What the policy that made the log earned; arguments as those of `evaluate`."""
    told = means[np.arange(len(trials)), trials.action]
    return _valued(trials, np.ones(len(trials)), told, told, Z)


def _valued(trials: Trials, w: FloatArray, foretold: FloatArray, told: FloatArray, Z: FloatArray | None) -> PolicyValue:
    """The value of a policy with weights w, of which a model foretells so much; `told` is of what was done; all (n,)."""
    total = float(w.sum())
    weighted = float((w * trials.y).sum() / total) if total > 0 else float("nan")
    if Z is None:
        Z = Design.fit(trials.X, trials.n_categories).transform(trials.X)
    rest = trials.y - told
    projected = _projected(trials, Z, w)
    of_model = interval(foretold + projected * rest, trials.group, unseen=unseen(projected, rest))
    reach = of_model.high - of_model.value
    by_model = float(foretold.mean())
    share = w / (total / len(trials)) if total > 0 else np.full(len(trials), np.nan)
    around = interval(share * (trials.y - weighted), trials.group, unseen=unseen(share, trials.y - weighted))
    return PolicyValue(
        ips=interval(w * trials.y, trials.group, unseen=unseen(w, trials.y)),
        snips=Estimate(weighted, weighted + around.low, weighted + around.high),
        dm=Estimate(by_model, by_model - reach, by_model + reach),
        dr=interval(foretold + w * rest, trials.group, unseen=unseen(w, rest)),
        effective_sample_size=total**2 / float((w**2).sum()) if total > 0 else 0.0,
    )


def _projected(trials: Trials, Z: FloatArray, w: FloatArray) -> FloatArray:
    """What a line over the design says of the weights, action by action (n,)."""
    projected = np.zeros(len(w))
    for arm in range(trials.k + 1):
        mine = np.flatnonzero(trials.action == arm)
        if len(mine) and w[mine].any():
            basis = np.column_stack([np.ones(len(mine)), Z[mine]])
            gram = basis.T @ basis + 1e-6 * len(mine) * np.eye(basis.shape[1])
            projected[mine] = basis @ np.linalg.solve(gram, basis.T @ w[mine])
    return projected


def followed(trials: Trials, chosen: Rows) -> FloatArray:
    """The weight 1/pscore of each row (n,) on which a choice was made, 0 of the others, 1 where the log's policy is chosen."""
    weights = np.where(trials.action == chosen, 1.0 / trials.pscore, 0.0)
    return np.where(chosen == NOTHING, 1.0, weights) if trials.against_policy else weights


def noise(w: FloatArray, rest: FloatArray, rewards: float = FEW_REWARDS) -> float:
    """The variance of the mean of w · rest, where few of the rows with a weight may have had a reward to vary by.

    What those rows say themselves is believed as far as they are many beside the rows on which so many rewards fall; for
    the rest, the noise of all rows is taken. How many rows a reward takes is the kurtosis of the noise: 3 for a normal
    one, and 1/p for a reward of 1 of a small chance p.
    """
    weights = np.square(w)
    size, common = float(weights.sum()), float(np.mean(rest**2))
    if not (size > 0.0 and common > 0.0):
        return 0.0
    rows = size**2 / float((weights**2).sum())
    believed = rows / (rows + rewards * float(np.mean(rest**4)) / common**2)
    own = float((weights * rest**2).sum())
    return (believed * own + (1.0 - believed) * size * common) / len(w) ** 2


def unseen(w: FloatArray, rest: FloatArray) -> float:
    """What the variance that the rows with a weight say themselves lacks beside `noise`; never below 0."""
    return max(0.0, noise(w, rest) - float(np.square(w * rest).sum()) / len(w) ** 2)


def interval(figures: FloatArray, group: Rows, confidence: float = CONFIDENCE, unseen: float = 0.0) -> Estimate:
    """The mean of figures (n,) and its interval (95 %), where those of a group may be alike.

    Args:
        unseen: what is added to the variance of the mean.
    """
    value = float(figures.mean())
    members = np.unique(group, return_inverse=True)[1]
    n_groups = int(members.max()) + 1
    deviations = np.bincount(members, figures - value, minlength=n_groups)
    variance = float((deviations**2).sum()) / len(figures) ** 2 * n_groups / max(n_groups - 1, 1) + unseen
    return around(value, variance, confidence)


def around(value: float, variance: float, confidence: float = CONFIDENCE) -> Estimate:
    """A normal figure with its interval (95 %)."""
    reach = critical_value(confidence) * float(np.sqrt(variance))
    return Estimate(value, value - reach, value + reach)


def greedy(effects: FloatArray, eligible: NDArray[np.bool_]) -> Rows:
    """The eligible action of the largest effect (n,); 0 where none is above 0, if that is eligible; effects are (n, k)."""
    options = np.where(eligible[:, 1:], effects, -np.inf)
    best = options.argmax(axis=1) if options.shape[1] else np.zeros(len(options), dtype=np.int64)
    largest = options.max(axis=1, initial=-np.inf)
    chosen = (largest > 0.0) | (~eligible[:, 0] & np.isfinite(largest))
    return np.asarray(np.where(chosen, best + 1, 0), dtype=np.int64)


def constant(action: int, eligible: NDArray[np.bool_]) -> Rows:
    """The same action for everybody (n,), and code 0 for those for whom it is not eligible."""
    return np.where(eligible[:, action], action, 0).astype(np.int64)


def deterministic(chosen: Rows, n_actions: int) -> FloatArray:
    """Choices (n,) as probabilities (n, n_actions)."""
    return np.asarray(np.eye(n_actions)[chosen])
