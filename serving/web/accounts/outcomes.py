"""What events say that came of customers: who left after a moment, and what they answered when asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from features.config.business import Business
from features.generation import Generation

SURVEYS = ("nps", "csat", "ces")
_SATISFIED = 4.0
_PROMOTER, _DETRACTOR = 9.0, 6.0


@dataclass(frozen=True, slots=True)
class SurveyMonth:
    """One owner's answers of a kind in a month ("2026-11"): how many, their sums, and the ends of their scale."""

    owner: str | None
    survey: str
    month: str
    n: int
    total: float
    squares: float
    promoters: int
    detractors: int
    satisfied: int


def last_quarter(generation: Generation) -> datetime | None:
    """The newest cutoff whose outcome window is over: the one that the model was tested on, or a later one."""
    horizon = timedelta(days=generation.horizon_days)
    return max((cutoff for cutoff in generation.cutoffs if cutoff + horizon <= generation.as_of), default=None)


def who_left(generation: Generation, cutoff: datetime, customer_ids: Iterable[str]) -> frozenset[str]:
    """Who of `customer_ids` churned within the horizon after `cutoff`, as the business defines it."""
    churn = Business.of(generation).churn
    assert churn is not None
    types = [churn.event] if churn.definition == "event" else list(churn.activity)
    seen = {
        str(row[0])
        for row in _query(
            "SELECT DISTINCT customer_id FROM read_parquet(?) WHERE list_contains(?, type) "
            "AND occurred_at >= ? AND occurred_at < ?",
            [generation.events_files, types, cutoff, cutoff + timedelta(days=generation.horizon_days)],
        )
    }
    by_event = churn.definition == "event"
    return frozenset(customer_id for customer_id in customer_ids if (customer_id in seen) == by_event)


def survey_months(generation: Generation, months: int = 12) -> tuple[SurveyMonth, ...]:
    """The answers of the last `months` months by owner, survey and month; CSAT is taken to be asked from 1 to 5."""
    if not generation.event_parts or not _has(generation.customers_file, "owner"):
        return ()
    since = generation.as_of - timedelta(days=round(months * 30.5))
    rows = _query(
        """
        SELECT owner, survey, month, count(*), sum(value), sum(value * value), sum((value >= ?)::INT),
               sum((value <= ?)::INT), sum((value >= ?)::INT)
        FROM (
            SELECT c.owner, lower(json_extract_string(e.properties, '$.survey')) AS survey,
                   strftime(e.occurred_at, '%Y-%m') AS month, e.value
            FROM read_parquet(?) e LEFT JOIN read_parquet(?) c USING (customer_id)
            WHERE e.type = 'survey_answered' AND e.value IS NOT NULL AND e.occurred_at >= ? AND e.occurred_at < ?
        )
        WHERE list_contains(?, survey) GROUP BY ALL ORDER BY ALL
        """,
        [
            _PROMOTER,
            _DETRACTOR,
            _SATISFIED,
            generation.events_files,
            str(generation.customers_file),
            since,
            generation.as_of,
            list(SURVEYS),
        ],
    )
    return tuple(
        SurveyMonth(
            None if owner is None else str(owner), str(survey), str(month), int(n), float(total), float(squares),
            int(promoters), int(detractors), int(satisfied),
        )
        for owner, survey, month, n, total, squares, promoters, detractors, satisfied in rows
    )  # fmt: skip


def _query(sql: str, parameters: list[object]) -> list[tuple[Any, ...]]:
    import duckdb  # only those who write an edition need it

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows: list[tuple[Any, ...]] = connection.execute(sql, parameters).fetchall()
    return rows


def _has(path: Path, column: str) -> bool:
    import pyarrow.parquet as pq

    return path.exists() and column in pq.read_schema(path).names
