"""What is posted while a server runs is, from the next build on, what a file with those moments of receipt would have been."""

import contextlib
import csv
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from features.build import Built, build
from features.config.business import Business
from features.generation import EVENTS, Generation
from features.home import Home
from serving.auth.api_keys import Role
from serving.platform.settings import Settings

from .served import served

pytestmark = pytest.mark.filterwarnings("ignore")

NOW = datetime.now(UTC).replace(microsecond=0)
HEAD = ("event_id", "customer_id", "occurred_at", "received_at", "type", "channel", "value", "text", "properties")
TOML = """
[business]
name = "live"
[data]
kind = "events"
{sources}
[churn]
definition = "inactivity"
activity = ["purchase"]
horizon_days = 30
cutoffs = ["{cutoff:%Y-%m-%d}"]
"""
SOURCE = '[[data.events]]\npath = "{}.csv"\n'


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEAD, restval="")
        writer.writeheader()
        writer.writerows(rows)


def past() -> list[dict[str, Any]]:
    """A year of purchases, in a file."""
    return [
        {
            "event_id": f"f{customer}-{week}",
            "customer_id": f"C{customer}",
            "occurred_at": (NOW - timedelta(weeks=week, hours=customer)).isoformat(),
            "type": "purchase",
            "value": customer + week,
            "properties": json.dumps({"item": f"I{week % 3}"}),
        }
        for customer in range(8)
        for week in range(1 + customer, 40, 1 + customer)
    ]


def today() -> list[dict[str, Any]]:
    """What is posted, of customers who were there and a new one, late and at once."""
    kinds = ("purchase", "session", "ticket_opened", "ticket_resolved", "comment")
    return [
        {
            "event_id": f"l{number}",
            "customer_id": f"C{number % 10}",
            "occurred_at": (NOW - timedelta(hours=number * 7)).isoformat(),
            "type": kinds[number % len(kinds)],
            "channel": "chat" if number % 2 else None,
            "value": number * 1.1 if number % 3 else None,
            "text": f"words of {number}" if number % 4 else None,
            "properties": {"item": "I1", "ticket": f"T{number % 2}"},
        }
        for number in range(30)
    ]


def home_of(folder: Path, *sources: str) -> tuple[Home, Business]:
    folder.mkdir()
    listed = "".join(SOURCE.format(source) for source in sources)
    (folder / "business.toml").write_text(TOML.format(sources=listed, cutoff=NOW - timedelta(days=90)))
    write(folder / "past.csv", past())
    return Home(folder / "home"), Business.load(folder / "business.toml")


def built(home: Home, business: Business, now: datetime) -> Built:
    return build(business, home, now, lambda _, __: None)


@contextlib.contextmanager
def caller(home: Home) -> Iterator[httpx.Client]:
    settings = Settings.model_validate({"home": home.path, "log_level": "error"})
    with (
        served(settings, Role.INGEST) as (url, key),
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client,
    ):
        yield client


def same(one: Generation, other: Generation, kind: str) -> None:
    files = sorted(path.name for path in (one.path / kind).glob("*.parquet"))
    assert files == sorted(path.name for path in (other.path / kind).glob("*.parquet"))
    assert files
    for name in files:
        ours, theirs = (pq.read_table(made.path / kind / name) for made in (one, other))
        columns = [column for column in ours.column_names if column != "created_timestamp"]
        assert ours.select(columns).equals(theirs.select(columns)), name


def test_events_that_are_posted_are_features_of_the_next_build(tmp_path: Path) -> None:
    home, business = home_of(tmp_path / "live", "past")
    first = built(home, business, NOW).generation
    said = today()
    with caller(home) as client:
        for start in range(0, len(said), 7):
            for _ in range(2):  # whoever is not sure repeats
                answer = client.post("/v1/events", json={"events": said[start : start + 7]})
                assert answer.status_code == 202, answer.text
                assert answer.json()["rejected"] == 0
        assert client.post("/v1/events", json={"events": [{**said[0], "value": 7}]}).json()["rejected"] == 1
    with contextlib.closing(sqlite3.connect(home.event_log)) as log:
        received = dict(log.execute("SELECT event_id, received FROM live_events").fetchall())
    assert sorted(received) == sorted(one["event_id"] for one in said)

    later = datetime.now(UTC) + timedelta(minutes=1)
    live = built(home, business, later)
    assert live.generation.sources.rows_accepted == first.sources.rows_accepted + len(said)
    assert any("refused when they came in, so far: 1 × conflict; see " in note for note in live.notes)

    home, business = home_of(tmp_path / "filed", "past", "today")
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    rows = [
        {
            **one,
            "received_at": (epoch + timedelta(microseconds=received[one["event_id"]])).isoformat(),
            "properties": json.dumps(one["properties"], separators=(",", ":")),
        }
        for one in said
    ]
    write(tmp_path / "filed" / "today.csv", rows)
    filed = built(home, business, later).generation
    assert filed.schema == live.generation.schema
    for kind in (EVENTS, "snapshots"):
        same(live.generation, filed, kind)
