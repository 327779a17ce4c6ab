"""A logistic regression whose every term is a step function of one feature, so that it can be served as trees."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from models.arrays import FloatArray
from models.explanation.lightgbm_reader import ZERO_THRESHOLD

BINS = 64
# Beyond what training rows had, the line goes on in so many steps on either side, as far again as the range is wide.
BEYOND = 16
# A level of fewer rows has no term of its own: it counts as one that was never seen.
RARE = 10
MOST_LEVELS = 100
# What is further out than these quantiles of a feature does not say how wide its range is.
_TAIL = 0.001
# Steps of one feature that differ by less, in log-odds, are one: they only cost time to explain.
_SAME = 0.01
_MOST_ITERATIONS = 100
# Of the gradient, where the search for the most likely weights ends: log-odds are then right to some 0.0003.
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Steps:
    """What one feature adds to the log-odds: `values[i]` up to and including `thresholds[i]`, the last value above them all.

    `missing` is added where the feature is NaN. `counts` are the training rows of each step, and last of the missing ones.
    """

    feature: int
    thresholds: FloatArray
    values: FloatArray
    missing: float
    counts: NDArray[np.int64]

    def of(self, column: NDArray[np.float32]) -> FloatArray:
        """The log-odds (n,) that the feature's values add."""
        x = column.astype(np.float64)
        x[np.abs(x) <= ZERO_THRESHOLD] = 0.0
        added = self.values[np.searchsorted(self.thresholds, x, side="left").clip(max=len(self.thresholds))]
        return np.where(np.isnan(x), self.missing, added)


