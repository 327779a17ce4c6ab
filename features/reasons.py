"""Why a row of a file, or an event that came in live, is not used."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a row or an event is not used; the text is what `summary.json` counts by, and what the sender of an event is told."""

    NO_CUSTOMER = "no customer_id"
    NO_TYPE = "no type"
    NO_TIME = "no occurred_at"
    BAD_TIME = "unparseable occurred_at"
    OLD_TIME = "occurred_at before 1900"
    FUTURE_TIME = "occurred_at in the future"
    BAD_RECEIVED = "unparseable received_at"
    FUTURE_RECEIVED = "received_at in the future"
    BAD_CREATED = "unparseable created_at"
    FUTURE_CREATED = "created_at in the future"
    NOT_A_NUMBER = "a value that is no number"
    INFINITE = "an infinite value"
    BAD_PROPERTIES = "properties that are no JSON object"
    NO_OUTCOME = "no outcome"
    NO_ORDER = "no number and no time in the order column"
    DUPLICATE_EVENT = "duplicate event_id"
    DUPLICATE_CUSTOMER = "duplicate customer_id"
    WRONG_COLUMNS = "wrong number of columns"
    OPEN_QUOTE = "a quote that is not closed"
    NOT_CSV = "not readable as CSV"
    NO_ROW = "no row but the header again, or a line under it"
    BAD_UTF8 = "bad UTF-8"
    NO_OBJECT = "no JSON object"
    UNKNOWN_FIELD = "unknown field"
    NO_TEXT = "a value that is no text"
    TOO_LONG = "too long"
    NO_ZONE = "no zone"
    AHEAD = "future"
    CONFLICT = "conflict"
