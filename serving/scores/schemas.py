"""The shapes of scores over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.value.customer_value import METHODS
from models.value.segmentation import RFM_CLASSES
from serving.api.schemas import EXAMPLE_CUSTOMER, MAX_CUSTOMERS, Body, CustomerError, CustomerId, Query
from serving.releases.figures import FIGURE, Figure
from serving.scores.scorer import DEGRADED_CODES, CustomerScore, Explain


class ScoreQuery(Query):
    """What to say of one customer."""

    explain: Explain = Field(
        Explain.TOP, description="top: the 5 largest reasons; all: every feature; none: no explanation."
    )


class ScoresRequest(Body):
    """Whom to score."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"customer_ids": [EXAMPLE_CUSTOMER], "explain": "none"}]})

    customer_ids: list[CustomerId] = Field(min_length=1, max_length=MAX_CUSTOMERS)
    explain: Annotated[Explain, Field(strict=False)] = Explain.NONE


class IntervalModel(BaseModel):
    """The bounds of a probability."""

    low: float = Field(ge=0, le=1, examples=[0.2371])
    high: float = Field(ge=0, le=1, examples=[0.3834])


class HorizonModel(BaseModel):
    """The probability of losing a customer within some days."""

    days: int = Field(examples=[30])
    probability: float = Field(ge=0, le=1, examples=[0.1298])


class Churn(BaseModel):
    """The risk of losing a customer."""

    probability: float = Field(ge=0, le=1)
    horizon_days: int
    percentile: float = Field(ge=0, le=1, description="The share of the current population with lower risk.")
    interval: IntervalModel | None = Field(
        description="Between what the churn rate among customers with this score lies, at 95 %; it holds `probability`. "
        "null where the model does not tell."
    )
    horizons: list[HorizonModel] | None = Field(
        description="By 30, 60, 90 and 180 days, those that the definition of churn can tell: silence for 90 days is not "
        "told in 30. Rising, and `probability` itself at `horizon_days`. null for a table, or where the model does not tell."
    )
    expected_days_to_churn: Figure = Field(
        ge=0,
        examples=[131.4],
        description="The mean, of which no more count than 180, or `horizon_days` if they are more.",
    )


class PillarModel(BaseModel):
    """One pillar's points."""

    pillar: str
    points: float


class ChangeModel(BaseModel):
    """The move since an earlier snapshot, scored by the same model; pillars that did not move are left out."""

    since: datetime
    points: float
    clamped: float
    pillars: list[PillarModel]


HealthBand = Literal["red", "yellow", "green", "insufficient_data"]


class Health(BaseModel):
    """`base + Σ pillars.points + clamped = score`."""

    score: float = Field(ge=0, le=100)
    band: HealthBand = Field(
        description="`insufficient_data` where `coverage` is below the business's `minimum_coverage`: the score then says "
        "little of this customer."
    )
    base: float
    clamped: float
    pillars: list[PillarModel] = Field(default_factory=list, description="Left out with explain=none.")
    change: ChangeModel | None = Field(
        None, description="null when there is no earlier snapshot; left out with explain=none."
    )


class ReasonModel(BaseModel):
    """What a feature is associated with, in points of health."""

    feature: str
    value: float | str | None
    typical: float | str | None
    pillar: str
    points: float
    text: str


class FreshnessModel(BaseModel):
    """How old a pillar's features are; null where there are none of this customer."""

    pillar: str
    feature_timestamp: datetime | None
    age_days: float | None


class ValueModel(BaseModel):
    """What to expect of a customer in money."""

    next_12_months: float = Field(description="Over the next 12 months, as far as the customer is expected to stay.")
    at_risk: float = Field(ge=0, description="The part of it that leaving within `horizon_days` endangers.")
    method: str = Field(
        description="; ".join(f"`{method.value}`: {meaning}" for method, meaning in METHODS.items()),
        json_schema_extra={"enum": [method.value for method in METHODS]},
    )


class RfmModel(BaseModel):
    """How lately, how often and for how much a customer bought, each from 1 to 5, the best being 5."""

    label: str = Field(
        description="; ".join(f"`{label}`: {meaning}" for label, meaning in RFM_CLASSES.items()),
        json_schema_extra={"enum": list(RFM_CLASSES)},
    )
    recency: int = Field(ge=1, le=5)
    frequency: int = Field(ge=1, le=5)
    money: int = Field(ge=1, le=5)


class SegmentModel(BaseModel):
    """The group of customers who behave alike."""

    id: str = Field(description="Stays with the group when models change.")
    name: str = Field(description="What sets the group apart.", examples=["few days since the last purchase"])
    rfm: RfmModel | None = Field(description="null where there are no purchases.")


class Score(BaseModel):
    """One customer's risk, health, worth and segment."""

    customer_id: str
    churn: Churn
    health: Health
    reasons: list[ReasonModel] = Field(default_factory=list, description="Left out with explain=none.")
    value: ValueModel | None = Field(description="null where nothing says what a customer brings.")
    segment: SegmentModel | None = Field(description="null where the model has no segments.")
    model_version: str
    scorecard_version: str
    feature_timestamp: datetime | None = Field(description="Of the oldest pillar's features.")
    freshness: list[FreshnessModel]
    coverage: Figure = Field(
        ge=0,
        le=1,
        description="How much of what is typically known of a customer is known of this one; null where the model does "
        "not tell.",
    )
    degraded: list[str] = Field(
        description="; ".join(f"`{code}`: {meaning}" for code, meaning in DEGRADED_CODES.items()),
        json_schema_extra={"items": {"type": "string", "enum": list(DEGRADED_CODES)}},
    )
    request_id: str


def _figures(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(name for name, told in model.model_fields.items() if FIGURE in told.metadata)


CHURN_FIGURES, SCORE_FIGURES = _figures(Churn), _figures(Score)
"""The names of the release's figures that stand by themselves, at the end of `churn` and before `degraded`."""


class Scores(BaseModel):
    """In request order."""

    results: list[Score | CustomerError]


def score_json(score: CustomerScore, request_id: str) -> dict[str, object]:
    """A score as `Score` documents it; without an explanation, what it would have held is left out."""
    health: dict[str, object] = {
        "score": score.score,
        "band": score.band.value,
        "base": score.base,
        "clamped": score.clamped,
    }
    answer: dict[str, object] = {
        "customer_id": score.customer_id,
        "churn": {
            "probability": score.probability,
            "horizon_days": score.horizon_days,
            "percentile": score.percentile,
            "interval": score.interval,
            "horizons": score.horizons,
            **{name: score.figures.get(name) for name in CHURN_FIGURES},
        },
        "health": health,
    }
    if score.pillars is not None and score.reasons is not None:
        # orjson writes the frozen dataclasses field by field.
        health["pillars"] = score.pillars
        health["change"] = score.change
        answer["reasons"] = score.reasons
    return answer | {
        "value": score.value,
        "segment": score.segment,
        "model_version": score.model_version,
        "scorecard_version": score.scorecard_version,
        "feature_timestamp": score.feature_timestamp,
        "freshness": score.freshness,
        **{name: score.figures.get(name) for name in SCORE_FIGURES},
        "degraded": score.degraded,
        "request_id": request_id,
    }
