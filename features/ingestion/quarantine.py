"""Why a row was set aside, and where to find it again: the quarantine of a build."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Reason(StrEnum):
    """Why a row is not used; the text is what `summary.json` counts by."""

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
    BAD_UTF8 = "bad UTF-8"


@dataclass(frozen=True, slots=True)
class BadLine:
    """A row that could not even be taken apart: 1-based line in its file, 1-based row, reason, and the row as JSON."""

    line: int
    row: int
    reason: Reason
    raw: str


def readable(value: str | bytes) -> str:
    """Text whose undecodable bytes are written out as \\xNN."""
    content = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return content.decode("utf-8", "backslashreplace")


def raw_row(names: Sequence[str], cells: Sequence[Any]) -> str:
    """A row as JSON: an object where each cell has its column, else the list of its cells."""
    shown = [readable(cell) if isinstance(cell, str | bytes) else cell for cell in cells]
    content = dict(zip(names, shown, strict=True)) if len(names) == len(shown) else shown
    return json.dumps(content, ensure_ascii=False, default=str)
