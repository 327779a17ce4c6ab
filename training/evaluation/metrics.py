"""How good probabilities are, against what happened and against two baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import root
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from models.arrays import FloatArray
from models.inference.calibration import expit, logit

BINS = 10
DRAWS = 500
SEED = 42


@dataclass(frozen=True, slots=True)
class Metrics:
    """Seven figures of one set of probabilities; a figure that is not defined for them (a slope of constants) is None."""

    auc: float
    average_precision: float
    log_loss: float
    brier: float
    ece: float
    calibration_slope: float | None
    lift_at_10: float

    def to_json(self) -> dict[str, float | None]:
        """The figures by name, as the report of a run has them."""
        return {
            "auc": self.auc,
            "average_precision": self.average_precision,
            "log_loss": self.log_loss,
            "brier": self.brier,
            "ece": self.ece,
            "calibration_slope": self.calibration_slope,
            "lift_at_10": self.lift_at_10,
        }


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """One of ten equally full bins: mean predicted probability, observed churn rate, rows."""

    predicted: float
    observed: float
    rows: int


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """The model's metrics and its baselines', all on the same rows, none of which a fitted part had seen."""

    metrics: Metrics
    baselines: Mapping[str, Metrics]
    ece_of_chance: float
    """What perfect probabilities of the same spread would show on as many rows, at the 95th percentile."""
    calibration: Sequence[CalibrationBin]


def expected_calibration_error(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """The mean over 10 equal-count bins, by rows, of |mean probability − churn rate| (Naeini et al. 2015, equal mass)."""
    bins = calibration_bins(y, p)
    rows = sum(b.rows for b in bins)
    return sum(b.rows * abs(b.predicted - b.observed) for b in bins) / rows


def calibration_bins(y: npt.ArrayLike, p: npt.ArrayLike) -> tuple[CalibrationBin, ...]:
    """Rows by probability in 10 equally full bins; rows of equal probability share their mean outcome.

    Sharing makes the bins independent of the rows' order: without it, the outcomes of a constant prediction would be
    dealt to bins as they lie in the file.
    """
    probability = np.asarray(p, dtype=np.float64)
    _, group = np.unique(probability, return_inverse=True)
    shared = (np.bincount(group, weights=np.asarray(y, dtype=np.float64)) / np.bincount(group))[group]
    order = np.argsort(probability, kind="stable")
    return tuple(
        CalibrationBin(float(probability[rows].mean()), float(shared[rows].mean()), len(rows))
        for rows in np.array_split(order, BINS)
        if len(rows)
    )


def ece_of_chance(p: npt.ArrayLike) -> float:
    """The ECE that perfect probabilities show by chance: the 95th percentile over 500 draws of outcomes from `p`.

    Args:
        p: probabilities, shape (n,); few rows, or probabilities near one half, give more.
    """
    ordered = np.sort(np.asarray(p, dtype=np.float64))
    rng = np.random.default_rng(SEED)
    parts = [part for part in np.array_split(np.arange(len(ordered)), BINS) if len(part)]
    starts = np.array([part[0] for part in parts])
    expected = np.add.reduceat(ordered, starts)
    off = [
        float(np.abs(np.add.reduceat(rng.random(len(ordered)) < ordered, starts, dtype=np.float64) - expected).sum())
        for _ in range(DRAWS)
    ]
    return float(np.quantile(off, 0.95)) / len(ordered)


def calibration_slope(y: npt.ArrayLike, p: npt.ArrayLike) -> float | None:
    """The slope of a logistic regression of the outcome on logit(p) (Cox 1958): 1 is calibrated, below 1 overconfident.

    None where it is not defined: constant probabilities, or outcomes that they separate perfectly.
    """
    target = np.asarray(y, dtype=np.float64)
    probability = np.clip(np.asarray(p, dtype=np.float64), 1e-12, 1.0 - 1e-12)
    x = np.log(probability) - np.log1p(-probability)
    if np.ptp(x) < 1e-9 or _separate(x, target > 0.5):
        return None
    scale = float(x.std())
    design = np.column_stack([(x - x.mean()) / scale, np.ones_like(x)])

    def gradient(weights: FloatArray) -> FloatArray:
        return np.asarray(design.T @ (expit(design @ weights) - target) / len(x))

    def hessian(weights: FloatArray) -> FloatArray:
        fitted = expit(design @ weights)
        return np.asarray((design * (fitted * (1.0 - fitted))[:, None]).T @ design / len(x))

    # From a constant, where nothing is saturated yet.
    start = np.array([0.0, float(logit(target.mean()))])
    found = root(gradient, start, jac=hessian, tol=1e-13)
    # Rounding may keep it from the tolerance, and it says so, when it is there.
    return float(found.x[0]) / scale if np.abs(gradient(found.x)).max() < 1e-10 else None


def _separate(x: FloatArray, churned: npt.NDArray[np.bool_]) -> bool:
    """Whether a threshold on `x` tells the outcomes apart, ties aside: then the likeliest slope is infinite."""
    if churned.all() or not churned.any():
        return True
    return bool(x[churned].min() >= x[~churned].max() or x[churned].max() <= x[~churned].min())


def lift_at(y: npt.ArrayLike, p: npt.ArrayLike, share: float) -> float:
    """The churn rate among the `share` of rows with the highest risk, over the churn rate of all.

    Rows tied at the edge count in proportion, so that the figure does not depend on the rows' order.
    """
    target = np.asarray(y, dtype=np.float64)
    probability = np.asarray(p, dtype=np.float64)
    count = max(1, math.ceil(share * len(target)))
    edge = np.partition(probability, len(target) - count)[len(target) - count]
    above, tied = probability > edge, probability == edge
    churned = target[above].sum() + (count - above.sum()) * target[tied].mean()
    return float(churned / count / target.mean())


def measure(y: npt.ArrayLike, p: npt.ArrayLike) -> Metrics:
    """All seven figures.

    Args:
        y: outcomes, 0 or 1, shape (n,), both present.
        p: probabilities of churn, shape (n,).
    """
    target = np.asarray(y, dtype=np.int64)
    probability = np.asarray(p, dtype=np.float64)
    return Metrics(
        auc=float(roc_auc_score(target, probability)),
        average_precision=float(average_precision_score(target, probability)),
        log_loss=float(log_loss(target, probability, labels=[0, 1])),
        brier=float(np.mean((probability - target) ** 2)),
        ece=expected_calibration_error(target, probability),
        calibration_slope=calibration_slope(target, probability),
        lift_at_10=lift_at(target, probability, 0.1),
    )


def row_losses(y: npt.ArrayLike, p: npt.ArrayLike) -> FloatArray:
    """The log-loss of each row, probabilities clipped to double precision as scikit-learn clips them."""
    target = np.asarray(y, dtype=np.float64)
    epsilon = np.finfo(np.float64).eps
    probability = np.clip(np.asarray(p, dtype=np.float64), epsilon, 1.0 - epsilon)
    return np.asarray(-(target * np.log(probability) + (1.0 - target) * np.log1p(-probability)))
