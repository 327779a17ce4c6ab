"""Cells of any type as ids, times and typed values."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.reasons import Reason
from tests.features.ingestion.ingested import (
    built,
    events,
    events_business,
    table_business,
)


def test_times_without_zone_are_in_the_business_zone(tmp_path: Path) -> None:
    result = events(
        tmp_path,
        "customer_id,occurred_at,type\na,2024-01-01 00:30:00,x\na,2024-05-01,x\na,2024-05-01T00:00Z,x\n",
        head='timezone = "Europe/Paris"',
    )
    assert [row["occurred_at"] for row in result.events] == [
        datetime(2023, 12, 31, 23, 30, tzinfo=UTC),
        datetime(2024, 4, 30, 22, tzinfo=UTC),
        datetime(2024, 5, 1, tzinfo=UTC),
    ]


def test_parquet_times_and_ids(tmp_path: Path) -> None:
    naive = pa.array([datetime(2024, 1, 1), datetime(2024, 7, 1)], pa.timestamp("ns"))
    pq.write_table(
        pa.table({"customer_id": pa.array([5.0, None]), "occurred_at": naive, "value": [1.5, math.nan]}),
        tmp_path / "e.parquet",
    )
    of = events_business(tmp_path, 'type = "x"', "e.parquet", 'timezone = "Asia/Tokyo"')
    result = built(of)
    assert [(row["customer_id"], row["occurred_at"]) for row in result.events] == [
        ("5", datetime(2023, 12, 31, 15, tzinfo=UTC))
    ]
    assert result.reasons == [(2, Reason.NO_CUSTOMER)]
    assert json.loads(result.rejected[0]["raw"])["value"] == "nan"


@pytest.mark.parametrize("days", [pa.array([19970101, 19970230]), pa.array(["19970101", "19970230"])])
def test_times_in_a_given_format(tmp_path: Path, days: Any) -> None:
    pq.write_table(pa.table({"customer_id": ["a", "b"], "date": days}), tmp_path / "e.parquet")
    keys = 'occurred_at = "date"\noccurred_format = "%Y%m%d"\ntype = "x"'
    result = built(events_business(tmp_path, keys, "e.parquet"))
    assert [row["occurred_at"] for row in result.events] == [datetime(1997, 1, 1, tzinfo=UTC)]
    assert result.reasons == [(2, Reason.BAD_TIME)]


def test_a_format_with_a_zone(tmp_path: Path) -> None:
    keys = 'occurred_format = "%d/%m/%Y %H:%M %z"'
    result = events(tmp_path, "customer_id,occurred_at,type\na,02/01/2024 05:00 +0200,x\n", keys)
    assert result.events[0]["occurred_at"] == datetime(2024, 1, 2, 3, tzinfo=UTC)


def test_typed_properties_stay_typed(tmp_path: Path) -> None:
    content = {
        "customer_id": ["a", "b"],
        "occurred_at": [date(2024, 1, 1), date(2024, 1, 2)],
        "properties": [{"pscore": 0.25, "action": "call"}, None],
    }
    pq.write_table(pa.table(content), tmp_path / "e.parquet")
    result = built(events_business(tmp_path, 'type = "touch"', "e.parquet"))
    assert json.loads(result.events[0]["properties"]) == {"pscore": 0.25, "action": "call"}
    assert result.events[1]["properties"] is None


def test_typed_columns(tmp_path: Path) -> None:
    content = {
        "i": [1, None],
        "f": [1.5, math.nan],
        "b": [True, None],
        "d": [date(2024, 1, 2), None],
        "l": [[1, 2], None],
        "n": pa.nulls(2),
        "left": ["yes", "no"],
    }
    pq.write_table(pa.table(content), tmp_path / "t.parquet")
    rows = built(table_business(tmp_path, name="t.parquet")).customers
    assert [rows[0][name] for name in "ifbdln"] == [1.0, 1.5, "true", "2024-01-02", "[1,2]", None]
    assert [rows[1][name] for name in "ifbdln"] == [None] * 6
