"""What a build takes of the log: files that are added to, and rows that count as those of a file would."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from features.config.business import Business
from features.errors import DatabaseUnavailable, HomeError
from features.event_log.log import EventLog, EventStatus
from features.event_log.segments import take, write_refused
from features.ingestion import events as reading
from features.ingestion.partitions import CANONICAL
from features.ingestion.run import IngestSummary, ingest

T0 = datetime(2026, 11, 1, 12, tzinfo=UTC)
NOW = datetime(2026, 12, 1, tzinfo=UTC)
TOML = """
[business]
name = "b"
timezone = "Europe/Paris"
[data]
kind = "events"
[data.events]
path = "e.csv"
[churn]
activity = ["purchase"]
horizon_days = 30
"""
HEAD = "event_id,customer_id,occurred_at,received_at,type,value,text,properties\n"
FILE = HEAD + "f1,C1,2026-10-01T00:00:00Z,,purchase,1,,\nf2,C2,2026-10-02T00:00:00Z,,purchase,2,,\n"


class Shop:
    """A business of one file, and a log whose clock is set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = T0
        self.url = f"sqlite:///{folder / 'events.db'}"
        self.log = EventLog(self.url, 60.0, lambda: self.now)
        (folder / "business.toml").write_text(TOML)
        self.write(FILE)

    def write(self, content: str, name: str = "e.csv") -> None:
        (self.folder / name).write_text(content)

    def post(self, *said: dict[str, Any], at: datetime | None = None) -> None:
        self.now = at or self.now + timedelta(seconds=1)
        assert {verdict.status for verdict in self.log.append(said)} == {EventStatus.ACCEPTED}

    def take(self) -> Path | None:
        return take(self.url, self.folder / "live-events")

    def build(self, out: str = "out", base: str | None = None, toml: str = "business.toml") -> IngestSummary:
        business = Business.load(self.folder / toml)
        return ingest(business, self.folder / out, NOW, None, None if base is None else self.folder / base, self.take())

    def rows(self, out: str = "out") -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(self.folder / out / "events").to_pylist()
        return rows

    def ids(self, out: str = "out") -> list[tuple[str, float]]:
        return sorted((row["event_id"], row["value"]) for row in self.rows(out))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def event(event_id: str | None, value: float | None = None, **more: Any) -> dict[str, Any]:
    said = {"customer_id": "C1", "type": "purchase", "occurred_at": "2026-11-01T10:00:00Z", "value": value, **more}
    return said if event_id is None else {"event_id": event_id, **said}


def test_without_events_there_is_nothing_and_asking_makes_nothing(shop: Shop) -> None:
    assert shop.take() is None
    assert write_refused(shop.url, shop.folder / "live.parquet") == {}
    assert sorted(path.name for path in shop.folder.iterdir()) == ["business.toml", "e.csv"]
    shop.log.prepare()
    assert shop.take() is None
    assert shop.build().rows_accepted == 2


def test_a_build_adds_what_came_since_and_changes_no_file(shop: Shop) -> None:
    shop.post(event("a"), event("b"))
    folder = shop.take()
    assert folder is not None
    (first,) = folder.iterdir()
    before = first.read_bytes()
    assert shop.take() == folder
    shop.post(event("c"))
    shop.take()
    assert [pq.read_table(file)["event_id"].to_pylist() for file in sorted(folder.iterdir())] == [["a", "b"], ["c"]]
    assert first.read_bytes() == before


def test_a_log_that_lost_what_was_taken_stops_a_build(shop: Shop) -> None:
    shop.post(event("a"), event("b"))
    shop.take()
    shop.log.close()
    (shop.folder / "events.db").rename(shop.folder / "lost.db")
    with pytest.raises(HomeError, match="2 live events, of which the log has 0"):
        shop.take()
    (shop.folder / "events.db").write_text(
        "no database, and long enough to be taken for one's head, or so it seems" * 9
    )
    with pytest.raises(DatabaseUnavailable):
        shop.take()


def test_live_events_count_as_those_of_a_file_with_their_receipt(shop: Shop) -> None:
    said = [
        event("a", 12.5, text=" wrong\u00a0again ", channel="chat", properties={"item": "x", "n": [1, 2]}),
        event(None, None, type="session", occurred_at="2026-11-01T09:00:00+01:00", customer_id="Café"),
        event("b", -3, occurred_at="1900-01-01T00:00:00Z", text="NA", channel="-"),
        event(
            "c", 1e30, occurred_at="2026-11-01T11:59:59.123456Z", type="survey_answered", properties={"survey": "nps"}
        ),
    ]
    for one in said:
        shop.post(one, at=shop.now + timedelta(hours=1))
    summary = shop.build()
    assert (summary.rows_read, summary.rows_accepted, dict(summary.rejected)) == (6, 6, {})
    # The same in files, one a moment of receipt, as an export has them.
    rows = [{**one, "received_at": T0 + (number + 1) * timedelta(hours=1)} for number, one in enumerate(said)]
    (shop.folder / "business2.toml").write_text(
        TOML.replace("[data.events]", "[[data.events]]").replace(
            "[churn]", '[[data.events]]\npath = "x.parquet"\nmissing = []\n[churn]'
        )
    )
    columns = [name for name in CANONICAL if name not in ("properties", "occurred_at")]
    pq.write_table(_table(rows, columns), shop.folder / "x.parquet")
    shop.log.close()
    for path in [*(shop.folder / "live-events").iterdir(), shop.folder / "events.db"]:
        path.unlink()
    other = shop.build("other", toml="business2.toml")
    assert other.rows_accepted == 6
    assert shop.rows("other") == shop.rows()
    customers = [pq.read_table(shop.folder / out / "customers.parquet").to_pylist() for out in ("out", "other")]
    assert customers[0] == customers[1]


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Any:
    import pyarrow as pa

    content: dict[str, Any] = {name: [row.get(name) for row in rows] for name in columns}
    content["value"] = pa.array([None if row["value"] is None else float(row["value"]) for row in rows], pa.float64())
    content["occurred_at"] = pa.array(
        [datetime.fromisoformat(row["occurred_at"]).astimezone(UTC) for row in rows], pa.timestamp("us", "UTC")
    )
    content["properties"] = [
        None if "properties" not in row else json.dumps(row["properties"], separators=(",", ":")) for row in rows
    ]
    return pa.table(content)


