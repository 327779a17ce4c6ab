"""From a booster's margin to a probability: affine in log-odds, so that a scorecard's points stay exact."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from models.arrays import FloatArray

# Nearest to 0 and 1 that a probability is taken for: finite log-odds (±34.5) far outside any scorecard's 0 to 100.
_EPSILON = 1e-15
# The prior of log(slope), normal around 0: margins are already log-odds, and a few hundred rows outweigh this.
_LOG_SLOPE_DEVIATION = 1.0
_LOG_SLOPE_LIMIT = 7.0
_ROUNDING = 1e-6


def logit(p: ArrayLike) -> FloatArray:
    """The log-odds of probabilities, finite for 0 and 1 too (they count as 1e-15 from the edge)."""
    p = np.clip(np.asarray(p, dtype=np.float64), _EPSILON, 1.0 - _EPSILON)
    return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float64)


def expit(log_odds: ArrayLike) -> FloatArray:
    """The probabilities of log-odds, without overflow at either end."""
    x = np.asarray(log_odds, dtype=np.float64)
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small), dtype=np.float64)


def level(log_odds: ArrayLike, rate: float) -> float:
    """What has to be added to all log-odds (n,) so that their mean probability is `rate`.

    Raises:
        ValueError: the rate is not strictly between 0 and 1.
    """
    x = np.asarray(log_odds, dtype=np.float64)
    if not 0.0 < rate < 1.0:
        raise ValueError("A level needs a rate between 0 and 1.")
    low, high = float(logit(rate) - x.max()), float(logit(rate) - x.min())
    from scipy.optimize import brentq  # here, so that serving does not load it

    def excess(added: float) -> float:
        return float(expit(x + added).mean()) - rate

    # Where all log-odds are one, both ends are the root, and rounding may put it beyond them.
    return float(brentq(excess, low - _ROUNDING, high + _ROUNDING, xtol=1e-13))


@dataclass(frozen=True, slots=True)
class Calibration:
    """`logit p = slope · margin + intercept`; a positive slope keeps the model's order of risk.

    Source: Platt (1999), Probabilistic outputs for support vector machines.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and self.slope > 0 and math.isfinite(self.intercept)):
            raise ValueError(f"A calibration needs a finite slope above 0 and a finite intercept, not {self}.")

    def raised(self, added: float) -> Calibration:
        """The same calibration, with `added` to all log-odds."""
        return replace(self, intercept=self.intercept + added)

    def log_odds(self, margin: ArrayLike) -> FloatArray:
        """Calibrated log-odds of the booster's raw margins, in float64."""
        return self.slope * np.asarray(margin, dtype=np.float64) + self.intercept

    def apply(self, margin: ArrayLike) -> FloatArray:
        """Calibrated probabilities of the booster's raw margins, in float64."""
        return expit(self.log_odds(margin))

    @classmethod
    def fit(cls, margins: ArrayLike, y: ArrayLike) -> Calibration:
        """The most probable calibration of margins that the trees did not see.

        Logistic regression of `y` on the margin with Platt's smoothed targets and a normal prior on log(slope): few
        rows, one class or separable data give a finite calibration near slope 1, and the slope is always above 0.

        Args:
            margins: (n,) raw margins, in log-odds.
            y: (n,) 0 or 1.

        Raises:
            ValueError: no rows, or margins that are not finite.
        """
        m = np.asarray(margins, dtype=np.float64)
        churned = np.asarray(y, dtype=np.float64) > 0.5
        if m.size == 0 or m.shape != churned.shape or not np.isfinite(m).all():
            raise ValueError("A calibration needs finite margins and one outcome for each.")
        n_churned = int(churned.sum())
        n_stayed = m.size - n_churned
        target = np.where(churned, (n_churned + 1.0) / (n_churned + 2.0), 1.0 / (n_stayed + 2.0))
        centre = float(m.mean())
        a, c = _most_probable(m - centre, target, start=float(logit(target.mean())))
        slope = math.exp(a)
        return cls(slope=slope, intercept=c - slope * centre)


def _most_probable(m: FloatArray, target: FloatArray, start: float) -> tuple[float, float]:
    """(log slope, intercept at the mean margin) by damped Fisher scoring on the penalised cross-entropy.

    The loss is not convex in log(slope), whose Hessian may be indefinite where Fisher's matrix never is: from the same
    start, `scipy.optimize.root` on the gradient ended where there is none in 16 of 400 draws.
    """
    precision = 1.0 / _LOG_SLOPE_DEVIATION**2
    theta = np.array([0.0, start])

    def loss(at: FloatArray) -> float:
        z = math.exp(at[0]) * m + at[1]
        return float(np.sum(np.logaddexp(0.0, z) - target * z) + 0.5 * precision * at[0] ** 2)

    current = loss(theta)
    for _ in range(100):
        slope = math.exp(theta[0])
        p = expit(slope * m + theta[1])
        residual, weight = p - target, np.maximum(p * (1.0 - p), 1e-12)
        along = slope * m
        gradient = np.array([residual @ along + precision * theta[0], residual.sum()])
        cross = weight @ along
        fisher = np.array([[weight @ along**2 + precision, cross], [cross, weight.sum()]])
        step = np.linalg.solve(fisher, gradient)
        rate = 1.0
        while rate > 1e-8:
            proposal = theta - rate * step
            proposal[0] = np.clip(proposal[0], -_LOG_SLOPE_LIMIT, _LOG_SLOPE_LIMIT)
            value = loss(proposal)
            if value <= current:
                break
            rate /= 2.0
        else:
            break
        moved = float(np.abs(proposal - theta).max())
        theta, current = proposal, value
        if moved < 1e-10:
            break
    return float(theta[0]), float(theta[1])
