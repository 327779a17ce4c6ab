"""Health with its parts, from a model's matrix: the arithmetic that every explained answer shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from models.explanation.explainer import Explainer
from models.inference.calibration import Calibration, expit
from models.scorecard import Scorecard

# Customers in the same leaves have the same risk, but each one's contributions add up to it with an error of some 1e-15:
# log-odds are cut off there, or else a percentile would count equals as lower.
_LOG_ODDS_DECIMALS = 12


@dataclass(frozen=True, slots=True)
class Explained:
    """Health of n customers with its parts: points are (n, d), pillars (n, pillars)."""

    log_odds: FloatArray
    """Of churn, calibrated."""
    probability: FloatArray
    score: FloatArray
    clamped: FloatArray
    points: FloatArray
    pillars: FloatArray

    @classmethod
    def of(
        cls,
        matrix: NDArray[np.float32],
        explainer: Explainer,
        calibration: Calibration,
        scorecard: Scorecard,
        base: float,
        membership: FloatArray,
    ) -> Explained:
        """The health of rows (n, d).

        Args:
            base: the health of a customer about whom nothing stands out.
            membership: (d, pillars), 1 where the feature belongs to the pillar.
        """
        contributions = explainer.contributions(matrix)
        points = scorecard.points(contributions[:, :-1], calibration)
        unclamped = base + points.sum(axis=1)
        score = np.minimum(np.maximum(unclamped, 0.0), 100.0)
        log_odds = np.round(calibration.log_odds(contributions.sum(axis=1)), _LOG_ODDS_DECIMALS)
        return cls(
            log_odds=log_odds,
            probability=expit(log_odds),
            score=score,
            clamped=score - unclamped,
            points=points,
            pillars=points @ membership,
        )

    def rows(self, rows: slice) -> Explained:
        """Some of the customers."""
        return Explained(
            self.log_odds[rows],
            self.probability[rows],
            self.score[rows],
            self.clamped[rows],
            self.points[rows],
            self.pillars[rows],
        )
