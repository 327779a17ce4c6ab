"""One customer's score as a flat row: what batch files hold, and what the table of current scores keeps.

`BatchRow` is the one declaration of the columns: the database's table, Arrow's schema, the files of scores and the shape
that `GET /v1/scores` documents follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from types import NoneType
from typing import Annotated, Any, get_args, get_type_hints

from models.value.customer_value import CustomerValue
from models.value.segmentation import CustomerSegment
from serving.releases.figures import FIGURE, Figure
from serving.scores.scorer import CustomerScore

REASONS = 3


@dataclass(frozen=True, slots=True)
class Length:
    """The most characters of a word in the database; without it, as many as there are."""

    most: int


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A scored customer in the columns that files and `GET /v1/scores` share; times are UTC."""

    customer_id: str
    churn_probability: float
    health_score: float
    health_band: Annotated[str, Length(20)]
    reason_1: str | None
    reason_2: str | None
    reason_3: str | None
    action: Annotated[str, Length(200)]
    model_version: Annotated[str, Length(40)]
    scorecard_version: Annotated[str, Length(40)]
    feature_timestamp: datetime | None
    scored_at: datetime
    churn_low: Figure = None
    churn_high: Figure = None
    churn_30d: Figure = None
    churn_60d: Figure = None
    churn_90d: Figure = None
    churn_180d: Figure = None
    expected_days_to_churn: Figure = None
    coverage: Figure = None
    value_next_12_months: float | None = None
    value_at_risk: float | None = None
    value_method: Annotated[str | None, Length(40)] = None
    segment: str | None = None
    segment_id: Annotated[str | None, Length(40)] = None
    rfm: Annotated[str | None, Length(40)] = None

    @classmethod
    def of(cls, score: CustomerScore, action: str) -> BatchRow:
        """The row of an explained score, with the action that is suggested or was decided."""
        texts: list[str | None] = [reason.text for reason in (score.reasons or ())[:REASONS]]
        reason_1, reason_2, reason_3 = texts + [None] * (REASONS - len(texts))
        figures: dict[str, Any] = {name: score.figures.get(name) for name in FIGURES}
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
            **figures,
            **value_columns(score.value, score.segment),
        )


@dataclass(frozen=True, slots=True)
class ColumnType:
    """What a column of `BatchRow` holds."""

    declared: Any
    """As a type: `str`, `float | None`."""
    kind: type
    """`str`, `float` or `datetime`."""
    length: int | None
    """The most characters of a word; None for any number."""
    is_figure: bool

    @classmethod
    def of(cls, plain: Any, annotated: Any) -> ColumnType:
        """From a field's type, without and with what is written beside it."""
        (kind,) = set(get_args(plain) or (plain,)) - {NoneType}
        beside = getattr(annotated, "__metadata__", ())
        length = next((mark.most for mark in beside if isinstance(mark, Length)), None)
        return cls(plain, kind, length, FIGURE in beside)


def _types() -> dict[str, ColumnType]:
    plain, annotated = get_type_hints(BatchRow), get_type_hints(BatchRow, include_extras=True)
    return {field.name: ColumnType.of(plain[field.name], annotated[field.name]) for field in fields(BatchRow)}


TYPES: Mapping[str, ColumnType] = _types()
"""The columns in their order."""
COLUMNS: tuple[str, ...] = tuple(TYPES)
FIGURES: tuple[str, ...] = tuple(name for name, column in TYPES.items() if column.is_figure)


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
