"""Snapshots in Parquet as packed rows in bulk: one moment of one pillar, sorted by key, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.store.codec import RowLayout, key_of_id, to_microseconds
from features.store.rows import Item

JOIN_KEY = "customer_id"
EVENT_TIMESTAMP = "event_timestamp"
CREATED_TIMESTAMP = "created_timestamp"

_ROWS_PER_READ = 65_536
_ROWS_PER_WRITE = 50_000


def rows_at(snapshot: Path, moment: datetime) -> int:
    """How many rows of `moment` the snapshot holds."""
    with pq.ParquetFile(snapshot) as file:
        at = pa.scalar(moment.astimezone(UTC), pa.timestamp("us", "UTC"))
        return sum(
            pc.sum(pc.equal(batch.column(0), at)).as_py() or 0
            for batch in file.iter_batches(_ROWS_PER_READ, columns=[EVENT_TIMESTAMP])
        )


def packed_snapshot(snapshot: Path, layout: RowLayout, moment: datetime) -> Iterator[list[Item]]:
    """The packed rows of `moment` in rising order of keys, some ten thousands at a time; NaN is null.

    Of several rows of one customer, the one that was created last stands. One moment of one pillar is held in memory:
    some 4 bytes a value and 30 a customer.
    """
    rows = _rows_of(snapshot, [name for name, _ in layout.columns], moment)
    order = pc.sort_indices(rows, sort_keys=[(JOIN_KEY, "ascending"), (CREATED_TIMESTAMP, "ascending")])
    names = {name: name for name, _ in layout.columns}
    at, n = to_microseconds(moment), rows.num_rows
    start = 0
    while start < n:
        # One row more tells whether the last customer of this part goes on in the next.
        part = rows.take(order[start : start + _ROWS_PER_WRITE + 1])
        ids = part.column(JOIN_KEY).combine_chunks()
        last = np.ones(len(ids), dtype=bool)
        last[:-1] = pc.not_equal(ids[:-1], ids[1:]).to_numpy(zero_copy_only=False)
        if start + len(ids) < n:
            last[-1] = False
        part = part.filter(pa.array(last))
        created = part.column(CREATED_TIMESTAMP).cast(pa.int64()).to_numpy()
        keys = [key_of_id(name) for name in part.column(JOIN_KEY).to_pylist()]
        yield list(zip(keys, layout.pack_table(part, names, at, created), strict=True))
        start += _ROWS_PER_WRITE if start + len(ids) < n else len(ids)


def _rows_of(snapshot: Path, columns: list[str], moment: datetime) -> pa.Table:
    at = pa.scalar(moment.astimezone(UTC), pa.timestamp("us", "UTC"))
    with pq.ParquetFile(snapshot) as file:
        wanted = [JOIN_KEY, CREATED_TIMESTAMP, *columns]
        batches = [
            part
            for batch in file.iter_batches(_ROWS_PER_READ, columns=[EVENT_TIMESTAMP, *wanted])
            if (part := batch.filter(pc.equal(batch.column(EVENT_TIMESTAMP), at))).num_rows
        ]
        if not batches:
            return file.schema_arrow.empty_table().select(wanted)
        return pa.Table.from_batches(batches).select(wanted).combine_chunks()
