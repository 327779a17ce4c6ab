"""The timeline: what happened with one customer, from the canonical events of the build, newest first, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.generation import Generation
from serving.web.formatting import money, words

PAGE_EVENTS = 25
_COLUMNS = ["customer_id", "occurred_at", "type", "channel", "value", "text", "properties"]
_QUIET = frozenset({"session", "feature_used"})
"""Types that come by the hundred; a day of them is one entry."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One entry: `kind` is its type, `title` what a person would say, `text` what the customer wrote."""

    at: datetime
    kind: str
    title: str
    text: str | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """Some entries, newest first; `older` is where the next ones start, None at the end."""

    entries: tuple[Happening, ...]
    older: int | None


def timeline(generation: Generation, customer_id: str, currency: str | None, start: int = 0) -> Timeline:
    """The entries `start` … `start + 25` of a customer; none for businesses without events."""
    files = generation.event_parts
    if not files:
        return Timeline((), None)
    parts = [part for file in files for part in _events_of(file, customer_id)]
    if not parts:
        return Timeline((), None)
    table = pa.concat_tables(parts)
    table = table.filter(pc.less(table.column("occurred_at"), pa.scalar(generation.as_of, pa.timestamp("us", "UTC"))))
    rows = table.sort_by([("occurred_at", "descending")]).to_pylist()
    entries: list[Happening] = []
    quiet: dict[tuple[str, str], int] = {}
    for row in rows:
        at = row["occurred_at"].astimezone(UTC)
        if row["type"] in _QUIET:
            key = (at.date().isoformat(), row["type"])
            if key in quiet:
                place = quiet[key]
                entries[place] = _again(entries[place])
                continue
            quiet[key] = len(entries)
        entries.append(Happening(at, row["type"], _title(row, _properties(row["properties"]), currency), row["text"]))
    shown = tuple(entries[start : start + PAGE_EVENTS])
    older = start + PAGE_EVENTS if len(entries) > start + PAGE_EVENTS else None
    return Timeline(shown, older)


def _events_of(file: Path, customer_id: str) -> Iterator[pa.Table]:
    """The customer's rows of a file, a row group at a time.

    Files are sorted by type and customer, so that few groups have them; of the others no more is read than whose they are.
    """
    with pq.ParquetFile(file) as log:
        column = log.schema_arrow.get_field_index("customer_id")
        for group in range(log.metadata.num_row_groups):
            known = log.metadata.row_group(group).column(column).statistics
            if known is not None and known.has_min_max and not known.min <= customer_id <= known.max:
                continue
            ids = log.read_row_group(group, ["customer_id"], use_threads=False).column("customer_id")
            mine = pc.indices_nonzero(pc.equal(ids, customer_id))
            if len(mine):
                yield log.read_row_group(group, _COLUMNS, use_threads=False).take(mine)


def _again(entry: Happening) -> Happening:
    """An entry that stands for one more of its kind on its day."""
    head, _, count = entry.title.partition(" × ")
    return Happening(entry.at, entry.kind, f"{head} × {int(count or 1) + 1}", None)


def _properties(properties: Any) -> Mapping[str, Any]:
    if isinstance(properties, str):
        try:
            found = json.loads(properties)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}
    return dict(properties or {})


def _title(row: Mapping[str, Any], said: Mapping[str, Any], currency: str | None) -> str:
    kind, value = row["type"], row["value"]
    match kind:
        case "session":
            return "Session"
        case "feature_used":
            return "Used the product"
        case "ticket_opened":
            return f"Ticket opened: {words(str(said['topic']))}" if said.get("topic") else "Ticket opened"
        case "ticket_resolved":
            return "Ticket resolved"
        case "survey_answered":
            asked = str(said.get("survey", "survey")).upper()
            return f"{asked} answer" if value is None else f"{asked} answer: {value:g}"
        case "touch":
            action = str(said.get("action", "touch"))
            return "Left alone for comparison" if action == "no_action" else f"We did: {words(action)}"
        case "touch_opened":
            return "Opened our message"
        case "touch_clicked":
            return "Clicked our message"
        case "consent_given" | "consent_withdrawn":
            scope = f" for {said['scope']}" if said.get("scope") else ""
            return f"{words(kind)}{scope}"
        case "purchase" | "refund" | "payment_failed" | "subscription_renewed" | "subscription_started":
            return words(kind) if value is None else f"{words(kind)}: {money(value, currency)}"
    return words(str(kind))
