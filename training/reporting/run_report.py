"""What a training run says of itself: the JSON of `--report`, and what a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from models.registry.model_bundle import GateResult
from training.churn.level import ForetoldRate
from training.dataset.leakage import Leak
from training.evaluation.metrics import EvaluationReport
from training.evaluation.slices import Examination
from training.value.customer_value import LearnedWorth


@dataclass(frozen=True, slots=True)
class RunReport:
    """The outcome of one training run; `model_version` is None where a technical gate kept it from being registered.

    `level` is the tested window's churn rate as it was foretold and as it was; None where rows have no order in time.
    """

    business: str
    model_version: str | None
    run_id: str
    bundle_hash: str
    n_train: int
    n_test: int
    split: str
    horizon_days: int
    train_cutoffs: Sequence[datetime]
    test_cutoffs: Sequence[datetime]
    churn_rate_train: float
    churn_rate_test: float
    n_features: int
    evaluation: EvaluationReport
    gates: Mapping[str, GateResult]
    warnings: Sequence[str]
    examination: Examination
    leaks: Sequence[Leak]
    worth: LearnedWorth | None = None
    level: ForetoldRate | None = None
    notes: Sequence[str] = ()
    """How files were read, as the build said."""

    @property
    def may_be_promoted(self) -> bool:
        """Whether it passed every gate but that of the champion."""
        return all(gate.passed for gate in self.gates.values())

    @property
    def training_ends(self) -> datetime | None:
        """When the last outcome window that trained it ended; None for tables."""
        return max(self.train_cutoffs) + timedelta(days=self.horizon_days) if self.train_cutoffs else None

    def to_json(self) -> dict[str, Any]:
        """The report as API.md has it, and some more."""
        return {
            "business": self.business,
            "model_version": self.model_version,
            "run_id": self.run_id,
            "bundle_hash": self.bundle_hash,
            "n_train": self.n_train,
            "n_test": self.n_test,
            "split": self.split,
            "horizon_days": self.horizon_days,
            "train_cutoffs": [moment.isoformat() for moment in self.train_cutoffs],
            "test_cutoffs": [moment.isoformat() for moment in self.test_cutoffs],
            "training_ends": self.training_ends.isoformat() if self.training_ends else None,
            "churn_rate_train": self.churn_rate_train,
            "churn_rate_test": self.churn_rate_test,
            "level": None if self.level is None else self.level.to_json(),
            "n_features": self.n_features,
            "metrics": self.evaluation.metrics.to_json(),
            "baselines": {name: metrics.to_json() for name, metrics in self.evaluation.baselines.items()},
            "gates": {name: asdict(gate) for name, gate in self.gates.items()},
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "leaks": [leak.to_json() for leak in self.leaks],
            "calibration": [asdict(one) for one in self.evaluation.calibration],
            **self.examination.to_json(),
            **self.worth_json(),
        }

    def worth_json(self) -> dict[str, Any]:
        """How customers are valued, and the segments; each null where the data tell nothing."""
        worth = self.worth
        value = None if worth is None or worth.value_report is None else worth.value_report.to_json()
        return {"value": value, "segments": None if worth is None else worth.segments_json()}
