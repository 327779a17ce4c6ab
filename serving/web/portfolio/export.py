"""The portfolio as a spreadsheet opens it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Row

_COLUMNS = {
    "customer_id": "Customer",
    "name": "Name",
    "owner": "Owner",
    "segment": "Segment",
    "band": "Band",
    "score": "Health",
    "change": "Change since last week",
    "probability": "Churn risk",
    "value_at_stake": "Value",
    "value_at_risk": "Value at risk",
    "reason": "Top reason",
    "action": "Next best action",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def lines(rows: Iterator[Row[Any]]) -> Iterator[str]:
    """CSV in UTF-8, its header first, some lines at a time."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    # The mark at the front is what makes spreadsheets read UTF-8.
    buffer.write("\ufeff")
    writer.writerow(_COLUMNS.values())
    for row in rows:
        writer.writerow([_cell(getattr(row, name)) for name in _COLUMNS])
        if buffer.tell() > 65_536:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, float):
        return round(value, 4)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
