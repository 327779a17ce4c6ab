"""Served scores whose outcome is known by now: the service's score history against the event log."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt

from features.config.business import Business
from features.generation import Generation
from features.home import Home
from models.inference_log import SERVED_SCORES, ServedScore
from training.dataset.labels import data_end

_FIRST = f"""
SELECT customer_id, min(scored_at) AS scored_at, arg_min(probability, scored_at) AS p
FROM (SELECT {", ".join(ServedScore._fields)} FROM read_parquet($parts)) WHERE model_version = $version GROUP BY customer_id
"""
_OUTCOMES = """
SELECT served.p, count(event.customer_id) > 0 AS seen
FROM served LEFT JOIN (SELECT customer_id, occurred_at FROM read_parquet($events) WHERE type IN (SELECT unnest($types))) event
  ON event.customer_id = served.customer_id AND event.occurred_at >= served.scored_at
  AND event.occurred_at < served.scored_at + to_days($days)
WHERE served.scored_at + to_days($days) <= $known
GROUP BY served.customer_id, served.p ORDER BY served.customer_id
"""


@dataclass(frozen=True, slots=True)
class MaturedScores:
    """The first score of each customer that a version served, and whether the customer churned since; shapes (n,)."""

    y: npt.NDArray[np.int64]
    p: npt.NDArray[np.float64]


def matured_scores(home: Home, generation: Generation, business: Business, version: str) -> MaturedScores | None:
    """The served scores whose horizon is over; None where nothing is kept, or for tables, whose outcomes have no moment."""
    churn, last_event = business.churn, generation.sources.last_event
    parts = [str(path) for path in sorted((home.path / SERVED_SCORES).glob("*/*.parquet"))]
    if generation.kind == "table" or churn is None or last_event is None or not parts:
        return None
    by_event = churn.definition == "event"
    types = [churn.event] if by_event else list(churn.activity)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE TABLE served AS {_FIRST}", {"parts": parts, "version": version})
        known = data_end(last_event, business.timezone)
        rows = connection.execute(
            _OUTCOMES,
            {
                "events": [str(path) for path in generation.event_parts],
                "types": types,
                "days": churn.horizon_days,
                "known": known,
            },
        ).fetchnumpy()
    seen = np.asarray(rows["seen"], dtype=np.bool_)
    return MaturedScores((seen == by_event).astype(np.int64), np.asarray(rows["p"], dtype=np.float64))
