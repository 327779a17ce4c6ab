"""The level of the next window: how high churn will be as a whole, foretold from the windows before, and how surely."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, ExpSineSquared, Kernel, Matern

from models.arrays import FloatArray
from models.inference.calibration import expit, level, logit
from models.inference.interval import Z95, Estimate
from training.dataset.time_windows import Windows

_MEAN = ConstantKernel(4.0, "fixed")
"""The prior variance of the level about which windows move, in log-odds: nothing is known of it."""
_DRIFTS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.2)
"""How far windows may stray, in log-odds: one standard deviation."""
_MEMORIES = (0.5, 1.0, 2.0)
"""After how many horizons a stray is down to 1/e."""
_SEASONS = (0.0, 0.2, 0.4)
_LIKELY_DRIFT = 0.5
_LIKELY_SEASON = 0.2
"""The standard deviations of half-normal priors of drift and season."""
_YEARS_FOR_SEASONS = 1.5


@dataclass(frozen=True, slots=True)
class ForetoldRate:
    """The churn rate of a window as it was foretold, with its 95 % interval, and as it was."""

    foretold: Estimate
    observed: float

    @property
    def is_covered(self) -> bool:
        """Whether the interval holds what came."""
        return self.foretold.low <= self.observed <= self.foretold.high

    @property
    def sentence(self) -> str:
        """What it says of the calibration as a whole."""
        one = self.foretold
        within = 100.0 * max(one.value - one.low, one.high - one.value)
        return (
            f"Calibrated in the large to ±{within:.1f} points: for the tested window a churn rate of {one.value:.1%} was "
            f"foretold ({one.low:.1%} to {one.high:.1%}), and it was {self.observed:.1%}."
        )

    def to_json(self) -> dict[str, object]:
        """This rate as plain JSON."""
        return {
            "foretold": self.foretold.value,
            "interval": [self.foretold.low, self.foretold.high],
            "observed": self.observed,
        }


@dataclass(frozen=True, slots=True)
class Level:
    """What is added to the calibrated log-odds of all windows so that they hold for the next one.

    `deviation` is the standard deviation of what is added, in log-odds.
    """

    added: float
    deviation: float

    def rate(self, p: FloatArray, y: npt.NDArray[np.int8]) -> ForetoldRate:
        """The churn rate that was foretold for a window by its customers' probabilities (n,), beside their outcomes (n,)."""
        log_odds, margin = logit(p), Z95 * self.deviation
        low, high = (float(expit(log_odds + side).mean()) for side in (-margin, margin))
        return ForetoldRate(Estimate(float(p.mean()), low, high), float(y.mean()))


def foretold_level(windows: Windows, log_odds: FloatArray, y: npt.NDArray[np.int8]) -> Level:
    """The level of the window that begins one horizon after the newest one did.

    Each window's own level is seen with the error of its rows, and strays from what all have in common: less and less
    related the further apart windows are, and where there is more than a year and a half of them, with the season.
    How far they stray and for how long is averaged over what is plausible, so that few windows give a cautious answer.

    Args:
        log_odds: (n,) calibrated for all windows together, by models that did not see the row; NaN where there is none.
        y: (n,) outcomes.

    Source: Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, sections 2.2 and 5.2.
    """
    seen = np.isfinite(log_odds)
    numbers = np.unique(windows.number[seen])
    levels, errors = zip(*(_level(log_odds, y, seen & (windows.number == number)) for number in numbers), strict=True)
    began = np.array([windows.began[number] for number in numbers])[:, None]
    chances, means, variances = [], [], []
    for kernel, prior in _processes(windows, float(began[-1, 0] - began[0, 0])):
        process = GaussianProcessRegressor(kernel, alpha=np.array(errors), optimizer=None).fit(began, np.array(levels))
        mean, deviation = process.predict(began[-1:] + 1.0, return_std=True)
        chances.append(prior + process.log_marginal_likelihood_value_)
        means.append(mean[0])
        variances.append(deviation[0] ** 2)
    chance = np.exp(np.array(chances) - logsumexp(chances))
    added = float(chance @ np.array(means))
    return Level(added, float(np.sqrt(chance @ (np.array(variances) + (np.array(means) - added) ** 2))))


def _processes(windows: Windows, span: float) -> Iterator[tuple[Kernel, float]]:
    """What may move the levels, with the logarithm of its prior."""
    year = windows.year
    has_seasons = year is not None and span >= _YEARS_FOR_SEASONS * year
    for drift, memory, season in product(_DRIFTS, _MEMORIES, _SEASONS if has_seasons else (0.0,)):
        kernel = _MEAN + ConstantKernel(drift**2, "fixed") * Matern(memory, "fixed", nu=0.5)
        if season:
            kernel += ConstantKernel(season**2, "fixed") * ExpSineSquared(1.0, year, "fixed", "fixed")
        yield kernel, -0.5 * (drift / _LIKELY_DRIFT) ** 2 - 0.5 * (season / _LIKELY_SEASON) ** 2


def _level(log_odds: FloatArray, y: npt.NDArray[np.int8], rows: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """What a window's rows add to the level of all, and its variance; finite where all of them churned, or none."""
    own, churned = log_odds[rows], y[rows]
    rate = (float(churned.sum()) + 0.5) / (len(churned) + 1.0)
    added = level(own, rate)
    p = expit(own + added)
    return added, 1.0 / float((p * (1.0 - p)).sum())
