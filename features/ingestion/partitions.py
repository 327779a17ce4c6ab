"""The event log on disk: a file a month, sorted by type, customer and time, with what every later reading would parse anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from features.generation import EVENTS, EVIDENCE
from features.ingestion.cells.casts import literal, quoted
from features.pillars.data_profile import PROPERTIES

ONE_FILE: Final = 1_000_000
"""A log of at most so many events is one file."""
WHOLE: Final = "all"

CANONICAL: Final = (
    "event_id",
    "customer_id",
    "occurred_at",
    "received_at",
    "type",
    "channel",
    "value",
    "text",
    "properties",
)
# The order is total but for rows that are equal in all that features read: however a log came to be, its files are the same.
_ORDER: Final = "type, customer_id, occurred_at, received_at, value, event_id, channel, text, properties"
_ROWS_PER_GROUP: Final = 65_536

Execute = Callable[[str, str, tuple[int, int]], object]
"""Runs a statement: what is being done, the SQL, and which part of how many it is."""


def months_of(events: str) -> str:
    """SQL: the month that each row of `events` is kept in, its first day in UTC, and how many rows it has."""
    return f"SELECT strftime(timezone('UTC', occurred_at), '%Y-%m') AS month, count(*) AS rows FROM {events} GROUP BY 1"


def names(folder: Path) -> list[str]:
    """The months that a generation's log has files of."""
    return sorted(file.stem for file in (folder / EVENTS).glob("*.parquet"))


def take_over(base: Path, months: Sequence[str], folder: Path) -> None:
    """Let `folder` share these months with another generation: their files never change."""
    for kind in (EVENTS, EVIDENCE):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for month in months:
            ours, theirs = (path / kind / f"{month}.parquet" for path in (folder, base))
            try:
                ours.hardlink_to(theirs)
            except OSError:  # a file system without links
                shutil.copyfile(theirs, ours)


def write(execute: Execute, events: str, months: Sequence[str], folder: Path, base: Path | None = None) -> None:
    """Write the months of `events` (SQL after FROM, canonical columns) to `folder`/events; `["all"]` is one file.

    The rows that another generation, at `base`, has of a month are added to it.

    Beside the canonical columns each row has `occurred` and `received` in microseconds since 1970, one column for each
    of `PROPERTIES`, and `new_day`: whether it is the first to be received of its customer's rows of its type and day
    (UTC). What is known of a day is known from that row on, so that counting days is counting such rows. Beside each
    file, `folder`/evidence has one row a type: how many rows, values and words of each property there are, and which
    surveys.
    """
    for name in (EVENTS, EVIDENCE):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, month in enumerate(months):
        source = events
        if base is not None and (base / EVENTS / f"{month}.parquet").exists():
            columns = ", ".join(map(quoted, CANONICAL))
            former = literal(str(base / EVENTS / f"{month}.parquet"))
            source = f"(SELECT {columns} FROM {events} UNION ALL SELECT {columns} FROM read_parquet({former}))"
        file, evidence = (literal(str(folder / name / f"{month}.parquet")) for name in (EVENTS, EVIDENCE))
        execute(
            "Writing events",
            f"COPY ({_prepared(source, month)} ORDER BY {_ORDER}) TO {file} "
            f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROWS_PER_GROUP})",
            (2 * number, 2 * len(months)),
        )
        said = ", ".join(f"count({name}) AS has_{name}" for name in PROPERTIES)
        execute(
            "Writing events",
            f"COPY (SELECT type, count(*) AS rows, count(value) AS valued, {said}, min(occurred) AS first, "
            f"max(occurred) AS last, list(DISTINCT lower(survey)) AS surveys FROM {file} GROUP BY 1) TO {evidence}",
            (2 * number + 1, 2 * len(months)),
        )


def _prepared(events: str, month: str) -> str:
    words = ", ".join(
        f"CASE WHEN type IN ({', '.join(map(literal, types))}) THEN "
        f"json_extract_string(properties, {literal(f'$.{quoted(name)}')}) END AS {name}"
        for name, types in PROPERTIES.items()
    )
    where = "" if month == WHOLE else f"WHERE occurred_at >= {_first(month)} AND occurred_at < {_first(_next(month))}"
    return (
        f"SELECT {', '.join(map(quoted, CANONICAL))}, epoch_us(occurred_at) AS occurred, epoch_us(received_at) AS received, "
        f"{words}, row_number() OVER (PARTITION BY customer_id, type, timezone('UTC', occurred_at)::DATE "
        f"ORDER BY received_at, occurred_at, value, event_id) = 1 AS new_day FROM {events} {where}"
    )


def _first(month: str) -> str:
    # Plain arithmetic on TIMESTAMPTZ would add months in the business's own time zone.
    return f"timezone('UTC', TIMESTAMP {literal(f'{month}-01 00:00:00')})"


def _next(month: str) -> str:
    year, number = map(int, month.split("-"))
    return f"{year + number // 12:04d}-{number % 12 + 1:02d}"