@dataclass(frozen=True, slots=True)
class LinearPart:
    """`margin = intercept + Σ steps`, in log-odds; features without effect have no steps."""

    intercept: float
    steps: tuple[Steps, ...]

    @property
    def leaves(self) -> int:
        """Of the trees that it is served as."""
        return sum(len(steps.values) + 1 for steps in self.steps)

    def margins(self, X: NDArray[np.float32]) -> FloatArray:
        """The log-odds (n,) of rows (n, d)."""
        margins = np.full(len(X), self.intercept)
        for steps in self.steps:
            margins += steps.of(X[:, steps.feature])
        return margins

    def times(self, share: float) -> LinearPart:
        """The same part with a share of its effect."""
        return LinearPart(
            share * self.intercept,
            tuple(replace(s, values=share * s.values, missing=share * s.missing) for s in self.steps),
        )

    @classmethod
    def fit(
        cls,
        X: NDArray[np.float32],
        y: NDArray[np.int64],
        *,
        penalty: float = 1.0,
        words: Collection[int] = (),
        directions: Sequence[int] | None = None,
    ) -> LinearPart:
        """Fit by penalised maximum likelihood.

        A number enters as the centre of its bin (at most 64, equally full), on a logarithmic scale where that is less
        skewed, in units of its standard deviation; beyond its range it goes on in a straight line, as far again as the
        range is wide. A missing number, and each frequent level of a word, have a term of their own.

        Args:
            X: (n, d); NaN is missing.
            y: (n,) 0 or 1, both present.
            penalty: L2 penalty on the terms, a prior of as many standard deviations of one divided by it.
            words: columns that hold levels, not numbers.
            directions: (d,) +1 or −1 where a number must not work the other way, else 0.
        """
        scales = [_Levels.of(X[:, j]) if j in words else _Numbers.of(X[:, j]) for j in range(X.shape[1])]
        terms = [scale.terms(X[:, j]) for j, scale in enumerate(scales)]
        used = np.ones(X.shape[1], dtype=bool)
        while True:
            width = [term.shape[1] if keep else 0 for term, keep in zip(terms, used, strict=True)]
            kept = [term for term, keep in zip(terms, used, strict=True) if keep]
            weights, intercept = _most_likely(kept, y, penalty)
            parts = np.split(weights, np.cumsum(width)[:-1])
            wrong = [
                j
                for j, part in enumerate(parts)
                if directions is not None
                and directions[j]
                and j not in words
                and len(part)
                and part[0] * directions[j] < 0
            ]
            if not wrong:
                break
            # A number that would work against its declared direction says nothing that may be used: it is left out.
            used[wrong] = False
        steps = []
        for j, (scale, part) in enumerate(zip(scales, parts, strict=True)):
            if not len(part):
                continue
            made = scale.steps(j, X[:, j], part)
            # Centred, so that the intercept is the log-odds of a customer about whom nothing stands out.
            mean = float(np.average(np.append(made.values, made.missing), weights=made.counts))
            centred = _merged(Steps(j, made.thresholds, made.values - mean, made.missing - mean, made.counts))
            intercept += mean
            if max(np.abs(centred.values).max(), abs(centred.missing)) >= _SAME:
                steps.append(centred)
        return cls(intercept, tuple(steps))


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A number's bins: thresholds on its own scale, centres in standard deviations."""

    thresholds: FloatArray
    centres: FloatArray
    has_missing: bool

    @classmethod
    def of(cls, column: NDArray[np.float32]) -> _Numbers:
        known = column[~np.isnan(column)].astype(np.float64)
        has_missing = len(column) - len(known) >= RARE
        if not len(known) or known.min() == known.max():
            return cls(np.empty(0), np.zeros(1), has_missing)
        logarithmic = abs(_skewness(_log(known))) < 0.5 * abs(_skewness(known))
        scaled = _log(known) if logarithmic else known
        low, high = np.quantile(scaled, [_TAIL, 1.0 - _TAIL])
        if low == high:
            low, high = float(scaled.min()), float(scaled.max())
        width = high - low
        edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS, method="lower"))
        distinct = np.unique(known)
        if len(distinct) <= BINS:
            edges = distinct[:-1]
        edges = edges[edges < distinct[-1]]
        following = distinct[np.searchsorted(distinct, edges, side="right")]
        inner = (edges + following) / 2.0
        number = np.searchsorted(inner, known, side="left")
        centres = np.bincount(number, weights=scaled, minlength=len(inner) + 1) / np.bincount(
            number, minlength=len(inner) + 1
        )
        step = width / BEYOND
        out = step * np.arange(1, BEYOND + 1)
        top, bottom = max(high, scaled.max()), min(low, scaled.min())
        above = top + out[top + out <= high + width]
        below = (bottom - out[bottom - out >= low - width])[::-1]
        if known.min() >= 0.0:
            below = below[below >= 0.0]
        unscale = _unlog if logarithmic else np.asarray
        thresholds = np.concatenate([unscale(below + step / 2.0), inner, unscale(above - step / 2.0)])
        every = np.concatenate([below, centres, above]).clip(low - width, high + width)
        mean, deviation = scaled.clip(low - width, high + width).mean(), scaled.clip(low - width, high + width).std()
        return cls(thresholds, (every - mean) / deviation, has_missing)

    def terms(self, column: NDArray[np.float32]) -> sparse.csc_array:
        missing = np.isnan(column)
        value = np.where(missing, 0.0, self.centres[self._bin(column)])
        return sparse.csc_array(np.column_stack([value, missing]) if self.has_missing else value[:, None])

    def steps(self, feature: int, column: NDArray[np.float32], weights: FloatArray) -> Steps:
        missing = np.isnan(column)
        counts = np.bincount(self._bin(column[~missing]), minlength=len(self.centres))
        return Steps(
            feature,
            self.thresholds,
            self.centres * weights[0],
            float(weights[1]) if self.has_missing else 0.0,
            np.append(counts, missing.sum()),
        )

    def _bin(self, column: NDArray[np.float32]) -> NDArray[np.intp]:
        return np.searchsorted(self.thresholds, column.astype(np.float64), side="left").clip(max=len(self.thresholds))


