"""A log of events to build features of: sessions, uses of features and purchases over two years, some told late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from features.ingestion import partitions
from features.ingestion.cells.casts import literal

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 730
EVENTS_A_CUSTOMER = 50
TOML = """
[business]
name = "growing"
[data]
kind = "events"
[[data.events]]
path = "canonical.parquet"
[churn]
definition = "inactivity"
activity = ["purchase"]
horizon_days = 30
cutoffs = ["2025-07-01", "2025-10-01"]
"""
MOMENTS = (datetime(2025, 7, 1, tzinfo=UTC), datetime(2025, 10, 1, tzinfo=UTC), START + timedelta(days=DAYS))
_MEMORY = "3GB"


def write_source(folder: Path, events: int) -> Path:
    """A TOML in `folder`, and the file of canonical events that it names; a fiftieth as many customers, some busier."""
    folder.mkdir(parents=True, exist_ok=True)
    customers = max(1, events // EVENTS_A_CUSTOMER)
    drawn = f"""
        SELECT 'E' || i AS event_id, 'C' || lpad(floor(pow(u, 1.5) * {customers})::INT::VARCHAR, 7, '0') AS customer_id,
            TIMESTAMPTZ {literal(START.isoformat())} + to_microseconds((w * {DAYS * 86_400_000_000}::BIGINT)::BIGINT)
            AS occurred_at, t, late, value, item
        FROM (SELECT i, random() AS u, random() AS t, random() AS w, random() AS late,
            round(100 * random(), 2) AS value, floor(200 * random())::INT AS item FROM range({events}) AS drawn(i))
    """
    kind = "CASE WHEN t < 0.45 THEN 'session' WHEN t < 0.75 THEN 'feature_used' ELSE 'purchase' END"
    with duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute(f"SET temp_directory = {literal(str(folder / 'spill'))}")
        connection.execute("SET threads = 1")  # so that the seed says it all
        connection.execute("SELECT setseed(0.5)")
        connection.execute(
            f"""COPY (SELECT event_id, customer_id, occurred_at,
                    CASE WHEN late < 0.03 THEN least(occurred_at + to_hours((2000 * late)::INT), TIMESTAMPTZ
                        {literal(MOMENTS[-1].isoformat())}) ELSE occurred_at END AS received_at,
                    {kind} AS type, NULL::VARCHAR AS channel, CASE WHEN type <> 'feature_used' THEN value END AS value,
                    NULL::VARCHAR AS text, CASE type WHEN 'purchase' THEN json_object('item', 'I' || item)::VARCHAR
                    WHEN 'feature_used' THEN json_object('feature', 'F' || item % 30)::VARCHAR END AS properties
                FROM ({drawn})) TO {literal(str(folder / "canonical.parquet"))} (FORMAT parquet, COMPRESSION zstd)"""
        )
    toml = folder / "growing.toml"
    toml.write_text(TOML)
    return toml


def write_log(folder: Path, events: int) -> Path:
    """The same as a generation's event files, as ingest leaves them."""
    write_source(folder, events)
    with duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute(f"SET temp_directory = {literal(str(folder / 'spill'))}")
        connection.execute("SET preserve_insertion_order = false")
        source = f"read_parquet({literal(str(folder / 'canonical.parquet'))})"
        months = [partitions.WHOLE]
        if events > partitions.ONE_FILE:
            months = sorted(month for month, _ in connection.execute(partitions.months_of(source)).fetchall())
        partitions.write(lambda _, sql, __: connection.execute(sql), source, months, folder)
    return folder
