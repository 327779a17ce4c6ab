"""A business's canonical files, written by hand: what ingest leaves for the rest of a build."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.config.business import Business
from features.generation import Generation, SourceSummary
from features.ingestion import partitions
from features.schema import DType, Feature, FeatureSchema
from features.store.offline import OfflineStore

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
        with duckdb.connect() as connection:
            connection.register("written", pa.Table.from_pylist(rows, schema=EVENTS))
            partitions.write(lambda _, sql, __: connection.execute(sql), "written", [partitions.WHOLE], path)
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


AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
BEFORE = AS_OF - timedelta(days=30)
EARLIER = AS_OF - timedelta(days=90)

MakeGeneration = Callable[..., Generation]


@pytest.fixture
def make_generation(tmp_path: Path) -> MakeGeneration:
    """A generation as a build leaves it, of hand-written `columns`: feature -> one value per customer, at each moment."""
    made: list[Generation] = []

    def make(
        columns: Mapping[str, Sequence[float | str | None]],
        customers: Sequence[str],
        *,
        pillars: Mapping[str, str] | None = None,
        words: Sequence[str] = (),
        before: Mapping[str, Sequence[float | str | None]] | None = None,
        rows: Sequence[tuple[str, datetime, datetime, Mapping[str, Any]]] = (),
        online_store: str = "sqlite",
        materialize: bool = True,
        home: Path | None = None,
    ) -> Generation:
        generation_id = Generation.new_id(datetime(2026, 3, 2, tzinfo=UTC) + timedelta(seconds=len(made)))
        path = (home or tmp_path / "home") / "generations" / generation_id
        (path / "snapshots").mkdir(parents=True)
        schema = FeatureSchema(
            tuple(
                Feature(name, (pillars or {}).get(name, "other"), DType.STRING if name in words else DType.FLOAT)
                for name in columns
            )
        )
        lines: list[tuple[str, datetime, datetime, Mapping[str, Any]]] = [
            (name, AS_OF, AS_OF, {key: column[n] for key, column in columns.items()})
            for n, name in enumerate(customers)
        ]
        if before is not None:
            lines += [
                (name, BEFORE, BEFORE, {key: column[n] for key, column in before.items()})
                for n, name in enumerate(customers)
                if any(column[n] is not None for column in before.values())
            ]
        lines += list(rows)
        stored_as = schema.stored_as
        for pillar in schema.pillars:
            kinds = [
                (stored_as[feature.name], pa.string() if feature.dtype is DType.STRING else pa.float32())
                for feature in pillar.features
            ]
            arrays = [
                pa.array([line[0] for line in lines], pa.string()),
                pa.array([line[1] for line in lines], MOMENT),
                pa.array([line[2] for line in lines], MOMENT),
                *(
                    pa.array([line[3][feature.name] for line in lines], kind)
                    for feature, (_, kind) in zip(pillar.features, kinds, strict=True)
                ),
            ]
            fields = [("customer_id", pa.string()), ("event_timestamp", MOMENT), ("created_timestamp", MOMENT), *kinds]
            pq.write_table(pa.table(arrays, schema=pa.schema(fields)), path / "snapshots" / f"{pillar.name}.parquet")
        generation = Generation(
            id=generation_id,
            path=path,
            business="tiny",
            kind="events",
            as_of=AS_OF,
            before=BEFORE if before is not None else None,
            cutoffs=(EARLIER,),
            horizon_days=30,
            schema=schema,
            project=Generation.project_name("tiny", generation_id),
            online_store=online_store,
            sources=SourceSummary(9, 7, 1, {"no customer_id": 1}, EARLIER, AS_OF, len(customers)),
            fingerprint="f" * 64,
            configuration="c" * 64,
        )
        made.append(generation)
        if materialize:
            offline = OfflineStore(generation)
            offline.apply()
            offline.materialize()
        return generation

    return make
