"""Comparing two arms of an experiment at any time, as often as one likes: always-valid intervals, CUPED, sample ratio.

Sources: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2021), "Time-uniform central limit theory and asymptotic
confidence sequences", theorem 2.2 and equation 20; Deng, Xu, Kohavi and Walker (2013) on CUPED; Fabijan et al. (2019)
on sample ratio mismatch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from models.arrays import FloatArray

LEAST_PER_ARM = 50
LEAST_PER_SKEWNESS = 30
"""Outcomes that each arm needs before an interval is given, the latter times the outcome's squared skewness: the theory is
that of large samples, and a sample of rare outcomes is large late."""
SAMPLE_RATIO_ALPHA = 0.001
"""Below this p-value the arms do not have the shares that they should, and no effect can be told."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference of two arms' means, treated less control, and what is known of it whenever one looks."""

    estimate: float
    low: float
    high: float
    """−inf and inf while there are too few outcomes."""
    p_value: float
    """Always valid: it may be looked at every day, and the least of all looks counts."""
    n_control: int
    n_treated: int
    theta: float
    """What CUPED takes off an outcome for each unit of the covariate."""
    variance_kept: float
    """The share of the outcome's variance that CUPED leaves."""


def compare(
    outcome: FloatArray,
    treated: NDArray[np.bool_],
    share: float,
    covariate: FloatArray | None = None,
    alpha: float = 0.05,
    planned: int = 1_000,
) -> Comparison:
    """Compare two arms with an asymptotic confidence sequence for the difference of their means.

    Args:
        outcome: (n,), one figure a unit, in any order.
        treated: (n,), who is in the treated arm.
        share: the probability with which a unit is in the treated arm.
        covariate: (n,), known before a unit was exposed; not finite where it is not known, which takes nothing off.
        alpha: one minus the confidence of the interval, over all looks together.
        planned: the number of units at which the interval is to be tightest; fixed before the first look.
    """
    n, n_treated = len(outcome), int(treated.sum())
    adjusted, theta, kept = _cuped(outcome, treated, covariate)
    if min(n_treated, n - n_treated) == 0:
        return Comparison(math.nan, -math.inf, math.inf, 1.0, n - n_treated, n_treated, theta, kept)
    control_mean, treated_mean = float(adjusted[~treated].mean()), float(adjusted[treated].mean())
    # The scores of a doubly robust estimate with known propensities: their mean is the difference of the means.
    scores = (treated_mean - control_mean) + np.where(
        treated, (adjusted - treated_mean) / share, -(adjusted - control_mean) / (1.0 - share)
    )
    estimate, spread = float(scores.mean()), float(scores.std())
    if min(n_treated, n - n_treated) < least_per_arm(outcome):
        return Comparison(estimate, -math.inf, math.inf, 1.0, n - n_treated, n_treated, theta, kept)
    rho = tightest_at(planned, alpha)
    reach = spread * radius(n, rho, alpha)
    p_value = _p_value(estimate, spread, n, rho)
    return Comparison(estimate, estimate - reach, estimate + reach, p_value, n - n_treated, n_treated, theta, kept)


def least_per_arm(outcome: FloatArray) -> float:
    """How many outcomes each arm needs before an interval is given; infinite while all outcomes are the same."""
    spread = float(outcome.std())
    if spread <= 1e-12 * max(1.0, float(np.abs(outcome).max())):
        return math.inf
    skewness = float((((outcome - outcome.mean()) / spread) ** 3).mean())
    return max(LEAST_PER_ARM, LEAST_PER_SKEWNESS * skewness**2)


def radius(n: int, rho: float, alpha: float) -> float:
    """Half the width of the confidence sequence after `n` units of standard deviation 1."""
    spread = n * rho * rho + 1.0
    return math.sqrt(2.0 * spread / (n * n * rho * rho) * math.log(math.sqrt(spread) / alpha))


def tightest_at(n: int, alpha: float) -> float:
    """The `rho` with which the confidence sequence is about the tightest after `n` units."""
    return math.sqrt((-2.0 * math.log(alpha) + math.log(-2.0 * math.log(alpha)) + 1.0) / n)


def sample_ratio(counts: Sequence[int], shares: Sequence[float]) -> float:
    """The p-value of the chi-square test that arms of these shares were drawn `counts` times; 1 before anybody was."""
    expected = sum(counts) * np.asarray(shares) / sum(shares)
    if len(counts) < 2 or not expected.all():
        return 1.0
    statistic = float(((np.asarray(counts) - expected) ** 2 / expected).sum())
    return float(chi2.sf(statistic, len(counts) - 1))


def _cuped(
    outcome: FloatArray, treated: NDArray[np.bool_], covariate: FloatArray | None
) -> tuple[FloatArray, float, float]:
    """The outcome without what the covariate explains of it, the slope, and the share of the variance that is left."""
    known = np.zeros(len(outcome), dtype=np.bool_) if covariate is None else np.isfinite(covariate)
    if covariate is None or known.sum() < 2 * LEAST_PER_ARM:
        return outcome, 0.0, 1.0
    centred = np.where(known, covariate, 0.0)
    centred = np.where(known, centred - centred[known].mean(), 0.0)
    # Within arms, so that the effect itself is not taken for a slope.
    residual = outcome.astype(np.float64)
    for arm in (treated, ~treated):
        if arm.any():
            residual = np.where(arm, residual - residual[arm].mean(), residual)
    variance, explained = float((centred**2).mean()), float((centred * residual).mean())
    if variance <= 0.0:
        return outcome, 0.0, 1.0
    theta = explained / variance
    left, before = float(np.var(residual - theta * centred)), float(np.var(residual))
    return outcome - theta * centred, theta, left / before if before > 0.0 else 1.0


def _p_value(estimate: float, spread: float, n: int, rho: float) -> float:
    """The least alpha whose confidence sequence, with this `rho`, leaves out 0."""
    if spread <= 0.0:
        return 1.0 if estimate == 0.0 else 0.0
    width = n * rho * rho + 1.0
    exponent = -((n * rho * estimate / spread) ** 2) / (2.0 * width)
    return min(1.0, math.exp(0.5 * math.log(width) + exponent))
