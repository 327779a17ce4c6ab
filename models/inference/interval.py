"""How far figures may be off: their bounds with 95 % confidence."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from models.arrays import FloatArray

Z95 = 1.959964
"""Standard deviations on either side of a normal mean that hold 95 %."""


def critical_value(confidence: float) -> float:
    """Standard deviations on either side of a normal mean that hold a share of `confidence`."""
    return NormalDist().inv_cdf(0.5 + confidence / 2.0)


@dataclass(frozen=True, slots=True)
class Interval:
    """The bounds of a figure."""

    low: float
    high: float

    def to_json(self) -> list[float]:
        """`[low, high]`."""
        return [self.low, self.high]

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside."""
        return not self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the bounds within which it lies."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"

    def to_json(self) -> dict[str, float]:
        """The three as reports name them: `value`, `lower` and `upper`."""
        return {"value": self.value, "lower": self.low, "upper": self.high}


def wilson(share: ArrayLike, n: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """The lower and upper bounds of shares that were seen among `n`, within 0 to 1; any shape, `n` above 0.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    p, rows = np.asarray(share, dtype=np.float64), np.asarray(n, dtype=np.float64)
    middle = (p + Z95**2 / (2 * rows)) / (1 + Z95**2 / rows)
    half = Z95 * np.sqrt(p * (1 - p) / rows + Z95**2 / (4 * rows**2)) / (1 + Z95**2 / rows)
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
