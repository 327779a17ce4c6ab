"""On which channel, and at which hour, touches were answered: by each customer, and by all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

_STRENGTH = 5.0
"""How many touches all customers together count for beside one's own."""
_HOUR_STRENGTH = 2.0
"""How many answers."""

_HOURS = 24


@dataclass(frozen=True, slots=True)
class Answers:
    """Touches and answers by customer, channel and hour; hours are those of the business's time zone."""

    touched: dict[str, dict[str, float]]
    """By customer and channel."""
    answered: dict[str, dict[str, NDArray[np.float64]]]
    """By customer and channel: answers in each hour (24,)."""
    everybody_touched: dict[str, float]
    everybody_answered: dict[str, NDArray[np.float64]]

    def rate(self, customer_id: str, channel: str) -> float | None:
        """The share of touches on a channel that the customer answers, shrunk to everybody's; None if nobody was touched."""
        everybody = self.everybody_touched.get(channel, 0.0)
        if not everybody:
            return None
        overall = float(self.everybody_answered.get(channel, np.zeros(_HOURS)).sum()) / everybody
        touched = self.touched.get(customer_id, {}).get(channel, 0.0)
        answered = float(self.answered.get(customer_id, {}).get(channel, np.zeros(_HOURS)).sum())
        return (answered + _STRENGTH * overall) / (touched + _STRENGTH)

    def hour(self, customer_id: str, channel: str, quiet: frozenset[int] = frozenset()) -> int | None:
        """The hour at which the customer answers most on a channel, outside `quiet`; None if nobody ever answered there."""
        everybody = self.everybody_answered.get(channel)
        if everybody is None or not everybody.sum():
            return None
        own = self.answered.get(customer_id, {}).get(channel, np.zeros(_HOURS))
        share = own + _HOUR_STRENGTH * everybody / everybody.sum()
        share[[hour for hour in quiet if hour < _HOURS]] = -1.0
        return int(np.argmax(share)) if share.max() >= 0.0 else None

    @classmethod
    def read(cls, path: Path) -> Answers:
        """What `write_answers` wrote."""
        return _read(path)


def write_answers(events: Path | str, as_of: datetime, timezone: str, path: Path) -> bool:
    """Write who answered which touches until `as_of`, as far as it was known then; False where no touch has a channel."""
    moment = as_of.astimezone(UTC).isoformat()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            """
            CREATE TABLE answers AS
            SELECT customer_id, channel, hour(timezone(?, occurred_at::TIMESTAMPTZ)) AS hour,
                   count(*) FILTER (type = 'touch') AS touched,
                   count(*) FILTER (type IN ('touch_opened', 'touch_clicked')) AS answered
            FROM read_parquet(?)
            WHERE type IN ('touch', 'touch_opened', 'touch_clicked') AND coalesce(channel, '') <> ''
              AND occurred_at < ?::TIMESTAMPTZ AND coalesce(received_at, occurred_at) < ?::TIMESTAMPTZ
            GROUP BY ALL
            """,
            [timezone, str(events), moment, moment],
        )
        (rows,) = connection.execute("SELECT count(*) FROM answers").fetchone() or (0,)
        if not rows:
            return False
        connection.sql("FROM answers ORDER BY customer_id, channel, hour").write_parquet(str(path))
    return True


@lru_cache(maxsize=2)
def _read(path: Path) -> Answers:
    # A generation's files never change.
    touched: dict[str, dict[str, float]] = {}
    answered: dict[str, dict[str, NDArray[np.float64]]] = {}
    all_touched: dict[str, float] = {}
    all_answered: dict[str, NDArray[np.float64]] = {}
    columns = pq.read_table(path).to_pydict()
    names = ("customer_id", "channel", "hour", "touched", "answered")
    for customer_id, channel, hour, touches, answers in zip(*(columns[name] for name in names), strict=True):
        theirs = touched.setdefault(customer_id, {})
        theirs[channel] = theirs.get(channel, 0.0) + touches
        all_touched[channel] = all_touched.get(channel, 0.0) + touches
        if answers:
            answered.setdefault(customer_id, {}).setdefault(channel, np.zeros(_HOURS))[hour] += answers
            all_answered.setdefault(channel, np.zeros(_HOURS))[hour] += answers
    return Answers(touched, answered, all_touched, all_answered)
