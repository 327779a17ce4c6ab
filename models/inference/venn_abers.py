"""How sure a probability is: an interval for the churn rate among customers with the same score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.arrays import FloatArray
from models.inference.calibration import expit, logit
from models.inference.interval import Z95

LEVEL = 0.95
MOST_STEPS = 96
"""How many scores the bounds are kept at: between them they are straight in log-odds."""
DRAWS = 200


@dataclass(frozen=True, slots=True)
class ProbabilityInterval:
    """The bounds of the churn rate among customers with a score, as two rising functions of its log-odds.

    At `log_odds` (rising, at most 96) the bounds are the resampled Venn–Abers predictions: p0, the isotonic rate if one
    more customer with this score had stayed, and p1, if one more had left. `low` is the lower 2.5 % point of p0 and
    `high` the upper one of p1 over bootstrap samples of customers. A calibrated probability that lies outside of what
    the labelled rows say widens its own interval, which therefore always holds it.

    Source: Vovk, Petej and Fedorova (2015), Large-scale probabilistic predictors with and without guarantees of validity.
    """

    log_odds: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    level: float = LEVEL
    _knots: tuple[FloatArray, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        knots = tuple(np.asarray(side, dtype=np.float64) for side in (self.log_odds, self.low, self.high))
        at, low, high = knots
        rising = all((np.diff(side) >= 0).all() for side in knots)
        if not (0 < len(at) == len(low) == len(high) and rising and (low <= high).all()):
            raise ValueError("An interval needs rising bounds at rising scores, the lower below the upper.")
        if not (np.isfinite(at).all() and low[0] >= 0.0 and high[-1] <= 1.0):
            raise ValueError("An interval's scores must be finite and its bounds between 0 and 1.")
        object.__setattr__(self, "_knots", knots)

    def bounds(self, p: FloatArray, log_odds: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The lower and upper bounds (n,) of calibrated probabilities (n,), given with their log-odds."""
        at, low, high = self._knots
        return np.minimum(np.interp(log_odds, at, low), p), np.maximum(np.interp(log_odds, at, high), p)

    def widened(self, deviation: float) -> ProbabilityInterval:
        """The bounds where the level of all rates is in doubt too, by an independent error of this deviation in log-odds."""
        at = np.array(self.log_odds)
        margin = Z95 * deviation
        below, above = (np.maximum(side, 0.0) for side in (at - logit(self.low), logit(self.high) - at))
        low = expit(logit(self.low) + below - np.hypot(below, margin))
        high = expit(logit(self.high) - above + np.hypot(above, margin))
        # A bound at 0 or 1 has no finite log-odds, and stays there.
        low = np.maximum.accumulate(np.minimum(low, self.low))
        high = np.maximum.accumulate(np.maximum(high, self.high))
        return replace(self, low=tuple(low.tolist()), high=tuple(high.tolist()))

    def to_json(self) -> dict[str, Any]:
        """This interval as plain JSON."""
        return {
            "log_odds": list(self.log_odds),
            "low": list(self.low),
            "high": list(self.high),
            "level": self.level,
        }

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> ProbabilityInterval:
        """The interval that `to_json` wrote."""
        at, low, high = (tuple(map(float, content[name])) for name in ("log_odds", "low", "high"))
        return cls(at, low, high, float(content["level"]))

    @classmethod
    def fit(
        cls, p: ArrayLike, y: ArrayLike, groups: ArrayLike, rng: np.random.Generator, draws: int = DRAWS
    ) -> ProbabilityInterval:
        """The interval that labelled rows determine which the model did not see.

        Args:
            p: (n,) calibrated probabilities by models that were fitted without the row.
            y: (n,) 0 or 1.
            groups: (n,) who a row belongs to: the rows of one customer are resampled together.

        Raises:
            ValueError: no rows, or shapes that differ.
        """
        z, churned = logit(p), np.asarray(y, dtype=np.float64)
        _, group = np.unique(np.asarray(groups), return_inverse=True)
        if z.ndim != 1 or z.size == 0 or z.shape != churned.shape or z.shape != group.shape:
            raise ValueError("An interval needs rows, with one outcome and one group each.")
        step, at = _steps(z)
        rows, left = np.zeros((draws, len(at))), np.zeros((draws, len(at)))
        people = int(group.max()) + 1
        for draw in range(draws):
            weight = np.bincount(rng.integers(0, people, people), minlength=people)[group].astype(np.float64)
            rows[draw] = np.bincount(step, weight, len(at))
            left[draw] = np.bincount(step, weight * churned, len(at))
        p0, p1 = venn_abers(rows, left)
        tail = (1.0 - LEVEL) / 2.0
        low = np.maximum.accumulate(np.quantile(p0, tail, axis=0))
        high = np.maximum.accumulate(np.quantile(p1, 1.0 - tail, axis=0))
        return cls(tuple(at.tolist()), tuple(low.tolist()), tuple(np.maximum(low, high).tolist()))


def venn_abers(rows: FloatArray, churned: FloatArray) -> tuple[FloatArray, FloatArray]:
    """p0 and p1 (samples, steps): the isotonic rate of each step with one more row there, which stayed or churned.

    By the minimax formula of isotonic regression: the largest, over starts before the step, of the smallest rate, over
    ends after it, of the rows between.

    Args:
        rows: (samples, steps) how many rows each step of rising scores has, 0 allowed.
        churned: (samples, steps) how many of them churned.
    """
    samples, steps = rows.shape
    before = np.zeros((samples, 1))
    n = np.concatenate([before, rows.cumsum(axis=1)], axis=1)
    k = np.concatenate([before, churned.cumsum(axis=1)], axis=1)
    p0, p1 = np.empty((samples, steps)), np.empty((samples, steps))
    for step in range(steps):
        size = n[:, None, step + 1 :] - n[:, : step + 1, None] + 1.0
        count = k[:, None, step + 1 :] - k[:, : step + 1, None]
        p0[:, step] = (count / size).min(axis=2).max(axis=1)
        p1[:, step] = ((count + 1.0) / size).min(axis=2).max(axis=1)
    return p0, p1


def _steps(z: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
    """The step of each row, of about equally many rows and equal scores in one, and the mean score of each step."""
    distinct, place, count = np.unique(z, return_inverse=True, return_counts=True)
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    of_score = np.unique(first * min(MOST_STEPS, len(distinct)) // z.size, return_inverse=True)[1]
    step = of_score[place]
    sums = np.bincount(step, z)
    # A mean may leave the step's own scores by an ulp, which would be no order.
    at = np.maximum.accumulate(sums / np.bincount(step))
    return step, at
