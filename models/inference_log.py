"""The log of what was served, which serving writes and training reads: scores, shadow scores and decisions.

Names and types as they stand on disk and in the service's database; folders are the home's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, TypedDict

SERVED_SCORES: Final = "scores"
"""A folder a day (UTC), a Parquet file a part."""
SHADOW_SCORES: Final = "shadow"
"""A file a worker and day, a line of JSON a customer."""
DECISIONS: Final = "decisions"
"""A table of the service's database."""


class ServedScore(NamedTuple):
    """One row: which score a caller was answered, by which release."""

    scored_at: float
    """Unix seconds; on disk a timestamp in UTC, by microseconds."""
    customer_id: str
    probability: float
    score: float
    model_version: str
    scorecard_version: str


@dataclass(frozen=True, slots=True)
class ShadowScore:
    """One line: a customer whom the champion answered, and what the challenger would have said."""

    at: str
    """ISO 8601, in UTC."""
    customer_id: str
    champion: str
    champion_run: str
    challenger: str
    challenger_run: str
    p_champion: float
    p_challenger: float

    @classmethod
    def from_json(cls, line: str) -> ShadowScore:
        """Read a line back.

        Raises:
            ValueError: it is not whole, as the last line of a server that was killed.
        """
        try:
            row = json.loads(line)
            return cls(
                at=str(row["at"]),
                customer_id=str(row["customer_id"]),
                champion=str(row["champion"]),
                champion_run=str(row["champion_run"]),
                challenger=str(row["challenger"]),
                challenger_run=str(row["challenger_run"]),
                p_champion=float(row["p_champion"]),
                p_challenger=float(row["p_challenger"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError("not a whole line of a shadow score") from error


class DecisionFeedback(TypedDict):
    """What a policy learns from a decision: what was done, how likely that was, and what came of it."""

    decision_id: str
    customer_id: str
    action: str
    pscore: float
    action_dist: Mapping[str, float]
    """The probability of every action that was possible, by name."""
    decided_at: datetime
    reward: float | None


class DecisionRow(DecisionFeedback):
    """A row of the table of decisions."""

    channel: str | None
    answer: Mapping[str, Any]
    context: Mapping[str, Any]
    """All that the pscore is exact given."""
    policy_version: str
    model_version: str
    scorecard_version: str
    generation: str
    decided_by: str
    executed: bool | None
    outcome_at: datetime | None
    cost: float
    minutes: float
    holdout: bool
