"""The shapes of experiments over HTTP."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from models.experiments.sequential_test import Comparison
from serving.api.schemas import EXAMPLE_CUSTOMER, Body, CustomerId, Moment, Query, Reward
from serving.errors import InvalidExperiment
from serving.experiments.corrections import Correction
from serving.experiments.report import ExperimentReport, ProgrammeReport
from serving.experiments.service import POLICIES, REWARD, ArmSpec, Assignment, Experiment

Name = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,59}$")]
ExperimentPath = Annotated[str, Path(description="The experiment's name.", max_length=60)]
PROGRAMME = "programme"
_EXAMPLE: dict[str, JsonValue] = {
    "name": "calls-2026",
    "arms": [{"name": "control", "share": 0.5}, {"name": "no_calls", "share": 0.5, "actions": ["discount_10"]}],
    "start": "2026-12-01T00:00:00Z",
    "end": "2027-03-01T00:00:00Z",
    "primary_outcome": REWARD,
}


class ArmRequest(Body):
    """One arm."""

    name: Name
    share: float = Field(
        ge=0.001, le=1, allow_inf_nan=False, description="Of the customers, as a part of the sum of all shares."
    )
    policy: Literal["gain", "no_levers", "propensity", "random", "nothing"] = Field(
        "gain", description="How its customers are decided about: as ever, by an ablation, at random, or not treated."
    )
    actions: list[str] | None = Field(None, max_length=100, description="The actions that it has; null is all.")


class ExperimentRequest(Body):
    """An experiment; the first arm is what the others are compared with."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: Name
    arms: list[ArmRequest] = Field(min_length=2, max_length=10)
    unit: Literal["customer"] = "customer"
    start: Moment
    end: Moment
    primary_outcome: Name = Field(
        REWARD,
        description=f"`{REWARD}`: the reward of the decision that exposed a customer; any other is reported by name.",
    )
    alpha: float = Field(0.05, gt=0, lt=0.5, description="One minus the confidence, over all looks and arms.")
    # A whole number may be written 1000.0, as JSON schema has it.
    planned_units: int = Field(
        1_000, ge=100, le=100_000_000, strict=False, description="Outcomes at which intervals are tightest."
    )

    def experiment(self) -> Experiment:
        """What is registered.

        Raises:
            InvalidExperiment: it cannot be.
        """
        if self.end <= self.start:
            raise InvalidExperiment("The experiment ends before it starts: 'end' must be after 'start'.")
        if len({arm.name for arm in self.arms}) < len(self.arms):
            raise InvalidExperiment("Two arms have one name: give every arm a name of its own.")
        if self.name == PROGRAMME:
            raise InvalidExperiment(f"The name '{PROGRAMME}' is that of the whole programme: take another.")
        return Experiment(
            name=self.name,
            arms=tuple(
                ArmSpec(arm.name, arm.share, arm.policy, None if arm.actions is None else tuple(arm.actions))
                for arm in self.arms
            ),
            start=self.start,
            end=self.end,
            primary_outcome=self.primary_outcome,
            unit=self.unit,
            alpha=self.alpha,
            planned_units=self.planned_units,
        )


class AssignmentRequest(Body):
    """Whose arm is asked for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"customer_id": EXAMPLE_CUSTOMER}]})

    customer_id: CustomerId


class ExperimentOutcomeRequest(Body):
    """The primary outcome of one customer."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"customer_id": EXAMPLE_CUSTOMER, "value": 1.0}]})

    customer_id: CustomerId
    value: Reward


Reason = Annotated[
    str, StringConstraints(min_length=1, max_length=500), Field(description="Why the outcome was wrong; it is kept.")
]


class ExperimentCorrection(ExperimentOutcomeRequest):
    """What the primary outcome of one customer should have been."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"customer_id": EXAMPLE_CUSTOMER, "value": 1.0, "reason": "a typing error"}]}
    )

    reason: Reason


class CorrectionModel(BaseModel):
    """One change of an outcome."""

    before: dict[str, JsonValue]
    after: dict[str, JsonValue]
    reason: str
    corrected_by: str
    corrected_at: datetime


class ExperimentOutcomeModel(BaseModel):
    """The primary outcome of one customer, null before there is one."""

    customer_id: str
    value: float | None
    corrections: list[CorrectionModel] = Field(description="The first one first.")


class ExperimentOutcomeQuery(Query):
    """Whose outcome."""

    customer_id: CustomerId


class ProgrammeQuery(Query):
    """Since when."""

    since: Moment | None = Field(None, description="Decisions made at or after this time; without it, all.")


class ArmModel(BaseModel):
    """One arm, and how many met it."""

    name: str
    share: float
    policy: str = Field(json_schema_extra={"enum": list(POLICIES)})
    actions: list[str] | None
    exposed: int
    outcomes: int
    mean: float | None


class SampleRatioModel(BaseModel):
    """Whether the arms have the shares that they should; where they have not, no comparison can be trusted."""

    p_value: float
    holds: bool


class ComparisonModel(BaseModel):
    """The difference of two arms' means, with an interval that holds however often it is looked at."""

    arm: str
    against: str
    estimate: float | None
    low: float | None = Field(description="null while there are too few outcomes.")
    high: float | None
    p_value: float
    significant: bool
    units: int
    variance_kept: float = Field(description="The share of the outcome's variance that CUPED leaves.")


