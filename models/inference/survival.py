"""When, not only whether: churn by several horizons from one discrete-time hazard model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from models.inference.calibration import logit

HORIZONS = (30, 60, 90, 180)
"""The days by which churn is foretold."""
STEP = 30
"""Days of a period."""
_RIDGE = 1.0
"""The precision of a normal prior on what sets a period apart: a few hundred churners outweigh it."""
_TINY = 1e-300


def period_ends(horizon_days: int, *, silent: bool) -> tuple[int, ...]:
    """Where the periods of a business with this horizon end: every 30 days to 180, and at the horizon itself.

    Args:
        silent: churn is silence for the horizon, which nothing shorter can tell: the first period ends there.
    """
    ends = sorted({*range(STEP, max(HORIZONS) + 1, STEP), horizon_days})
    return tuple(end for end in ends if end >= horizon_days or not silent)


@dataclass(frozen=True, slots=True)
class _Figures:
    """What an answer is computed from, as arrays."""

    start: FloatArray
    """The log of each period's part at a log-odds of 0."""
    slope: FloatArray
    lengths: FloatArray
    own: int
    """The period that ends at the business's own horizon."""
    asked: NDArray[np.intp]
    """The periods that end at the horizons that are foretold."""


@dataclass(frozen=True, slots=True)
class Hazard:
    """A discrete-time proportional hazards model whose survival at the business's own horizon is the headline's.

    The headline, p within `horizon_days`, is a cumulative hazard Λ = −log(1 − p). The model shares it out: a period's part
    is proportional to `length · exp(intercept + slope · (logit p − centre))`, and the parts up to `horizon_days` sum to Λ,
    so that 1 − exp(−Λ) is p itself there. Parts are positive, so that probabilities rise with the horizon whatever the
    figures are. Beyond `low` and `high`, logits that hardly a customer of the training rows had, shares stay as they are.

    With `silent`, churn is silence for the horizon: it is complete `horizon_days` from now at the earliest, when all of
    the headline's mass falls due, and days before are certain to be survived.

    Sources: Prentice and Gloeckler (1978), Regression analysis of grouped survival data (complementary log-log link);
    Royston and Parmar (2013), Restricted mean survival time.
    """

    horizon_days: int
    ends: tuple[int, ...]
    intercept: tuple[float, ...]
    slope: tuple[float, ...]
    centre: float
    low: float
    high: float
    silent: bool = False
    _figures: _Figures = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip((0, *self.ends), self.ends, strict=False))
        whole = len(self.ends) == len(self.intercept) == len(self.slope)
        figures = (*self.intercept, *self.slope, self.centre, self.low, self.high)
        if not (rising and whole and self.horizon_days in self.ends and self.low <= self.high):
            raise ValueError("A hazard model needs rising periods, the horizon among their ends, and figures for each.")
        if not np.isfinite(figures).all():
            raise ValueError("A hazard model's figures must be finite.")
        ends = np.array(self.ends, dtype=np.float64)
        lengths = np.diff(ends, prepend=0.0)
        own = self.ends.index(self.horizon_days)
        asked = np.array([self.ends.index(days) for days in self.days], dtype=np.intp)
        slope = np.array(self.slope)
        start = np.log(lengths) + np.array(self.intercept) - slope * self.centre
        object.__setattr__(self, "_figures", _Figures(start, slope, lengths, own, asked))

    @property
    def days(self) -> tuple[int, ...]:
        """The horizons that are foretold: those of 30, 60, 90 and 180 that the definition of churn can tell."""
        return tuple(days for days in HORIZONS if days in self.ends)

    @property
    def limit_days(self) -> int:
        """The days up to which an expected time counts."""
        return self.ends[-1]

    def outlook(self, p: FloatArray, log_odds: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Probabilities (n, len(days)) and expected days (n,) to churn, of calibrated probabilities (n,) with their log-odds.

        The expected time is the restricted mean: a customer who stays longer than `limit_days` counts with those.
        """
        figures = self._figures
        own = figures.own
        z = np.minimum(np.maximum(log_odds, self.low), self.high)
        shares = np.exp(figures.start + figures.slope * z[:, None]).cumsum(axis=1)
        # −log(1 − p) from the log-odds, finite for a p of 1 too.
        whole = np.logaddexp(0.0, log_odds)
        cumulative = shares * (whole / shares[:, own])[:, None]
        within = -np.expm1(-cumulative)
        # The headline itself, to the last bit, and nothing on the wrong side of it by rounding.
        headline = p[:, None]
        within[:, : own + 1] = np.minimum(within[:, : own + 1], headline)
        within[:, own:] = np.maximum(within[:, own:], headline)
        return within[:, figures.asked], self._expected(cumulative, figures.lengths)

    def _expected(self, cumulative: FloatArray, lengths: FloatArray) -> FloatArray:
        """The area (n,) under each survival curve, whose hazard is constant within a period."""
        part = np.maximum(np.diff(cumulative, axis=1, prepend=0.0), 1e-12)
        entered = np.exp(-np.concatenate([np.zeros((len(cumulative), 1)), cumulative[:, :-1]], axis=1))
        area = lengths * entered * (-np.expm1(-part) / part)
        if self.silent:
            area[:, 0] = lengths[0]
        return np.asarray(area.cumsum(axis=1)[:, -1], dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """This model as plain JSON."""
        return {
            "horizon_days": self.horizon_days,
            "ends": list(self.ends),
            "intercept": list(self.intercept),
            "slope": list(self.slope),
            "centre": self.centre,
            "low": self.low,
            "high": self.high,
            "silent": self.silent,
        }

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Hazard:
        """The model that `to_json` wrote."""
        return cls(
            horizon_days=int(content["horizon_days"]),
            ends=tuple(int(end) for end in content["ends"]),
            intercept=tuple(float(figure) for figure in content["intercept"]),
            slope=tuple(float(figure) for figure in content["slope"]),
            centre=float(content["centre"]),
            low=float(content["low"]),
            high=float(content["high"]),
            silent=bool(content["silent"]),
        )

    @classmethod
    def fit(
        cls,
        p: FloatArray,
        when: FloatArray,
        known: FloatArray,
        horizon_days: int,
        *,
        silent: bool = False,
    ) -> Hazard:
        """The most probable model of customers who were watched for some time, and of whom some left.

        A customer counts in every period that was watched to its end and that they entered: those whose time is cut off
        count up to there (they are censored), and a period in which nobody left, or that nobody was watched through,
        keeps the shape that the headline has.

        Args:
            p: (n,) headline probabilities by models that were fitted without the row.
            when: (n,) days until churn, infinite where none was seen.
            known: (n,) days that the customer was watched.
            silent: see `period_ends`; `when` is then the day on which the silence was complete.
        """
        ends = period_ends(horizon_days, silent=silent)
        z = logit(p)
        centre = float(z.mean())
        low, high = (float(edge) for edge in np.quantile(z, [0.005, 0.995]))
        rows, period, left = person_periods(when, known, ends, silent=silent)
        lengths = np.diff(np.array(ends, dtype=np.float64), prepend=0.0)
        offset = np.log(np.logaddexp(0.0, z)[rows] * lengths[period] / horizon_days + _TINY)
        intercept, slope = _most_probable(np.clip(z, low, high)[rows] - centre, offset, period, left, len(ends))
        return cls(
            horizon_days=horizon_days,
            ends=ends,
            intercept=tuple(intercept.tolist()),
            slope=tuple(slope.tolist()),
            centre=centre,
            low=low,
            high=high,
            silent=silent,
        )


def person_periods(
    when: FloatArray, known: FloatArray, ends: Sequence[int], *, silent: bool = False
) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray]:
    """Row, period and whether the customer left in it (0 or 1), of each period that was entered and watched to its end.

    A day of leaving belongs to the period that it lies before the end of: an outcome window leaves its last moment out.
    A silence that is complete at the very end of a period, as the earliest one is, belongs to it.
    """
    rows, periods, lefts = [], [], []
    start = 0.0
    for period, end in enumerate(ends):
        entered = (when > start) | (start == 0.0) if silent else when >= start
        at = np.flatnonzero((known >= end) & entered)
        rows.append(at)
        periods.append(np.full(len(at), period, dtype=np.intp))
        lefts.append((when[at] <= end if silent else when[at] < end).astype(np.float64))
        start = float(end)
    return np.concatenate(rows), np.concatenate(periods), np.concatenate(lefts)


def _most_probable(
    z: FloatArray, offset: FloatArray, period: NDArray[np.intp], left: FloatArray, periods: int
) -> tuple[FloatArray, FloatArray]:
    """Intercepts and slopes (periods,) by penalised maximum likelihood under the complementary log-log link."""

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        intercept, slope = theta[:periods], theta[periods:]
        hazard = np.exp(np.minimum(offset + intercept[period] + slope[period] * z, 30.0))
        within = -np.expm1(-hazard)
        stays = left == 0.0
        likelihood = np.where(stays, -hazard, np.log(np.maximum(within, _TINY)))
        pull = np.where(stays, -hazard, hazard * np.exp(-hazard) / np.maximum(within, _TINY))
        gradient = np.concatenate([np.bincount(period, pull, periods), np.bincount(period, pull * z, periods)])
        return float(-likelihood.sum() + 0.5 * _RIDGE * theta @ theta), _RIDGE * theta - gradient

    from scipy.optimize import minimize  # here, so that serving does not load it

    found = minimize(loss, np.zeros(2 * periods), jac=True, method="L-BFGS-B").x
    return np.asarray(found[:periods]), np.asarray(found[periods:])