@dataclass(frozen=True, slots=True)
class _Levels:
    """A word's levels, coded 0, 1, …; the frequent ones have a term each, and so have missing ones."""

    frequent: NDArray[np.int64]
    n_levels: int
    has_missing: bool

    @classmethod
    def of(cls, column: NDArray[np.float32]) -> _Levels:
        known = column[~np.isnan(column)].astype(np.int64)
        counts = np.bincount(known)
        order = np.argsort(-counts, kind="stable")[:MOST_LEVELS]
        return cls(np.sort(order[counts[order] >= RARE]), max(len(counts), 1), len(column) - len(known) >= RARE)

    def terms(self, column: NDArray[np.float32]) -> sparse.csc_array:
        place = np.full(self.n_levels + 1, -1)
        place[self.frequent] = np.arange(len(self.frequent))
        missing = np.isnan(column)
        if self.has_missing:
            place[-1] = len(self.frequent)
        term = place[np.where(missing, -1, column).astype(np.int64)]
        rows = np.flatnonzero(term >= 0)
        shape = (len(column), len(self.frequent) + self.has_missing)
        return sparse.csc_array((np.ones(len(rows)), (rows, term[rows])), shape=shape)

    def steps(self, feature: int, column: NDArray[np.float32], weights: FloatArray) -> Steps:
        values = np.zeros(self.n_levels)
        values[self.frequent] = weights[: len(self.frequent)]
        missing = np.isnan(column)
        counts = np.bincount(column[~missing].astype(np.int64), minlength=self.n_levels)
        return Steps(
            feature,
            np.arange(self.n_levels - 1, dtype=np.float64) + 0.5,
            values,
            float(weights[-1]) if self.has_missing else 0.0,
            np.append(counts, missing.sum()),
        )


def _most_likely(terms: Sequence[sparse.csc_array], y: NDArray[np.int64], penalty: float) -> tuple[FloatArray, float]:
    """Weights of all terms, and the intercept; sparse, since each row has one level of a word, of perhaps hundreds."""
    if not sum(term.shape[1] for term in terms):
        return np.empty(0), float(np.log(y.mean() / (1.0 - y.mean())))
    # One thread: sums in another order would give another last digit, and with it another bundle.
    with threadpool_limits(1):
        model = LogisticRegression(C=1.0 / penalty, solver="newton-cg", tol=_TOLERANCE, max_iter=_MOST_ITERATIONS)
        model.fit(sparse.hstack(terms, format="csr"), y)
    return np.asarray(model.coef_[0], dtype=np.float64), float(model.intercept_[0])


def _merged(steps: Steps) -> Steps:
    """Neighbouring steps of nearly one height as one step of their rows' mean height."""
    weight = np.maximum(steps.counts[:-1], 1)
    groups: list[tuple[int, int]] = []
    first = 0
    for i in range(1, len(steps.values) + 1):
        if i == len(steps.values) or np.ptp(steps.values[first : i + 1]) > _SAME:
            groups.append((first, i))
            first = i
    values = [float(np.average(steps.values[a:b], weights=weight[a:b])) for a, b in groups]
    counts = [int(steps.counts[a:b].sum()) for a, b in groups]
    return Steps(
        steps.feature,
        np.asarray([steps.thresholds[b - 1] for _, b in groups[:-1]], dtype=np.float64),
        np.asarray(values, dtype=np.float64),
        steps.missing,
        np.asarray([*counts, steps.counts[-1]], dtype=np.int64),
    )


def _skewness(x: FloatArray) -> float:
    deviation = x - x.mean()
    spread = float(np.mean(deviation**2))
    return float(np.mean(deviation**3)) / spread**1.5 if spread > 0 else 0.0


def _log(x: FloatArray) -> FloatArray:
    return np.asarray(np.sign(x) * np.log1p(np.abs(x)))


def _unlog(x: FloatArray) -> FloatArray:
    return np.asarray(np.sign(x) * np.expm1(np.abs(x)))
