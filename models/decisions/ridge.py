"""Lines: the mean reward of every action for each customer, by ridge regressions that share what they have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from models.arrays import FloatArray
from models.decisions.logged_trials import Trials
from models.inference.calibration import expit

PENALTIES = (30.0, 100.0, 300.0, 1000.0, 3000.0)
ALIKE = 1e6
"""A penalty under which actions differ by nothing but their intercept."""
"""Of the squared coefficients by which an action's line departs from the shared one, of a design of scale 1."""
SHARED_PENALTY = 5.0


@dataclass(frozen=True, slots=True)
class Lines:
    """A line an action over the design: `coefficients` (1 + k, p) and `intercepts` (1 + k,), in log-odds if `binary`."""

    coefficients: FloatArray
    intercepts: FloatArray
    binary: bool

    def means(self, Z: FloatArray) -> FloatArray:
        """The mean reward of every action (n, 1 + k) over the design (n, p)."""
        margins = Z @ self.coefficients.T + self.intercepts
        return expit(margins) if self.binary else np.asarray(margins)


def fit_lines(
    Z: FloatArray, trials: Trials, penalty: float, start: Lines | None = None, *, binary: bool | None = None
) -> Lines:
    """Lines that share what they have in common: a ridge on the shared line, and another on each action's departure.

    Maximum a posteriori by L-BFGS; logistic for a reward of 0 or 1, least squares for any other.
    """
    logistic = trials.is_binary if binary is None else binary
    n, p = Z.shape
    arms = trials.k + 1
    y = trials.y
    spread = 1.0 if logistic else max(float(y.var()), 1e-12)
    members = [trials.rows_of(arm) for arm in range(arms)]
    parts = [Z[rows] for rows in members]
    # Departures are searched in units in which their penalty is the shared line's, whatever it is: so they converge alike.
    unit = float(np.sqrt(SHARED_PENALTY / penalty))

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        matrix = parameters.reshape(arms + 1, p + 1)
        shared, departures = matrix[0], matrix[1:].copy()
        total = 0.5 * SHARED_PENALTY * float((matrix[:, :p] ** 2).sum())
        departures[:, :p] *= unit
        total += 0.05 * float((departures[:, p] ** 2).sum())
        gradient = np.zeros_like(matrix)
        gradient[:, :p] = SHARED_PENALTY * matrix[:, :p]
        gradient[1:, p] = 0.1 * departures[:, p]
        for arm, (rows, part) in enumerate(zip(members, parts, strict=True)):
            line = shared + departures[arm]
            margin = part @ line[:p] + line[p]
            if logistic:
                total += float((np.logaddexp(0.0, margin) - y[rows] * margin).sum())
                rest = expit(margin) - y[rows]
            else:
                rest = (margin - y[rows]) / spread
                total += 0.5 * float(rest @ (margin - y[rows]))
            slope = rest @ part
            gradient[0, :p] += slope
            gradient[arm + 1, :p] += unit * slope
            gradient[0, p] += rest.sum()
            gradient[arm + 1, p] += rest.sum()
        return total / n, (gradient / n).ravel()

    first = np.zeros((arms + 1, p + 1))
    if start is not None:
        first[0, :p], first[0, p] = start.coefficients.mean(axis=0), start.intercepts.mean()
        first[1:, :p] = (start.coefficients - first[0, :p]) / unit
        first[1:, p] = start.intercepts - first[0, p]
    elif not logistic:
        first[0, p] = y.mean()
    found = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 300, "ftol": 1e-8})
    matrix = np.asarray(found.x, dtype=np.float64).reshape(arms + 1, p + 1)
    return Lines(matrix[:1, :p] + unit * matrix[1:, :p], matrix[0, p] + matrix[1:, p], logistic)


def choose_penalty(Z: FloatArray, trials: Trials, n_folds: int, seed: int) -> float:
    """The penalty of departures that foretells held-out rewards best."""
    losses = np.zeros(len(PENALTIES))
    for fitted, held_out in trials.folds(n_folds, seed):
        train, test = trials.take(fitted), trials.take(held_out)
        lines: Lines | None = None
        for position in range(len(PENALTIES) - 1, -1, -1):
            lines = fit_lines(Z[fitted], train, PENALTIES[position], lines, binary=trials.is_binary)
            means = lines.means(Z[held_out])[np.arange(len(test)), test.action]
            losses[position] += _loss(test.y, means, lines.binary)
    return PENALTIES[int(losses.argmin())]


def _loss(y: FloatArray, means: FloatArray, binary: bool) -> float:
    if binary:
        p = np.clip(means, 1e-9, 1 - 1e-9)
        return float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).sum())
    return float(((y - means) ** 2).sum())
