"""The shapes of everybody's current scores over HTTP."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, create_model

from serving.api.schemas import Moment, Query
from serving.current_scores.feed import DeletedCustomer
from serving.current_scores.record import COLUMNS, TYPES, BatchRow
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


_DECLARED: dict[str, Any] = {name: (column.declared, ...) for name, column in TYPES.items()}
CurrentScore = create_model("CurrentScore", __doc__="A batch row.", **_DECLARED | {"health_band": (HealthBand, ...)})


class Deleted(BaseModel):
    """A customer who was removed."""

    customer_id: str
    deleted: Literal[True]


class CurrentScoresPage(BaseModel):
    """Changes in their order; null as `next_cursor` means that there are no more for now."""

    results: list[CurrentScore | Deleted]  # type: ignore[valid-type]
    next_cursor: str | None


def current_score_json(row: BatchRow | DeletedCustomer) -> dict[str, object]:
    """A row of the table of current scores, as `CurrentScore` or `Deleted` document it."""
    if isinstance(row, DeletedCustomer):
        return {"customer_id": row.customer_id, "deleted": True}
    return {name: getattr(row, name) for name in COLUMNS}
