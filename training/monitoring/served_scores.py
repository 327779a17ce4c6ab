"""Scores that callers were told, and what came of them: the service's score history against the event log."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt

from features.config.business import Business
from features.generation import Generation
from features.home import Home
from training.dataset.labels import data_end

_TOLD = """
SELECT customer_id, min(scored_at) AS told_at, arg_min(probability, scored_at) AS p
FROM read_parquet($told) WHERE model_version = $version GROUP BY customer_id
"""
_CAME = """
SELECT told.p, count(event.customer_id) > 0 AS seen
FROM told LEFT JOIN (SELECT customer_id, occurred_at FROM read_parquet($events) WHERE type IN (SELECT unnest($types))) event
  ON event.customer_id = told.customer_id AND event.occurred_at >= told.told_at
  AND event.occurred_at < told.told_at + to_days($days)
WHERE told.told_at + to_days($days) <= $known
GROUP BY told.customer_id, told.p ORDER BY told.customer_id
"""


@dataclass(frozen=True, slots=True)
class ToldScores:
    """The first score that each customer's callers were told by a version, and whether the customer churned since."""

    y: npt.NDArray[np.int64]
    p: npt.NDArray[np.float64]


def told_scores(home: Home, generation: Generation, business: Business, version: str) -> ToldScores | None:
    """The told scores whose horizon is over; None where nothing is kept, or for tables, whose outcomes have no moment."""
    churn, last_event = business.churn, generation.sources.last_event
    parts = [str(path) for path in sorted((home.path / "scores").glob("*/*.parquet"))]
    if generation.kind == "table" or churn is None or last_event is None or not parts:
        return None
    by_event = churn.definition == "event"
    types = [churn.event] if by_event else list(churn.activity)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE TABLE told AS {_TOLD}", {"told": parts, "version": version})
        known = data_end(last_event, business.timezone)
        rows = connection.execute(
            _CAME,
            {
                "events": [str(path) for path in generation.event_parts],
                "types": types,
                "days": churn.horizon_days,
                "known": known,
            },
        ).fetchnumpy()
    seen = np.asarray(rows["seen"], dtype=np.bool_)
    return ToldScores((seen == by_event).astype(np.int64), np.asarray(rows["p"], dtype=np.float64))
