"""What was known of whom at which moment: the point-in-time join of snapshots, as Feast answers it, in one pass a pillar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from features.ingestion.cells.casts import literal, quoted

MEMORY: Final = "2GB"


def known_at(snapshot: Path, customers: pa.Array, moments: pa.Array, columns: Sequence[str]) -> pa.Table:
    """The `columns` of `snapshot` that were known of each customer at his moment (timestamps in UTC), a row each, in order.

    The row of the latest `event_timestamp` up to the moment counts, and of several the one that was created last; what
    was created after the moment was not known. Null where nothing was.
    """
    with duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{MEMORY}'")
        connection.execute("SET TimeZone = 'UTC'")
        asked = pa.table({"customer_id": customers, "moment": moments, "place": pa.array(range(len(customers)))})
        connection.register("asked", asked)
        rows = f"read_parquet({literal(str(snapshot))}, file_row_number = true)"
        # The keys alone say which row answers; only those rows' features are then carried along.
        connection.execute(
            f"CREATE TABLE answers AS SELECT place, arg_max(file_row_number, (event_timestamp, created_timestamp)) AS row "
            f"FROM asked JOIN {rows} AS known ON known.customer_id = asked.customer_id AND event_timestamp <= moment "
            f"AND created_timestamp <= moment GROUP BY place"
        )
        wanted = ", ".join(f"known.{quoted(column)}" for column in columns)
        found: Any = connection.sql(
            f"SELECT {wanted} FROM asked LEFT JOIN (SELECT place, known.* FROM answers JOIN {rows} AS known "
            f"ON known.file_row_number = answers.row) AS known USING (place) ORDER BY place"
        )
        return found.to_arrow_table()
