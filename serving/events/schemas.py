"""The shapes of events over HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field

from features.event_log.log import EventStatus, Verdict
from serving.api.schemas import EXAMPLE_CUSTOMER, Body

MAX_EVENTS = 1000


class EventsRequest(Body):
    """Events as they happened."""

    # Not by a schema: one event that is wrong has a verdict of its own, and the others are taken.
    events: Annotated[
        list[Any],
        Field(
            min_length=1,
            max_length=MAX_EVENTS,
            description="Objects with `customer_id`, `type`, `occurred_at` (RFC 3339 with a zone) and, where there are any, "
            "`event_id`, `value` (a number), `channel`, `text`, `properties` (an object), and `replaces`, the `event_id` of the "
            "event that this one corrects.",
            examples=[
                [
                    {
                        "event_id": "e-1",
                        "customer_id": EXAMPLE_CUSTOMER,
                        "type": "ticket_opened",
                        "occurred_at": "2026-11-27T10:00:00Z",
                        "channel": "chat",
                        "text": "the invoice is wrong again",
                        "properties": {"topic": "billing"},
                    }
                ]
            ],
        ),
    ]


class EventVerdict(BaseModel):
    """What became of one event; `field` (empty for the whole event) and `reason` only where it was rejected."""

    index: int
    status: EventStatus
    field: str | None = None
    reason: str | None = None


class EventsAnswer(BaseModel):
    """What became of all, and of each in the order of the request."""

    accepted: int
    duplicates: int
    rejected: int
    results: list[EventVerdict]


def verdicts_json(verdicts: Sequence[Verdict]) -> dict[str, object]:
    """The answer, as `EventsAnswer` documents it."""
    count = Counter(verdict.status for verdict in verdicts)
    results: list[dict[str, object]] = []
    for index, verdict in enumerate(verdicts):
        result: dict[str, object] = {"index": index, "status": verdict.status.value}
        if verdict.refusal is not None:
            result |= {"field": verdict.refusal.field, "reason": verdict.refusal.reason.value}
        results.append(result)
    return {
        "accepted": count[EventStatus.ACCEPTED],
        "duplicates": count[EventStatus.DUPLICATE],
        "rejected": count[EventStatus.REJECTED],
        "results": results,
    }
