"""A business's canonical files, written by hand: what ingest leaves for the rest of a build."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.business import Business

MOMENT = pa.timestamp("us", "UTC")
EVENTS = pa.schema(
    [
        ("event_id", pa.string()),
        ("customer_id", pa.string()),
        ("occurred_at", MOMENT),
        ("received_at", MOMENT),
        ("type", pa.string()),
        ("channel", pa.string()),
        ("value", pa.float64()),
        ("text", pa.string()),
        ("properties", pa.string()),
    ]
)
WriteLog = Callable[..., Path]
MakeBusiness = Callable[..., Business]

TOML = """
[business]
name = "{name}"
currency = "EUR"
[data]
kind = "events"
[[data.events]]
path = "events.parquet"
[churn]
definition = "event"
event = "subscription_cancelled"
horizon_days = 30
{more}
"""


@pytest.fixture
def write_log(tmp_path: Path) -> WriteLog:
    """Write canonical events (and customers) into a generation directory and return it."""

    def write(
        events: Sequence[Mapping[str, Any]],
        customers: Sequence[Mapping[str, Any]] | None = None,
        folder: str = "generation",
    ) -> Path:
        path = tmp_path / folder
        path.mkdir(parents=True, exist_ok=True)
        rows = [
            {
                "received_at": event["occurred_at"],
                **event,
                "properties": json.dumps(event.get("properties") or {}),
            }
            for event in events
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=EVENTS), path / "events.parquet")
        known = list(customers or [])
        seen = {customer["customer_id"] for customer in known}
        known += [{"customer_id": name} for name in sorted({event["customer_id"] for event in events} - seen)]
        columns = {
            "created_at": MOMENT,
            "name": pa.string(),
            "owner": pa.string(),
            "plan": pa.string(),
            "mrr": pa.float64(),
        }
        extra = {key: value for customer in known for key, value in customer.items() if value is not None}
        schema = pa.schema(
            [("customer_id", pa.string())]
            + list(columns.items())
            + [
                (key, pa.string() if isinstance(value, str) else pa.float64())
                for key, value in extra.items()
                if key not in ("customer_id", *columns)
            ]
        )
        pq.write_table(pa.Table.from_pylist(known, schema=schema), path / "customers.parquet")
        return path

    return write


@pytest.fixture
def make_business(tmp_path: Path) -> MakeBusiness:
    """A business of events, with `more` TOML after the churn table."""

    def make(more: str = "", name: str = "tiny") -> Business:
        path = tmp_path / f"{name}.toml"
        path.write_text(TOML.format(name=name, more=more))
        return Business.load(path)

    return make


def day(text: str) -> datetime:
    """A UTC moment."""
    return datetime.fromisoformat(f"{text}+00:00")
