"""The shapes of everybody's current scores over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from serving.api.schemas import Moment, Query
from serving.current_scores.feed import DeletedCustomer
from serving.current_scores.record import COLUMNS, BatchRow
from serving.scores.schemas import HealthBand


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


def current_score_json(row: BatchRow | DeletedCustomer) -> dict[str, object]:
    """A row of the table of current scores, as `CurrentScore` or `Deleted` document it."""
    if isinstance(row, DeletedCustomer):
        return {"customer_id": row.customer_id, "deleted": True}
    return {name: getattr(row, name) for name in COLUMNS}
