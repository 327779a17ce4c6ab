"""The plain numbers that a release tells of customers beside risk and health: each has one name, and is computed here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from models.inference.coverage import Coverage
from models.registry.model_bundle import ModelBundle
from serving.releases.uncertainty import UncertaintyTable

FIGURE = object()
Figure = Annotated[float | None, FIGURE]
"""Of a field that holds the figure of its own name, in the JSON of a score or in a row; null where it is not told."""

LOW, HIGH = "churn_low", "churn_high"
EXPECTED_DAYS = "expected_days_to_churn"
COVERAGE = "coverage"
_MOST_PATTERNS = 10_000


def within(days: int) -> str:
    """The name of the probability of churn within some days."""
    return f"churn_{days}d"


@dataclass(frozen=True, slots=True)
class FigureTable:
    """A release's figures by name; one that its bundle does not tell is absent.

    What is added to `of` is added to `of_one` too: tests hold the two together.
    """

    uncertainty: UncertaintyTable
    _beside: tuple[str, ...]
    """The names of what `uncertainty` tells, in its order."""
    _coverage: Coverage | None
    _coverages: dict[bytes, float] = field(default_factory=dict, repr=False)
    """By which features are missing: it depends on nothing else."""

    @classmethod
    def of_bundle(cls, bundle: ModelBundle) -> FigureTable:
        """The figures of a bundle, of as many parts as it has."""
        uncertainty = UncertaintyTable.of_bundle(bundle)
        bounds = (LOW, HIGH) if uncertainty.has_interval else ()
        days = (*map(within, uncertainty.days), EXPECTED_DAYS) if uncertainty.days else ()
        return cls(uncertainty, (*bounds, *days), bundle.coverage)

    def of(self, probability: FloatArray, log_odds: FloatArray, matrix: NDArray[np.float32]) -> dict[str, FloatArray]:
        """The figures (n,) of n customers, of whom `matrix` (n, d) has what the model reads."""
        found = dict(zip(self._beside, self.uncertainty.of(probability, log_odds).columns, strict=True))
        coverage = self.coverage(matrix)
        if coverage is not None:
            found[COVERAGE] = coverage
        return {name: np.ascontiguousarray(column) for name, column in found.items()}

    def coverage(self, matrix: NDArray[np.float32]) -> FloatArray | None:
        """How much of what is typically known is known of each row (n, d); None where the bundle does not tell."""
        return None if self._coverage is None else self._coverage.of(matrix)

    def of_one(self, probability: float, log_odds: float, row: NDArray[np.float32]) -> dict[str, float]:
        """The same of one customer, of whom `row` is (1, d), sooner."""
        found = dict(zip(self._beside, self.uncertainty.of_one(probability, log_odds), strict=True))
        if self._coverage is not None:
            missing = np.isnan(row).tobytes()
            known = self._coverages.get(missing)
            if known is None:
                if len(self._coverages) > _MOST_PATTERNS:
                    self._coverages.clear()
                known = self._coverages[missing] = self._coverage.of(row).item()
            found[COVERAGE] = known
        return found
