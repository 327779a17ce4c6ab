"""What one run over a file left behind, and businesses of one small file, for the tests of ingestion."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from features.config.business import Business
from features.errors import FeaturesError
from features.ingestion.partitions import CANONICAL
from features.ingestion.run import IngestSummary, ingest

NOW = datetime(2024, 6, 1, tzinfo=UTC)
EXPERIMENTS = Path(__file__).parents[3] / "experiments"
SHARED = Path(__file__).parents[4] / "shared" / "data"

Row = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What an ingest left behind."""

    folder: Path
    summary: IngestSummary

    def rows(self, name: str) -> list[Row]:
        found: list[Row] = pq.read_table(self.folder / f"{name}.parquet").to_pylist()
        return found

    @property
    def customers(self) -> list[Row]:
        return self.rows("customers")

    @property
    def events(self) -> list[Row]:
        """By customer and time, in the canonical columns."""
        rows: list[Row] = pq.read_table(self.folder / "events", columns=list(CANONICAL)).to_pylist()
        return sorted(rows, key=lambda row: (row["customer_id"], row["occurred_at"]))

    @property
    def rejected(self) -> list[Row]:
        return self.rows("quarantine/rejected")

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return [(row["line"], row["reason"]) for row in self.rejected]


def business(folder: Path, data: str, head: str = "", churn: str = "horizon_days = 30") -> Business:
    path = folder / "business.toml"
    path.write_text(f'[business]\nname = "b"\n{head}\n[data]\n{data}\n[churn]\n{churn}\n')
    return Business.load(path)


def built(of: Business, now: datetime = NOW) -> Result:
    out = of.path.parent / "out"
    summary = ingest(of, out, now)
    result = Result(out, summary)
    assert summary.rows_read == summary.rows_accepted + summary.rows_filtered + sum(summary.rejected.values())
    assert dict(Counter(row["reason"] for row in result.rejected)) == dict(summary.rejected)
    for row in result.rejected:
        assert row["line"] >= 1
        assert row["file"]
        json.loads(row["raw"])
    written = json.loads((out / "quarantine" / "summary.json").read_text())
    assert written["rejected"] == dict(summary.rejected)
    assert not list(out.glob(".*"))
    return result


def events(folder: Path, content: str | bytes, keys: str = "", name: str = "e.csv", head: str = "") -> Result:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return built(events_business(folder, keys, name, head))


def events_business(folder: Path, keys: str = "", name: str = "e.csv", head: str = "") -> Business:
    data = f'kind = "events"\n[data.events]\npath = "{name}"\n{keys}'
    return business(folder, data, head, 'activity = ["purchase"]\nhorizon_days = 30')


def table(folder: Path, content: str | bytes, keys: str = "", name: str = "t.csv") -> Result:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return built(table_business(folder, keys, name))


def table_business(folder: Path, keys: str = "", name: str = "t.csv", pillars: str = "") -> Business:
    return business(folder, f'kind = "table"\npath = "{name}"\noutcome = "left"\nchurned = "yes"\n{keys}\n{pillars}')


def refusal(of: Business) -> str:
    out = of.path.parent / "out"
    with pytest.raises(FeaturesError) as refused:
        ingest(of, out, NOW)
    assert not out.exists()
    message = str(refused.value)
    assert "\n" not in message
    return message