class ExperimentModel(BaseModel):
    """An experiment, and what it shows so far."""

    name: str
    status: Literal["planned", "running", "ended"]
    unit: str
    start: datetime
    end: datetime
    primary_outcome: str
    alpha: float
    planned_units: int
    arms: list[ArmModel]
    sample_ratio: SampleRatioModel
    comparisons: list[ComparisonModel]


class ExperimentsModel(BaseModel):
    """The newest first."""

    results: list[ExperimentModel]


class AssignmentModel(BaseModel):
    """A customer's arm."""

    experiment: str
    customer_id: str
    arm: str
    exposed_at: datetime | None = Field(description="null while the experiment does not run.")


class EarnedModel(BaseModel):
    """Money, with its always-valid 95 % interval."""

    estimate: float
    low: float | None
    high: float | None


class ProgrammeModel(BaseModel):
    """What the programme earned against the holdout, costs taken off."""

    holdout_share: float
    customers: int
    held_out: int
    sample_ratio: SampleRatioModel
    per_customer: ComparisonModel
    earned: EarnedModel | None
    cost: float
    currency: str | None
    since: datetime | None


def experiment_json(found: ExperimentReport) -> dict[str, object]:
    """A report as `ExperimentModel` documents it."""
    experiment = found.experiment
    return {
        "name": experiment.name,
        "status": found.status,
        "unit": experiment.unit,
        "start": experiment.start,
        "end": experiment.end,
        "primary_outcome": experiment.primary_outcome,
        "alpha": experiment.alpha,
        "planned_units": experiment.planned_units,
        "arms": [
            {
                "name": arm.name,
                "share": arm.share,
                "policy": spec.policy,
                "actions": None if spec.actions is None else list(spec.actions),
                "exposed": arm.exposed,
                "outcomes": arm.outcomes,
                "mean": arm.mean,
            }
            for spec, arm in zip(experiment.arms, found.arms, strict=True)
        ],
        "sample_ratio": {"p_value": found.sample_ratio_p_value, "holds": found.sample_ratio_holds},
        "comparisons": [_comparison(one.comparison, one.arm, one.against) for one in found.comparisons],
    }


def assignment_json(found: Assignment) -> dict[str, object]:
    """An assignment as `AssignmentModel` documents it."""
    return {
        "experiment": found.experiment,
        "customer_id": found.customer_id,
        "arm": found.arm,
        "exposed_at": found.exposed_at,
    }


def programme_json(found: ProgrammeReport) -> dict[str, object]:
    """A report as `ProgrammeModel` documents it."""
    earned = None
    if found.earned is not None:
        estimate, low, high = found.earned
        earned = {"estimate": estimate, "low": _finite(low), "high": _finite(high)}
    return {
        "holdout_share": found.holdout_share,
        "customers": found.customers,
        "held_out": found.held_out,
        "sample_ratio": {"p_value": found.sample_ratio_p_value, "holds": found.sample_ratio_holds},
        "per_customer": _comparison(found.comparison, PROGRAMME, "holdout"),
        "earned": earned,
        "cost": found.cost,
        "currency": found.currency,
        "since": found.since,
    }


def _comparison(comparison: Comparison, arm: str, against: str) -> dict[str, object]:
    return {
        "arm": arm,
        "against": against,
        "estimate": _finite(comparison.estimate),
        "low": _finite(comparison.low),
        "high": _finite(comparison.high),
        "p_value": comparison.p_value,
        "significant": comparison.low > 0.0 or comparison.high < 0.0,
        "units": comparison.n_control + comparison.n_treated,
        "variance_kept": comparison.variance_kept,
    }


def _finite(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None


def corrections_json(corrections: Sequence[Correction]) -> list[dict[str, Any]]:
    """The body of `CorrectionModel`s."""
    return [asdict(correction) for correction in corrections]
