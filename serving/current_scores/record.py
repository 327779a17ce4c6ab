"""One customer's score as a flat row: what batch files hold, and what the table of current scores keeps."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from models.value.customer_value import CustomerValue
from models.value.segmentation import CustomerSegment
from serving.scores.scorer import CustomerScore

REASONS = 3


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A scored customer in the columns that files and `GET /v1/scores` share; times are UTC."""

    customer_id: str
    churn_probability: float
    health_score: float
    health_band: str
    reason_1: str | None
    reason_2: str | None
    reason_3: str | None
    action: str
    model_version: str
    scorecard_version: str
    feature_timestamp: datetime | None
    scored_at: datetime
    churn_low: float | None = None
    churn_high: float | None = None
    churn_30d: float | None = None
    churn_60d: float | None = None
    churn_90d: float | None = None
    churn_180d: float | None = None
    expected_days_to_churn: float | None = None
    coverage: float | None = None
    value_next_12_months: float | None = None
    value_at_risk: float | None = None
    value_method: str | None = None
    segment: str | None = None
    segment_id: str | None = None
    rfm: str | None = None

    @classmethod
    def of(cls, score: CustomerScore, action: str) -> BatchRow:
        """The row of an explained score, with the action that is suggested or was decided."""
        texts: list[str | None] = [reason.text for reason in (score.reasons or ())[:REASONS]]
        reason_1, reason_2, reason_3 = texts + [None] * (REASONS - len(texts))
        within: dict[str, Any] = {within_column(one.days): one.probability for one in score.horizons or ()}
        return cls(
            customer_id=score.customer_id,
            churn_probability=score.probability,
            health_score=score.score,
            health_band=score.band.value,
            reason_1=reason_1,
            reason_2=reason_2,
            reason_3=reason_3,
            action=action,
            model_version=score.model_version,
            scorecard_version=score.scorecard_version,
            feature_timestamp=score.feature_timestamp,
            scored_at=score.scored_at,
            churn_low=None if score.interval is None else score.interval.low,
            churn_high=None if score.interval is None else score.interval.high,
            **within,
            expected_days_to_churn=score.expected_days,
            coverage=score.coverage,
            **value_columns(score.value, score.segment),
        )


def within_column(days: int) -> str:
    """The column of the probability of churn within some days."""
    return f"churn_{days}d"


def value_columns(value: CustomerValue | None, segment: CustomerSegment | None) -> dict[str, Any]:
    """The columns of one customer's value and segment."""
    rfm = None if segment is None else segment.rfm
    return {
        "value_next_12_months": None if value is None else value.next_12_months,
        "value_at_risk": None if value is None else value.at_risk,
        "value_method": None if value is None else value.method.value,
        "segment": None if segment is None else segment.name,
        "segment_id": None if segment is None else segment.id,
        "rfm": None if rfm is None else rfm.label,
    }


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(BatchRow))
FIGURES: tuple[str, ...] = COLUMNS[COLUMNS.index("churn_low") : COLUMNS.index("value_next_12_months")]
"""The columns that a model may not tell, numbers all of them."""
