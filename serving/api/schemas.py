"""The shapes of requests and answers over HTTP: checked on the way in, documented on the way out."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from features.errors import UnknownCustomer
from models.value.customer_value import METHODS
from models.value.segmentation import RFM_CLASSES
from serving.api.responses import PROBLEM_MEDIA_TYPE
from serving.current_scores.feed import DeletedCustomer
from serving.current_scores.record import COLUMNS, BatchRow
from serving.errors import PROBLEMS, ProblemDetail
from serving.releases.release import Release
from serving.scores.scorer import DEGRADED_CODES, CustomerScore, Explain

EXAMPLE_CUSTOMER = "C00042"
MAX_CUSTOMERS = 1000

_RFC3339 = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[Tt](?P<minute>\d\d:\d\d):(?P<second>[0-5]\d|60)(?P<fraction>\.\d+)?"
    r"(?P<zone>[Zz]|[+-]\d\d:\d\d)\Z",
    re.ASCII,
)


def _moment(value: object) -> datetime:
    """An RFC 3339 time as UTC; a leap second is the last microsecond before it, as nobody's clock here knows it."""
    match = _RFC3339.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("not an RFC 3339 time with a zone, such as 2026-11-20T00:00:00Z (write + as %2B in a URL)")
    second, fraction = match["second"], (match["fraction"] or "")[:7]
    if second == "60":
        second, fraction = "59", ".999999"
    zone = "+00:00" if match["zone"] in "Zz" else match["zone"]
    try:
        moment = datetime.fromisoformat(
            f"{match['day']}T{match['minute']}:{second}{fraction.ljust(7, '0') if fraction else ''}{zone}"
        )
    except ValueError:
        raise ValueError("not a time that the calendar has") from None
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if moment.year == 1 else datetime.max.replace(tzinfo=UTC)


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
CustomerId = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=512, pattern=r"^[^\x00]+$"),
    Field(description="A string; whole numbers without decimals.", examples=[EXAMPLE_CUSTOMER]),
]
CustomerPath = Annotated[CustomerId, Path(description="Percent-encoded, a slash as %2F.")]


class Query(BaseModel):
    """A query string, in which nothing unknown passes in silence."""

    model_config = ConfigDict(extra="forbid")


class Body(BaseModel):
    """A JSON body, in which nothing unknown passes in silence and no type is guessed."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ScoreQuery(Query):
    """What to say of one customer."""

    explain: Explain = Field(
        Explain.TOP, description="top: the 5 largest reasons; all: every feature; none: no explanation."
    )


class CurrentScoresQuery(Query):
    """Where to go on in the order of changes."""

    changed_since: Moment | None = Field(
        None, description="Rows that changed at or after this time; without it, all.", examples=["2026-11-20T00:00:00Z"]
    )
    cursor: str | None = Field(
        None,
        min_length=1,
        max_length=512,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="`next_cursor` of the answer before; it lasts 7 days and wins over changed_since.",
    )
    limit: int = Field(100, ge=1, le=1000, description="Rows per answer.", examples=[100])


class ScoresRequest(Body):
    """Whom to score."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"customer_ids": [EXAMPLE_CUSTOMER], "explain": "none"}]})

    customer_ids: list[CustomerId] = Field(min_length=1, max_length=MAX_CUSTOMERS)
    explain: Annotated[Explain, Field(strict=False)] = Explain.NONE


