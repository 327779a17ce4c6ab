"""A customer's events are found without reading everybody's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving.web.customer import timeline

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def test_no_more_is_read_than_the_groups_that_a_customer_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {
            "customer_id": f"C{customer:04d}",
            "occurred_at": NOON + timedelta(minutes=customer),
            "type": kind,
            "channel": None,
            "value": 1.0,
            "text": f"{kind} of {customer}",
            "properties": "{}",
        }
        for kind in ("purchase", "ticket_opened")
        for customer in range(1000)
    ]
    file = tmp_path / "all.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=100)
    read: list[tuple[int, int]] = []
    whole = pq.ParquetFile.read_row_group

    def noted(self: Any, group: int, columns: list[str], **options: Any) -> pa.Table:
        read.append((group, len(columns)))
        return whole(self, group, columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    found = pa.concat_tables(timeline._events_of(file, "C0345"))
    assert found.column("text").to_pylist() == ["purchase of 345", "ticket_opened of 345"]
    assert [group for group, _ in read] == [3, 3, 13, 13]
    read.clear()
    # Of a group that they could be in, and are not, only whose events they are is read.
    assert list(timeline._events_of(file, "C0345x")) == []
    assert read == [(3, 1), (13, 1)]
