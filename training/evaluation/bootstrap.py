"""How far figures could be off: rows are drawn again and again, whole customers at a time, and measured each time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.arrays import FloatArray, Rows
from models.inference.calibration import expit
from models.inference.interval import Interval
from training.evaluation.metrics import calibration_slope, measure, row_losses

SEED = 42
MOST_DRAWS = 400
FEWEST_DRAWS = 100
# So many rows are measured over all draws; a million of them take about a tenth of a second.
ROWS_MEASURED = 40_000_000
LEVEL = 0.95
AT_K = "precision_at_k"
FIGURES = (
    "auc", "average_precision", "log_loss", "brier", "ece", "calibration_slope", "lift_at_10", AT_K,
)  # fmt: skip
_ECE = FIGURES.index("ece")
_BINS = 10


@dataclass(frozen=True, slots=True)
class Difference:
    """One model's figure minus another's on the same rows, with its interval; `better` is None where it may be chance."""

    figure: float
    interval: Interval
    better: bool | None

    def to_json(self) -> dict[str, object]:
        """The three by name."""
        return {"difference": self.figure, "interval": self.interval.to_json(), "better": self.better}


class Ranked:
    """Rows by falling probability, prepared so that one weighting of them is measured in a few passes.

    Args:
        y: outcomes, 0 or 1, shape (n,).
        p: probabilities, shape (n,).
        k: rows that are taken from the top for `precision_at_k`.
        slope: whether the calibration slope is wanted, which takes as long as all the others.
    """

    def __init__(self, y: npt.ArrayLike, p: npt.ArrayLike, k: int, *, slope: bool = True) -> None:
        outcome, probability = np.asarray(y, dtype=np.float64), np.asarray(p, dtype=np.float64)
        self._order = np.argsort(-probability, kind="stable")
        self._y, self._p = outcome[self._order], probability[self._order]
        self._loss = row_losses(outcome, probability)[self._order]
        self._off = (self._p - self._y) ** 2
        self._starts = np.flatnonzero(np.r_[True, self._p[1:] != self._p[:-1]])
        clipped = np.clip(self._p, 1e-12, 1.0 - 1e-12)
        self._margin = np.log(clipped) - np.log1p(-clipped)
        self._slope = _fitted(outcome, probability) if slope else None
        self._k = k

    def measure(self, weight: FloatArray) -> FloatArray:
        """The figures named in `FIGURES`, with each row counted `weight` times, shape (n,); NaN where undefined."""
        w = weight[self._order]
        wy = w * self._y
        total, churned = float(w.sum()), float(wy.sum())
        if not 0.0 < churned < total:
            return np.full(len(FIGURES), np.nan)
        rows = np.add.reduceat(w, self._starts)
        positive = np.add.reduceat(wy, self._starts)
        mass = np.add.reduceat(w * self._p, self._starts)
        above, above_positive = np.cumsum(rows), np.cumsum(positive)
        negative = rows - positive
        auc = float(negative @ (above_positive - 0.5 * positive)) / (churned * (total - churned))
        precision = np.divide(above_positive, above, out=np.zeros_like(above), where=above > 0)
        ends, gains = np.r_[0.0, above], np.r_[0.0, above_positive]
        top = float(max(1, math.ceil(0.1 * total)))
        return np.array(
            [
                auc,
                float(positive @ precision) / churned,
                float(w @ self._loss) / total,
                float(w @ self._off) / total,
                self._ece(ends, gains, np.r_[0.0, np.cumsum(mass)]),
                self._calibration_slope(w, wy),
                float(np.interp(top, ends, gains)) / top / (churned / total),
                float(np.interp(min(self._k, total), ends, gains)) / min(self._k, total),
            ]
        )

    @staticmethod
    def _ece(ends: FloatArray, gains: FloatArray, mass: FloatArray) -> float:
        """Over ten parts of equal weight; rows of equal probability that straddle an edge are divided."""
        edges = np.linspace(0.0, ends[-1], _BINS + 1)
        off = np.diff(np.interp(edges, ends, mass)) - np.diff(np.interp(edges, ends, gains))
        return float(np.abs(off).sum() / ends[-1])

    def _calibration_slope(self, w: FloatArray, wy: FloatArray) -> float:
        if self._slope is None:
            return math.nan
        slope, intercept = self._slope
        x = self._margin
        # From where all rows together end, two steps of Newton come within a thousandth of where they would.
        for _ in range(2):
            fitted = expit(slope * x + intercept)
            rest = wy - w * fitted
            curve = w * fitted * (1.0 - fitted)
            xx, x1, one = float(curve @ (x * x)), float(curve @ x), float(curve.sum())
            determinant = xx * one - x1 * x1
            if determinant <= 1e-12 * xx * one:
                return math.nan
            along, across = float(rest @ x), float(rest.sum())
            slope += (one * along - x1 * across) / determinant
            intercept += (xx * across - x1 * along) / determinant
        return slope


def resampled(models: Mapping[str, Ranked], groups: Rows, draws: int | None = None) -> dict[str, FloatArray]:
    """Every model's figures in each draw, shape (draws, figures); all models see the same draws.

    Args:
        groups: rows that belong together, a customer's say, shape (n,); a draw has all of a group or none.
        draws: by default 400, fewer for very many rows.
    """
    _, group = np.unique(groups, return_inverse=True)
    many = int(group.max()) + 1
    if draws is None:
        draws = int(np.clip(ROWS_MEASURED // (len(group) * max(1, len(models))), FEWEST_DRAWS, MOST_DRAWS))
    rng = np.random.default_rng(SEED)
    figures: dict[str, list[FloatArray]] = {name: [] for name in models}
    for _ in range(draws):
        weight = np.bincount(rng.integers(0, many, many), minlength=many).astype(np.float64)[group]
        for name, model in models.items():
            figures[name].append(model.measure(weight))
    return {name: np.vstack(drawn) for name, drawn in figures.items()}


def intervals(y: npt.ArrayLike, p: npt.ArrayLike, draws: FloatArray, k: int) -> dict[str, Interval | None]:
    """The 95 % interval of each figure; None where a figure is not defined (Efron and Tibshirani 1993, percentile).

    Drawn rows look worse calibrated than the rows they come from by as much as those look than the truth, so the ECE's
    interval is mirrored at the figure ("basic"), and no lower than 0.
    """
    own = figures_of(y, p, k)
    found: dict[str, Interval | None] = {}
    for position, name in enumerate(FIGURES):
        column, figure = draws[:, position], own[name]
        column = column[np.isfinite(column)]
        if figure is None or len(column) < 0.9 * len(draws):
            found[name] = None
            continue
        low, high = np.quantile(column, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
        if position == _ECE:
            low, high = max(0.0, 2.0 * figure - high), max(2.0 * figure - low, 0.0)
        found[name] = Interval(min(float(low), figure), max(float(high), figure))
    return found


def figures_of(y: npt.ArrayLike, p: npt.ArrayLike, k: int) -> dict[str, float | None]:
    """The figures themselves, `precision_at_k` among them."""
    outcome = np.asarray(y)
    at_k = float(Ranked(y, p, k).measure(np.ones(len(outcome)))[-1])
    return {**measure(y, p).to_json(), AT_K: at_k}


def difference(name: str, own: float, other: float, draws: FloatArray, draws_of_other: FloatArray) -> Difference:
    """`own − other` with its paired interval, and which is better.

    Args:
        draws: one figure in each draw, shape (draws,), and the other model's in the same draws.
    """
    apart = draws - draws_of_other
    apart = apart[np.isfinite(apart)]
    if not len(apart):
        return Difference(own - other, Interval(-math.inf, math.inf), None)
    low, high = np.quantile(apart, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    interval = Interval(float(low), float(high))
    sign = -1.0 if name in LOWER_IS_BETTER else 1.0
    return Difference(own - other, interval, bool(sign * (own - other) > 0) if interval.excludes(0.0) else None)


LOWER_IS_BETTER = frozenset({"log_loss", "brier", "ece"})


def _fitted(y: FloatArray, p: FloatArray) -> tuple[float, float] | None:
    slope = calibration_slope(y, p)
    if slope is None:
        return None
    clipped = np.clip(p, 1e-12, 1.0 - 1e-12)
    x = slope * (np.log(clipped) - np.log1p(-clipped))
    intercept = 0.0
    for _ in range(50):
        fitted = expit(x + intercept)
        curve = float((fitted * (1.0 - fitted)).sum())
        if curve < 1e-12:
            return None
        step = float((y - fitted).sum()) / curve
        intercept += float(np.clip(step, -5.0, 5.0))
        if abs(step) < 1e-9:
            break
    return slope, intercept
