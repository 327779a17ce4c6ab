"""The shapes of decisions over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import Header, Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from features.errors import UnknownCustomer
from models.decisions.eligibility import BLOCK_CODES
from models.decisions.policy import LACKED_CODES, MISSING_VALUE, NO_ACTION, WHY_NOT_CODES, Ranking
from serving.api.problems import describe
from serving.api.schemas import (
    EXAMPLE_CUSTOMER,
    MAX_CUSTOMERS,
    Body,
    CustomerError,
    CustomerId,
    Reward,
    customer_error_json,
)
from serving.decisions.log import LoggedDecision
from serving.decisions.personalisation import PERSONAL_LACKED_CODES
from serving.experiments.schemas import CorrectionModel, Reason
from serving.scores.scorer import DEGRADED_CODES

DECISION_DEGRADED_CODES = {
    **DEGRADED_CODES,
    MISSING_VALUE: "What is at stake with this customer is not known, so that only `no_action` has a known gain.",
}

DECISION_LACKED_CODES = {**LACKED_CODES, **PERSONAL_LACKED_CODES}


def _list(codes: Mapping[str, str]) -> str:
    return "; ".join(f"`{code}`: {meaning}" for code, meaning in codes.items())


def _excludable(action: str) -> str:
    if action == NO_ACTION:
        raise ValueError(f"{NO_ACTION} always competes and cannot be excluded")
    return action


ActionName = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=60, pattern=r"^[^\x00]+$"), AfterValidator(_excludable)
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x20-\x7e]+$",
        description="The same key with the same request within 24 hours gives the same answer again, and decides nothing.",
    ),
]
DecisionId = Annotated[str, Path(description="`decision_id` of a decision.", max_length=512)]


class DecisionRequest(Body):
    """About whom to decide."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"customer_id": EXAMPLE_CUSTOMER, "exclude": []}]})

    customer_id: CustomerId
    exclude: list[ActionName] = Field(default_factory=list, max_length=100, description="Actions to rule out.")


class DecisionsRequest(Body):
    """About whom to decide."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"customer_ids": [EXAMPLE_CUSTOMER]}]})

    customer_ids: list[CustomerId] = Field(min_length=1, max_length=MAX_CUSTOMERS)


class OutcomeRequest(Body):
    """What came of a decision."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reward": 1.0, "executed": True}]})

    reward: Reward = Field(description="What it brought, on one scale for all decisions.")
    executed: bool = Field(description="Whether the action was carried out; if not, it does not count against its cap.")


class CorrectionRequest(OutcomeRequest):
    """What an outcome should have been."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reward": 1.0, "executed": True, "reason": "a typing error"}]}
    )

    reason: Reason


class OutcomeModel(BaseModel):
    """What came of a decision; null before anything did."""

    decision_id: str
    reward: float | None
    executed: bool | None
    corrections: list[CorrectionModel] = Field(description="The first one first.")


class BlockModel(BaseModel):
    """A filter that an action did not pass."""

    code: str = Field(description=_list(BLOCK_CODES), json_schema_extra={"enum": list(BLOCK_CODES)})
    text: str
    lifted_by: str = Field(description="What would have to change.")


class AlternativeModel(BaseModel):
    """An action that was not drawn."""

    action: str
    expected_gain: float | None
    blocked_by: str | None = Field(description="Why it was not allowed, or null.")
    code: str = Field(
        description=f"Of `blocks`, or why an allowed action was not drawn: {_list(WHY_NOT_CODES)}",
        json_schema_extra={"enum": [*BLOCK_CODES, *WHY_NOT_CODES, ""]},
    )
    why_not: str
    blocks: list[BlockModel] = Field(description="Every filter that it did not pass.")
    ranked_on: float | None = Field(description="Its gain at the lower bound of its effect; null where it is blocked.")


class FactorsModel(BaseModel):
    """What the gain was made of: `uplift × value_at_stake × lever − cost`."""

    churn_probability: float
    uplift: float
    uplift_low: float = Field(description="The lower confidence bound, from which `ranked_on` is made.")
    effect: str = Field(json_schema_extra={"enum": ["learned", "prior", "none"]})
    value_at_stake: float | None
    lever: float = Field(description="The bounded product of the business's levers.")
    cost: float
    ranked_on: float | None
    ranking: str = Field(json_schema_extra={"enum": [ranking.value for ranking in Ranking]})
    best: str = Field(description="The action that ranked first; another one was drawn by exploration.")


class InExperimentModel(BaseModel):
    """The experiment that a decision was part of."""

    name: str
    arm: str


class DecisionModel(BaseModel):
    """One action for one customer, as it stands in the log."""

    decision_id: str
    customer_id: str
    action: str
    channel: str | None
    pscore: float = Field(
        gt=0,
        le=1,
        description="The exact probability with which this action was drawn, given the customer and what was allowed.",
    )
    uplift: float = Field(description="How much of the churn probability the action is expected to take away.")
    uplift_interval: list[float] | None
    value_at_stake: float | None
    cost: float
    expected_gain: float | None = Field(description="null where what is at stake is not known.")
    alternatives: list[AlternativeModel]
    policy_version: str
    model_version: str
    decided_at: datetime
    degraded: list[str] = Field(
        description=_list(DECISION_DEGRADED_CODES),
        json_schema_extra={"items": {"type": "string", "enum": list(DECISION_DEGRADED_CODES)}},
    )
    lacked: list[str] = Field(
        description=f"What the decision had to do without. {_list(DECISION_LACKED_CODES)}",
        json_schema_extra={"items": {"type": "string", "enum": list(DECISION_LACKED_CODES)}},
    )
    factors: FactorsModel | None
    holdout: bool = Field(description="Whether the customer is never treated.")
    experiment: InExperimentModel | None
    item: str | None = Field(description="What the action is about, where it names an item.")
    hour: int | None = Field(
        description="The hour of the day, in the customer's time, at which a touch on this channel is answered most."
    )


class DecisionsModel(BaseModel):
    """In request order."""

    results: list[DecisionModel | CustomerError]


def decision_json(result: LoggedDecision | UnknownCustomer, request_id: str) -> dict[str, object]:
    """A decision as `DecisionModel` documents it, or a customer without one as `CustomerError`."""
    if isinstance(result, UnknownCustomer):
        return customer_error_json(result, describe(result, request_id))
    return result.to_json()
