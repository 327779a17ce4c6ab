"""Predictions of rows that the predicting model never saw: out of fold, or of the test window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.arrays import FloatArray, Rows
from training.evaluation.metrics import EvaluationReport, calibration_bins, ece_of_chance, measure


@dataclass(frozen=True, slots=True)
class HeldOutPredictions:
    """FloatArray of the tested rows, each by a model that was fitted without it; all shapes (n,)."""

    rows: Rows
    p: FloatArray
    p_logistic: FloatArray
    p_base_rate: FloatArray

    def evaluate(self, y: npt.NDArray[np.int8]) -> EvaluationReport:
        """The metrics of model and baselines; `y` are the outcomes of all rows."""
        outcome = y[self.rows]
        return EvaluationReport(
            metrics=measure(outcome, self.p),
            baselines={
                "base_rate": measure(outcome, self.p_base_rate),
                "logistic_regression": measure(outcome, self.p_logistic),
            },
            ece_of_chance=ece_of_chance(self.p),
            calibration=calibration_bins(outcome, self.p),
        )