@pytest.mark.parametrize(
    ("received", "stays"),
    [("", 10.0), ("2026-11-01T11:00:00Z", 99.0), ("2026-11-01T12:00:02Z", 10.0)],
)
def test_of_an_event_in_a_file_and_live_the_first_received_stays(shop: Shop, received: str, stays: float) -> None:
    shop.post(event("e", 10))
    shop.post(event("only-live", 1))
    shop.write(FILE + f"e,C1,2026-11-01T10:00:00Z,{received},purchase,99,,\n")
    summary = shop.build()
    assert shop.ids() == [("e", stays), ("f1", 1.0), ("f2", 2.0), ("only-live", 1.0)]
    # Told twice is no loss.
    assert (dict(summary.rejected), summary.rows_filtered, summary.rows_accepted) == ({}, 1, 4)


def test_a_correction_takes_the_place_of_what_it_replaces(shop: Shop) -> None:
    shop.post(
        event("e0", 1), event("e1", 2, replaces="e0"), event("e2", 3, replaces="e1"), event("g", 5, replaces="f2")
    )
    assert shop.build().rows_filtered == 3
    assert shop.ids() == [("e2", 3.0), ("f1", 1.0), ("g", 5.0)]


def test_the_next_build_reads_what_came_since(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.post(event("a", 1))
    shop.build("g0")
    shop.post(event("b", 2), event("c", 3))
    heard: list[list[int]] = []
    accept = reading._accept

    def listen(staging: Any, base: Any, opened: Any, live: int) -> Any:
        heard.append(sorted(opened))
        return accept(staging, base, opened, live)

    monkeypatch.setattr(reading, "_accept", listen)
    shop.build("g1", base="g0")
    assert heard == [[1]], "only the log was read, and once"
    shop.build("whole")
    assert shop.rows("g1") == shop.rows("whole")
    shop.post(event("d", 4, replaces="a"))
    shop.build("g2", base="g1")
    shop.build("whole2")
    assert shop.rows("g2") == shop.rows("whole2")
    assert [id for id, _ in shop.ids("g2")] == ["b", "c", "d", "f1", "f2"]


def test_a_repeat_in_a_file_that_was_added_is_found(shop: Shop) -> None:
    (shop.folder / "business.toml").write_text(TOML.replace("e.csv", "e*.csv"))
    shop.post(event("a", 1))
    shop.build("g0")
    shop.write(HEAD + "a,C1,2026-11-01T10:00:00Z,,purchase,7,,\nz,C1,2026-11-01T10:00:00Z,,purchase,8,,\n", "e2.csv")
    shop.build("g1", base="g0")
    assert shop.ids("g1") == [("a", 1.0), ("f1", 1.0), ("f2", 2.0), ("z", 8.0)]


def test_what_lies_ahead_is_counted_once_it_is_past(shop: Shop) -> None:
    shop.post(event("soon", 1, occurred_at="2026-12-01T00:01:00Z"), at=NOW - timedelta(minutes=3))
    summary = shop.build()
    assert dict(summary.rejected) == {"occurred_at in the future": 1}
    later = ingest(
        Business.load(shop.folder / "business.toml"), shop.folder / "later", NOW + timedelta(hours=1), None,
        shop.folder / "out", shop.take(),
    )  # fmt: skip
    assert later.rows_accepted == 3


def test_what_was_refused_is_beside_the_rows_of_files_that_were(shop: Shop) -> None:
    shop.log.append([event("a", "x"), event("b", "y"), {}])  # type: ignore[arg-type]
    assert write_refused(shop.url, shop.folder / "live.parquet") == {
        "a value that is no number": 2,
        "no customer_id": 1,
    }
    rows = pq.read_table(shop.folder / "live.parquet").to_pylist()
    assert {(row["field"], row["reason"], row["received_at"]) for row in rows} == {
        ("value", "a value that is no number", T0),
        ("customer_id", "no customer_id", T0),
    }
    assert sorted(json.loads(row["raw"]).get("event_id", "") for row in rows) == ["", "a", "b"]
