"""Why a row was set aside, and where to find it again: the quarantine of a build."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb

from features.ingestion.cells.clocks import CLOCKS
from features.ingestion.cells.time_formats import fitting
from features.ingestion.encodings import WESTERN
from features.reasons import Reason

_CURES: Final[Mapping[str, str]] = {
    Reason.NO_CUSTOMER: "does customer_id name the right column?",
    Reason.NO_TIME: "does occurred_at name the right column?",
    Reason.NO_TYPE: "does type name the right column?",
    Reason.FUTURE_TIME: "check occurred_format and [business] timezone",
    Reason.FUTURE_RECEIVED: "check received_format and [business] timezone",
    Reason.FUTURE_CREATED: "check created_format and [business] timezone",
    Reason.NOT_A_NUMBER: "mend the cells, or name another column",
    Reason.NO_OUTCOME: "leave out those whose outcome is not known yet, or write churned = { filled = true } if a blank cell means that they stayed",
    Reason.DUPLICATE_EVENT: "event_id must name what is another for every event",
    Reason.DUPLICATE_CUSTOMER: "customer_id must name what is another for every row",
    Reason.WRONG_COLUMNS: "check delimiter, and quotes around cells that hold it; where rows have other cells than the header, name all in "
    "`columns`, with skip_lines = 1",
    Reason.NOT_CSV: "a quote within a cell is written twice",
    Reason.BAD_UTF8: f"set the encoding of a CSV, such as {', '.join(map(repr, WESTERN))}, or write the text as UTF-8",
}
_FORMATS: Final[Mapping[str, str]] = {
    Reason.BAD_TIME: "occurred_format",
    Reason.BAD_RECEIVED: "received_format",
    Reason.BAD_CREATED: "created_format in [data.customers]",
    Reason.NO_ORDER: "order_format",
}
"""The keys that say how times are written."""
_EXAMPLES: Final = 1000


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


def example(connection: duckdb.DuckDBPyConnection, rejected: str, source: int, reason: str) -> tuple[int, str]:
    """The first line of a source that was set aside for a reason, and the row; `rejected` is SQL after FROM."""
    found = connection.execute(
        f"SELECT line, raw FROM {rejected} WHERE source = ? AND reason = ? ORDER BY file, line LIMIT 1",
        [source, reason],
    ).fetchall()
    return int(found[0][0]), str(found[0][1])


def cure(
    connection: duckdb.DuckDBPyConnection,
    rejected: str,
    source: int,
    reason: str,
    column: str | None,
    *,
    some_read: bool = False,
) -> str:
    """The end of a message about rows that were set aside: what to do, or nothing; `column` is the one that holds their times.

    `some_read`: others of the source were not set aside.
    """
    if reason not in _FORMATS:
        return f"; {_CURES[reason]}" if reason in _CURES else ""
    rows = connection.execute(
        f"SELECT raw FROM {rejected} WHERE source = ? AND reason = ? ORDER BY file, line LIMIT {_EXAMPLES}",
        [source, reason],
    ).fetchall()
    written = [json.loads(raw).get(column) for (raw,) in rows]
    fit = " or ".join(map(repr, fitting(connection, [text for text in written if isinstance(text, str)])))
    if not fit:
        return f"; set {_FORMATS[reason]}, to a strptime format or one of {', '.join(CLOCKS)}"
    key, _, where = _FORMATS[reason].partition(" ")
    read = f"; {fit} would read them, and one format must read all of a column" if some_read else f"; set {key} = {fit}"
    return f"{read}{f' {where}' if where and not some_read else ''}{', whichever they mean' if ' or ' in fit else ''}"
