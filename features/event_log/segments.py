"""The log of live events as files for a build: each build adds those that came since, so that the next reads only these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, func, inspect, select

from features.atomic_write import replacing
from features.database.database import Database
from features.errors import HomeError
from features.event_log.tables import live_events, refused_events

_ROWS: Final = 1 << 16
_MOMENT: Final = pa.timestamp("us", "UTC")
_EVENTS: Final = pa.schema(
    [
        ("event_id", pa.string()),
        ("customer_id", pa.string()),
        ("occurred_at", _MOMENT),
        ("received_at", _MOMENT),
        ("type", pa.string()),
        ("channel", pa.string()),
        ("value", pa.float64()),
        ("text", pa.string()),
        ("properties", pa.string()),
        ("replaces", pa.string()),
    ]
)
_REFUSED: Final = pa.schema(
    [("received_at", _MOMENT), ("field", pa.string()), ("reason", pa.string()), ("raw", pa.string())]
)


def take(url: str, folder: Path) -> Path | None:
    """Add to `folder` what came into the log at `url` since the last time; `folder`, or None where no event ever came in.

    Its files are in order of receipt and never change. To be called by one process at a time.

    Raises:
        DatabaseUnavailable: the log does not answer.
        HomeError: the log lacks what was taken from it before.
    """
    taken = sorted(folder.glob("*.parquet"))
    last = max((int(file.stem.rpartition("-")[2]) for file in taken), default=0)
    rows = sum(pq.read_metadata(file).num_rows for file in taken)
    database = Database(url)
    try:
        kept = 0
        if _is_there(database, live_events.name):
            with database.read() as connection:
                kept = connection.scalar(select(func.count()).where(live_events.c.sequence <= last)) or 0
                if kept == rows:
                    _add(connection, last, folder)
        if kept != rows:
            raise HomeError(
                f"{folder} has {rows:,} live events, of which the log has {kept:,}: restore the log of events from a backup, or "
                "take the folder away if they are to be forgotten."
            )
    finally:
        database.close()
    return folder if any(folder.glob("*.parquet")) else None


def write_refused(url: str, file: Path) -> Mapping[str, int]:
    """Write the events that were refused on arrival to `file`, where there are any; how many, by reason."""
    database = Database(url)
    try:
        if not _is_there(database, refused_events.name):
            return {}
        columns = refused_events.c
        with database.read() as connection:
            found = connection.execute(
                select(columns.received, columns.field, columns.reason, columns.raw).order_by(
                    columns.received, columns.digest
                )
            ).all()
    finally:
        database.close()
    if found:
        pq.write_table(_table(found, _REFUSED), file)
    return dict(Counter(row.reason for row in found).most_common())


def _is_there(database: Database, table: str) -> bool:
    """Whether the log was ever begun; asking must not make its file."""
    file = database.url.database if database.url.get_backend_name() == "sqlite" else None
    if file is not None and not Path(file).exists():
        return False
    with database.read() as connection:
        return inspect(connection).has_table(table)


def _add(connection: Connection, after: int, folder: Path) -> None:
    columns = live_events.c
    newest = connection.scalar(select(func.max(columns.sequence)))
    first = connection.scalar(select(func.min(columns.sequence)).where(columns.sequence > after))
    if newest is None or first is None:
        return
    said = [columns.event_id, columns.customer_id, columns.occurred, columns.received, columns.type, columns.channel]
    said += [columns.value, columns.text, columns.properties, columns.replaces]
    added = select(*said).where(columns.sequence > after).order_by(columns.sequence)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        replacing(folder / f"{first:019d}-{newest:019d}.parquet") as file,
        pq.ParquetWriter(file, _EVENTS, compression="zstd") as writer,
        connection.execution_options(yield_per=_ROWS).execute(added) as rows,
    ):
        for part in rows.partitions():
            writer.write_table(_table(part, _EVENTS))


def _table(rows: Sequence[Any], schema: pa.Schema) -> pa.Table:
    """Rows as a table; a moment is microseconds since 1970."""
    arrays = [
        pa.array(column, pa.int64()).cast(field.type) if field.type == _MOMENT else pa.array(column, field.type)
        for column, field in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
