"""One event: what it must say, and what it is told where it does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from features.event_log.event import LONGEST, LiveEvent, Refusal, check, microseconds
from features.ingestion.cells.casts import FLOAT32
from features.reasons import Reason

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
GOOD: dict[str, Any] = {"customer_id": "C1", "type": "purchase", "occurred_at": "2026-11-28T10:00:00Z"}


def refused(**changes: Any) -> tuple[str, str]:
    found = check({**GOOD, **changes}, NOW)
    assert isinstance(found, Refusal), found
    return found.field, found.reason.value


def taken(**changes: Any) -> LiveEvent:
    found = check({**GOOD, **changes}, NOW)
    assert isinstance(found, LiveEvent), found
    return found


def test_ids_and_words_are_cleaned_as_those_of_files() -> None:
    event = taken(
        event_id=" e\u00a01 ",
        customer_id="\ufeffCafe\u0301\t",
        type=" purchase ",
        channel="",
        text=" \u200bthe invoice\u00a0is wrong ",
        value=3,
        properties={"b": "x", "a": [1, {"d": None}]},
        replaces=" e0",
    )
    assert event == LiveEvent(
        event_id="e 1",
        customer_id="Café",
        occurred=microseconds(datetime(2026, 11, 28, 10, tzinfo=UTC)),
        type="purchase",
        channel=None,
        value=3.0,
        text="the invoice is wrong",
        properties='{"a":[1,{"d":null}],"b":"x"}',
        replaces="e0",
    )


@pytest.mark.parametrize("said", [None, 1, "purchase", [], [GOOD]])
def test_what_is_no_object_is_no_event(said: object) -> None:
    assert check(said, NOW) == Refusal("", Reason.NO_OBJECT)


@pytest.mark.parametrize("id", [None, "", " \u00a0", "null", "NaN", "undefined"])
def test_nobody_is_no_customer_and_no_id_is_none(id: str | None) -> None:
    assert refused(customer_id=id) == ("customer_id", "no customer_id")
    assert taken(event_id=id, replaces=id) == taken()


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"type": " "}, "type", "no type"),
        ({"type": None}, "type", "no type"),
        ({"customer_id": 42}, "customer_id", "a value that is no text"),
        ({"text": "half \ud83d of a character"}, "text", "a value that is no text"),
        ({"channel": "a\0b"}, "channel", "a value that is no text"),
        ({"event_id": True}, "event_id", "a value that is no text"),
        ({"event_id": "x" * (LONGEST + 1)}, "event_id", "too long"),
        ({"occurred_at": None}, "occurred_at", "no occurred_at"),
        ({"occurred_at": ""}, "occurred_at", "no occurred_at"),
        ({"occurred_at": "2026-11-28T10:00:00"}, "occurred_at", "no zone"),
        ({"occurred_at": "2026-11-28"}, "occurred_at", "unparseable occurred_at"),
        ({"occurred_at": "2026-02-30T10:00:00Z"}, "occurred_at", "unparseable occurred_at"),
        ({"occurred_at": 1764324000}, "occurred_at", "unparseable occurred_at"),
        ({"occurred_at": "1899-12-31T23:59:59Z"}, "occurred_at", "occurred_at before 1900"),
        ({"value": "12.50"}, "value", "a value that is no number"),
        ({"value": True}, "value", "a value that is no number"),
        ({"value": float("nan")}, "value", "a value that is no number"),
        ({"value": float("inf")}, "value", "an infinite value"),
        ({"value": 10**400}, "value", "an infinite value"),
        ({"value": -3.5e38}, "value", "an infinite value"),
        ({"properties": []}, "properties", "properties that are no JSON object"),
        ({"properties": {"a": float("nan")}}, "properties", "properties that are no JSON object"),
        ({"properties": {"a\udc00": 1}}, "properties", "a value that is no text"),
        ({"received_at": "2026-11-28T10:00:00Z"}, "received_at", "unknown field"),
        ({"custmer_id": "C1"}, "custmer_id", "unknown field"),
        ({"\ud800": 1}, "\\ud800", "unknown field"),
        ({"event_id": "e", "replaces": "e"}, "replaces", "conflict"),
    ],
)
def test_what_is_wrong_is_told_with_its_field(changes: dict[str, Any], field: str, reason: str) -> None:
    assert refused(**changes) == (field, reason)


def test_the_future_begins_five_minutes_ahead() -> None:
    at_most = NOW + timedelta(minutes=5)
    assert taken(occurred_at=at_most.isoformat()).occurred == microseconds(at_most)
    assert refused(occurred_at=(at_most + timedelta(microseconds=1)).isoformat()) == ("occurred_at", "future")
    assert taken(occurred_at="2026-11-28T14:00:00+02:00").occurred == microseconds(NOW)


def test_the_largest_value_is_that_of_files() -> None:
    assert taken(value=float(FLOAT32)).value == float(FLOAT32)
