"""One event that comes in live, checked as the rows of a file are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isnan
from typing import Final

from features.ingestion.cells.casts import FLOAT32
from features.ingestion.cells.missing import NO_ID
from features.moments import NoMoment, NoZone, moment
from features.reasons import Reason
from features.words import word

AHEAD: Final = timedelta(minutes=5)
"""How far the sender's clock may be ahead of ours."""
LONGEST: Final = 512
"""Characters of an id, a type or a channel."""
FIELDS: Final = (
    *("event_id", "customer_id", "type", "occurred_at", "value", "channel", "text", "properties"),
    "replaces",
)
"""What an event may say; when it was received, the server says."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OLDEST: Final = datetime(1900, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """What happened, in canonical columns: `occurred` in microseconds since 1970, `properties` as JSON with sorted keys.

    Two are equal if they say the same; `replaces` is the id of the event that this one corrects.
    """

    event_id: str | None
    customer_id: str
    occurred: int
    type: str
    channel: str | None
    value: float | None
    text: str | None
    properties: str | None
    replaces: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an event is not taken: the field at fault, "" for the whole of it, and the reason."""

    field: str
    reason: Reason


class _Refused(Exception):
    def __init__(self, field: str, reason: Reason) -> None:
        self.refusal = Refusal(field, reason)


def check(said: object, now: datetime) -> LiveEvent | Refusal:
    """The event that a JSON value says, its ids and words as `features.words` cleans them, or why it is none."""
    try:
        return _checked(said, now)
    except _Refused as refused:
        return refused.refusal


def microseconds(when: datetime) -> int:
    """A moment in microseconds since 1970."""
    return (when - _EPOCH) // timedelta(microseconds=1)


def _checked(said: object, now: datetime) -> LiveEvent:
    if not isinstance(said, dict):
        raise _Refused("", Reason.NO_OBJECT)
    unknown = next((name for name in said if name not in FIELDS), None)
    if unknown is not None:
        raise _Refused(unknown.encode("utf-8", "backslashreplace").decode()[:LONGEST], Reason.UNKNOWN_FIELD)
    customer_id, type = _id(said, "customer_id"), _word(said, "type", LONGEST)
    if customer_id is None:
        raise _Refused("customer_id", Reason.NO_CUSTOMER)
    if type is None:
        raise _Refused("type", Reason.NO_TYPE)
    event = LiveEvent(
        event_id=_id(said, "event_id"),
        customer_id=customer_id,
        occurred=microseconds(_occurred_at(said.get("occurred_at"), now)),
        type=type,
        channel=_word(said, "channel", LONGEST),
        value=_value(said.get("value")),
        text=_word(said, "text"),
        properties=_properties(said.get("properties")),
        replaces=_id(said, "replaces"),
    )
    if event.replaces is not None and event.replaces == event.event_id:
        raise _Refused("replaces", Reason.CONFLICT)
    return event


def _word(said: Mapping[str, object], name: str, longest: int | None = None) -> str | None:
    given = said.get(name)
    if given is None:
        return None
    if not isinstance(given, str) or "\0" in given or not _is_text(given):
        raise _Refused(name, Reason.NO_TEXT)
    found = word(given)
    if longest is not None and len(found) > longest:
        raise _Refused(name, Reason.TOO_LONG)
    return found or None


def _id(said: Mapping[str, object], name: str) -> str | None:
    """An id, None where it is blank or says that it is missing, as in files."""
    found = _word(said, name, LONGEST)
    return None if found is None or found.lower() in NO_ID else found


def _is_text(given: str) -> bool:
    """Whether UTF-8 can write it: JSON may escape halves of characters."""
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True


def _occurred_at(given: object, now: datetime) -> datetime:
    if given is None or given == "":
        raise _Refused("occurred_at", Reason.NO_TIME)
    try:
        occurred_at = moment(given if isinstance(given, str) else "")
    except NoZone:
        raise _Refused("occurred_at", Reason.NO_ZONE) from None
    except NoMoment:
        raise _Refused("occurred_at", Reason.BAD_TIME) from None
    if occurred_at < _OLDEST:
        raise _Refused("occurred_at", Reason.OLD_TIME)
    if occurred_at > now + AHEAD:
        raise _Refused("occurred_at", Reason.AHEAD)
    return occurred_at


def _value(given: object) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or (isinstance(given, float) and isnan(given)):
        raise _Refused("value", Reason.NOT_A_NUMBER)
    # Compared before it becomes a float: a whole number may be beyond any.
    if abs(given) > float(FLOAT32):
        raise _Refused("value", Reason.INFINITE)
    return float(given)


def _properties(given: object) -> str | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise _Refused("properties", Reason.BAD_PROPERTIES)
    try:
        written = json.dumps(given, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):  # NaN and infinity are no JSON
        raise _Refused("properties", Reason.BAD_PROPERTIES) from None
    if not _is_text(written):
        raise _Refused("properties", Reason.NO_TEXT)
    return written
