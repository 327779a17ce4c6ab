"""A whole run: refusals, progress, and the public data."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.config.business import Business
from features.errors import ConfigError, IngestError
from features.ingestion.run import ingest
from features.reasons import Reason
from tests.features.ingestion.ingested import (
    EXPERIMENTS,
    NOW,
    SHARED,
    Result,
    built,
    table_business,
)


def test_a_refusal_leaves_what_was_there(tmp_path: Path) -> None:
    of = table_business(tmp_path)
    (tmp_path / "t.csv").write_text("a,left\n1,yes\n2,no\n")
    result = built(of)
    before = {file: file.read_bytes() for file in result.folder.rglob("*") if file.is_file()}
    (tmp_path / "t.csv").write_text("a,lift\n1,yes\n")
    with pytest.raises(IngestError):
        ingest(of, result.folder, NOW)
    assert {file: file.read_bytes() for file in result.folder.rglob("*") if file.is_file()} == before


def test_without_data_there_is_nothing_to_ingest(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[business]\nname = "a"\n[decisions]\npath = "a"\naction = "b"\nreward = "c"\npscore = 0.5\n')
    with pytest.raises(ConfigError, match="nothing to build"):
        ingest(Business.load(path), tmp_path / "out", NOW)


def test_progress_is_told(tmp_path: Path) -> None:
    heard: list[tuple[str, float]] = []
    (tmp_path / "t.csv").write_text("a,left\n1,yes\n2,no\n")
    ingest(table_business(tmp_path), tmp_path / "out", NOW, lambda task, share: heard.append((task, share)))
    assert {"Reading", "Reading customers", "Writing customers"} <= {task for task, _ in heard}
    assert all(0 <= share <= 1 for _, share in heard)


def real(name: str, tmp_path: Path) -> Result:
    if not SHARED.exists():
        pytest.skip("the public data is not in ../shared/data")
    out = tmp_path / "out"
    return Result(out, ingest(Business.load(EXPERIMENTS / f"{name}.toml"), out, NOW))


@pytest.mark.data
def test_telco(tmp_path: Path) -> None:
    result = real("telco", tmp_path)
    assert (result.summary.rows_accepted, result.summary.rejected) == (7043, {})
    schema = pq.read_schema(result.folder / "customers.parquet")
    assert schema.field("TotalCharges").type == pa.float64()
    assert sum(row["TotalCharges"] is None for row in result.customers) == 11
    assert sum(row["__outcome"] for row in result.customers) == 1869


@pytest.mark.data
def test_iranian_churn(tmp_path: Path) -> None:
    result = real("iranian_churn", tmp_path)
    assert (result.summary.rows_accepted, result.summary.rejected) == (3150, {})
    assert result.customers[0]["Call  Failure"] == 8.0
    assert sum(row["__outcome"] for row in result.customers) == 495


@pytest.mark.data
def test_bank_marketing(tmp_path: Path) -> None:
    result = real("bank_marketing", tmp_path)
    assert (result.summary.rows_accepted, result.summary.rejected) == (41188, {})
    assert "duration" not in result.customers[0]
    assert result.customers[0]["emp.var.rate"] == 1.1
    assert [row["__order"] for row in result.customers] == list(range(1, 41189))


@pytest.mark.data
def test_cdnow(tmp_path: Path) -> None:
    result = real("cdnow", tmp_path)
    assert (result.summary.rows_accepted, result.summary.customers, result.summary.rejected) == (69659, 23570, {})
    assert result.summary.first_event == datetime(1997, 1, 1, 5, tzinfo=UTC)


@pytest.mark.data
def test_online_retail(tmp_path: Path) -> None:
    result = real("online_retail", tmp_path)
    summary = result.summary
    assert summary.rejected == {Reason.NO_CUSTOMER: 135_080}
    assert (summary.rows_accepted, summary.customers) == (541_909 - 135_080, 4372)
    assert summary.last_event == datetime(2011, 12, 9, 12, 50, tzinfo=UTC)
    purchases = pq.read_table(result.folder / "events", columns=["type"]).column("type").to_pylist()
    assert Counter(purchases) == {"purchase": 397_924, "refund": 8_905}