class ProblemModel(BaseModel):
    """RFC 9457; every `type` is listed at /docs/problems."""

    class FieldErrorModel(BaseModel):
        """A field of the request that is at fault."""

        field: str
        message: str

    type: str = Field(
        examples=["/docs/problems#unknown-customer"], json_schema_extra={"enum": [p.type for p in PROBLEMS]}
    )
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldErrorModel] | None = None


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
    expected_days_to_churn: float | None = Field(
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
    coverage: float | None = Field(
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


class CustomerError(BaseModel):
    """A customer of whom there is no score, and why."""

    customer_id: str
    error: ProblemModel


class Scores(BaseModel):
    """In request order."""

    results: list[Score | CustomerError]


class CurrentScore(BaseModel):
    """A batch row."""

    customer_id: str
    churn_probability: float
    health_score: float
    health_band: HealthBand
    reason_1: str | None
    reason_2: str | None
    reason_3: str | None
    action: str
    model_version: str
    scorecard_version: str
    feature_timestamp: datetime | None
    scored_at: datetime
    churn_low: float | None
    churn_high: float | None
    churn_30d: float | None
    churn_60d: float | None
    churn_90d: float | None
    churn_180d: float | None
    expected_days_to_churn: float | None
    coverage: float | None
    value_next_12_months: float | None
    value_at_risk: float | None
    value_method: str | None
    segment: str | None
    segment_id: str | None
    rfm: str | None


class Deleted(BaseModel):
    """A customer who was removed."""

    customer_id: str
    deleted: Literal[True]


class CurrentScoresPage(BaseModel):
    """Changes in their order; null as `next_cursor` means that there are no more for now."""

    results: list[CurrentScore | Deleted]
    next_cursor: str | None


class ScorecardModel(BaseModel):
    """What freezes the meaning of health."""

    version: str
    p_ref: float
    pdo: float
    bands: dict[str, float]
    base: float = Field(description="The health of a customer about whom nothing stands out.")


class FeatureModel(BaseModel):
    """A feature that the model reads."""

    name: str
    pillar: str
    dtype: Literal["float", "string"]
    unit: str
    typical: float | str | None


class GateModel(BaseModel):
    """What a gate measured when the model was trained."""

    passed: bool
    figure: float
    limit: float


class Champion(BaseModel):
    """The model that answers."""

    name: str
    version: str
    trained_at: datetime
    horizon_days: int
    metrics: dict[str, float | None]
    gates: dict[str, GateModel]
    scorecard: ScorecardModel
    features: list[FeatureModel]
    generation: str
    features_as_of: datetime
    population: int


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"]


class Ready(BaseModel):
    """What it answers from."""

    status: Literal["ready"]
    generation: str
    model_version: str
    scorecard_version: str
    not_taken_up: str | None = Field(description="Why a newer build or champion is not served, or null.")


_MEANINGS = {
    401: "No valid API key.",
    403: "The key's role may not do this.",
    404: "Nobody, or nothing, by that id.",
    409: "It conflicts with what is recorded.",
    413: "The request body is too large.",
    422: "The request is not valid; `errors` names the fields.",
    429: "The key is over its request rate; wait for the seconds in Retry-After.",
    503: "No model is served yet, or a store does not answer; retry later.",
}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of these error statuses, for a route's `responses`."""
    return {
        status: {
            "description": _MEANINGS[status],
            "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


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
            "expected_days_to_churn": score.expected_days,
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
        "coverage": score.coverage,
        "degraded": score.degraded,
        "request_id": request_id,
    }


def customer_error_json(unknown: UnknownCustomer, detail: ProblemDetail) -> dict[str, object]:
    """A customer without a score, as `CustomerError` documents it."""
    return {"customer_id": unknown.customer_ids[0], "error": detail.to_json()}


def current_score_json(row: BatchRow | DeletedCustomer) -> dict[str, object]:
    """A row of the table of current scores, as `CurrentScore` or `Deleted` document it."""
    if isinstance(row, DeletedCustomer):
        return {"customer_id": row.customer_id, "deleted": True}
    return {name: getattr(row, name) for name in COLUMNS}


def champion_json(release: Release) -> dict[str, object]:
    """The served model, as `Champion` documents it."""
    bundle, card = release.bundle, release.scorecard
    return {
        "name": f"keepwell-{bundle.business}",
        "version": release.model_version,
        "trained_at": bundle.trained_at.astimezone(UTC),
        "horizon_days": bundle.horizon_days,
        "metrics": dict(bundle.metrics),
        "gates": dict(bundle.gates),
        "scorecard": {
            "version": card.version,
            "p_ref": card.p_ref,
            "pdo": card.pdo,
            "bands": {"red": card.red, "green": card.green},
            "base": release.base,
        },
        "features": [
            {
                "name": feature.name,
                "pillar": feature.pillar,
                "dtype": feature.dtype.value,
                "unit": feature.unit,
                "typical": bundle.typical.get(feature.name),
            }
            for feature in release.schema
        ],
        "generation": release.generation.id,
        "features_as_of": release.generation.as_of,
        "population": int(release.population.size),
    }
