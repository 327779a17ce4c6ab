"""An effect that differs by one known attribute: how much of a planted difference is served, and how much that errs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.arrays import FloatArray
from models.decisions.effect_model import REWARD
from models.decisions.logged_trials import Trials
from training.policy.cross_fitting import Encoding, cross_fit, fit_effects

PLANTED = 0.128
ROWS = 1420
"""So many decisions give the planted difference a standard error of .052."""
AVERAGE = 0.03
OTHERS = 6
"""Attributes beside it, which do not change the effect."""


@dataclass(frozen=True, slots=True)
class Planted:
    """One world: the difference of the effect between those with the attribute and those without, by whom it is said."""

    seed: int
    measured: float
    """By the four means alone."""
    standard_error: float
    kept: float
    """In the effects that are served."""
    error: float
    """Root of the mean squared error of those effects around their average."""
    error_of_average: float
    """The same, if everybody had the average effect."""


def planted(seed: int, difference: float = PLANTED, rows: int = ROWS, others: int = OTHERS) -> Planted:
    """Draw a trial of one action and learn from it."""
    rng = np.random.default_rng((seed, 7))
    flag = (rng.random(rows) < 0.5).astype(np.float64)
    rest = rng.normal(size=(rows, others))
    rest[:, -2:] = rng.integers(0, (3, 2), (rows, 2))
    action = rng.integers(0, 2, rows)
    truth = AVERAGE + difference * (flag - 0.5)
    rate = 0.4 + 0.05 * np.tanh(rest[:, 0]) + 0.03 * (flag - 0.5) + truth * action
    y = (rng.random(rows) < rate).astype(np.float64)
    X = np.column_stack([flag, rest]).astype(np.float32)
    even = np.full(rows, 0.5)
    trials = Trials(X, action, y, even, np.ones((rows, 2), np.bool_), np.arange(rows), {others - 1: 3})
    names = tuple(f"attribute {place}" for place in range(X.shape[1]))
    encoding = Encoding(REWARD, {"features": []}, names, {})
    model = fit_effects(cross_fit(trials), ["call"], {}, trials.counts(), np.array([True]), encoding)
    served = model.predict(X).effect[:, 0]
    cells = [y[(flag == having) & (action == taken)] for having in (1, 0) for taken in (1, 0)]
    return Planted(
        seed=seed,
        measured=float(cells[0].mean() - cells[1].mean() - cells[2].mean() + cells[3].mean()),
        standard_error=float(np.sqrt(sum(cell.var() / len(cell) for cell in cells))),
        kept=float(served[flag == 1].mean() - served[flag == 0].mean()),
        error=_spread(served - truth),
        error_of_average=_spread(truth),
    )


def _spread(figures: FloatArray) -> float:
    return float(figures.std())
