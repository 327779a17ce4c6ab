"""The log: however events are sent, and sent again, it has each once, and says so."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from features.errors import DatabaseUnavailable, StorageFull
from features.event_log.log import EventLog, EventStatus, Verdict
from features.event_log.tables import VERSION_TABLE, metadata
from features.reasons import Reason

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
SPAWN = multiprocessing.get_context("spawn")
SAID = ("event_id", "customer_id", "type", "occurred_at")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "events.db"


@pytest.fixture
def log(file: Path) -> Iterator[EventLog]:
    log = log_of(file)
    yield log
    log.close()


def log_of(file: Path, patience: float = 60.0) -> EventLog:
    return EventLog(f"sqlite:///{file}", patience, lambda: NOW)


def event(event_id: str | None, customer_id: str = "C1", **more: Any) -> dict[str, Any]:
    said = {"customer_id": customer_id, "type": "purchase", "occurred_at": "2026-11-28T10:00:00Z", **more}
    return said if event_id is None else {"event_id": event_id, **said}


def query(file: Path, sql: str) -> list[Any]:
    with sqlite3.connect(file) as connection:
        rows = connection.execute(sql).fetchall()
    connection.close()
    return rows


def statuses(verdicts: Sequence[Verdict]) -> list[str]:
    return [verdict.status.value for verdict in verdicts]


def test_migration_makes_the_tables_that_the_code_declares(log: EventLog, file: Path) -> None:
    log.prepare()
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        steps = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert [step for step in steps if VERSION_TABLE not in str(step)] == []


def test_a_customer_and_an_id_are_found_by_an_index(log: EventLog, file: Path) -> None:
    log.prepare()
    for where in ("customer_id = 'C1' ORDER BY occurred", "event_id = 'e'"):
        plan = str(query(file, f"EXPLAIN QUERY PLAN SELECT * FROM live_events WHERE {where}"))
        assert "USING INDEX" in plan
        assert "TEMP B-TREE" not in plan


def test_what_is_taken_is_there_as_it_was_said(log: EventLog, file: Path) -> None:
    said = event("e-1", value=2.5, channel="chat", text="wrong again", properties={"topic": "billing"}, replaces="e-0")
    assert log.append([said]) == (Verdict(EventStatus.ACCEPTED),)
    assert query(file, "SELECT * FROM live_events") == [
        (1, "e-1", "C1", 1_795_860_000_000_000, 1_795_867_200_000_000, "purchase", "chat", 2.5, "wrong again",
         '{"topic":"billing"}', "e-0")
    ]  # fmt: skip


def test_the_same_again_is_a_duplicate_and_another_a_conflict(file: Path) -> None:
    first, second = log_of(file), log_of(file)
    assert statuses(first.append([event("e"), event("e"), event("e", value=1)])) == [
        "accepted",
        "duplicate",
        "rejected",
    ]
    for log in (first, second, log_of(file)):
        verdicts = log.append([event("e", "C2"), event(" e ", type="purchase ")])
        assert statuses(verdicts) == ["rejected", "duplicate"]
        assert verdicts[0].refusal is not None
        assert (verdicts[0].refusal.field, verdicts[0].refusal.reason) == ("event_id", Reason.CONFLICT)
        log.close()
    assert query(file, "SELECT event_id, customer_id, value FROM live_events") == [("e", "C1", None)]


def test_without_an_id_a_repeat_counts(log: EventLog, file: Path) -> None:
    assert statuses(log.append([event(None), event(None)])) == ["accepted", "accepted"]
    assert statuses(log.append([event(None)])) == ["accepted"]
    assert query(file, "SELECT count(*), max(sequence) FROM live_events") == [(3, 3)]


def test_what_is_rejected_is_set_aside_once(log: EventLog, file: Path) -> None:
    wrong = [event("e", ""), 7, event("f", occurred_at="2026-11-28T10:00:00"), event("g", text="\ud800")]
    for _ in range(2):
        assert statuses(log.append([*wrong, wrong[0]])) == ["rejected"] * 5
    rows = query(file, "SELECT field, reason, raw FROM refused_events ORDER BY raw")
    assert Counter((field, reason) for field, reason, _ in rows) == {
        ("customer_id", "no customer_id"): 1,
        ("", "no JSON object"): 1,
        ("occurred_at", "no zone"): 1,
        ("text", "a value that is no text"): 1,
    }
    assert sorted(map(str, (json.loads(raw) for _, _, raw in rows))) == sorted(map(str, wrong))
    assert query(file, "SELECT count(*) FROM live_events") == [(0,)]


CONTENTS = [event(f"e{number}", f"C{number % 3}", value=number) for number in range(6)]
OTHERS = [{**CONTENTS[0], "value": 99}, {**CONTENTS[1], "customer_id": "C9"}, event("bad", ""), event(None, "C7")]


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_order_split_and_repetition_of_posts_leaves_the_same_log(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("log") / "events.db"
    sent = data.draw(st.permutations(CONTENTS + data.draw(st.lists(st.sampled_from(CONTENTS), max_size=8))))
    logs = [log_of(file), log_of(file)]
    verdicts: list[tuple[str, str]] = []
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        post, sent = sent[:size], sent[size:]
        for _ in range(data.draw(st.integers(1, 2))):
            told = data.draw(st.sampled_from(logs)).append(post)
            assert len(told) == len(post)
            verdicts += [(one["event_id"], verdict.status.value) for one, verdict in zip(post, told, strict=True)]
    for log in logs:
        log.close()
    accepted = [event_id for event_id, status in verdicts if status == "accepted"]
    assert sorted(accepted) == sorted(one["event_id"] for one in CONTENTS)
    assert {status for _, status in verdicts} <= {"accepted", "duplicate"}
    kept = query(file, "SELECT event_id, customer_id, value FROM live_events ORDER BY event_id")
    assert kept == [(one["event_id"], one["customer_id"], one["value"]) for one in CONTENTS]


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(sent=st.permutations(CONTENTS + OTHERS))
def test_of_contents_under_one_id_the_first_stays(
    sent: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("log") / "events.db"
    log = log_of(file)
    first: dict[str, dict[str, Any]] = {}
    for one in sent:
        (verdict,) = log.append([one])
        id = one.get("event_id")
        if id is not None and one["customer_id"]:
            assert (verdict.status is EventStatus.ACCEPTED) == (id not in first)
            first.setdefault(id, one)
    log.close()
    kept = query(file, "SELECT event_id, customer_id, value FROM live_events WHERE event_id IS NOT NULL")
    assert sorted(kept) == sorted((id, one["customer_id"], one["value"]) for id, one in first.items())


def test_threads_of_one_server_do_not_lose_or_repeat(log: EventLog, file: Path) -> None:
    counts: Counter[str] = Counter()

    def post(number: int) -> None:
        for start in range(0, 20, 5):
            verdicts = log.append([event(f"e{start + one}") for one in range(5)] + [event(f"own-{number}-{start}")])
            counts.update(statuses(verdicts))

    threads = [threading.Thread(target=post, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {"accepted": 20 + 16, "duplicate": 60}
    assert query(file, "SELECT count(*), count(DISTINCT event_id) FROM live_events") == [(36, 36)]


def _post(file: Path, own: str, start: Barrier) -> None:
    log = log_of(file)
    start.wait(120)
    for number in range(10):
        log.append([event(f"e{number}"), event(f"{own}{number}")])
    log.close()


def test_servers_that_start_at_once_share_one_log(file: Path) -> None:
    start = SPAWN.Barrier(2)
    servers = [SPAWN.Process(target=_post, args=(file, own, start)) for own in "ab"]
    for server in servers:
        server.start()
    for server in servers:
        server.join(240)
    assert [server.exitcode for server in servers] == [0, 0]
    assert query(file, "SELECT count(*), count(DISTINCT event_id) FROM live_events") == [(30, 30)]


def _append(file: Path, kill: int, acknowledged: Connection) -> None:
    log = log_of(file)
    for number in range(100_000):
        post = [event(f"{kill}-{number}-{one}") for one in range(1 + number % 4)]
        assert set(statuses(log.append(post))) == {"accepted"}
        acknowledged.send([one["event_id"] for one in post])


def test_killed_at_any_moment_it_has_what_it_acknowledged_once(file: Path, full: bool) -> None:
    rng, acknowledged = random.Random(5), set[str]()
    for kill in range(50 if full else 3):
        heard, told = SPAWN.Pipe(duplex=False)
        child = SPAWN.Process(target=_append, args=(file, kill, told), daemon=True)
        child.start()
        told.close()
        for _ in range(rng.randint(1, 40)):
            acknowledged.update(heard.recv())
        time.sleep(rng.random() / 100)
        child.kill()
        with contextlib.suppress(EOFError):
            while True:
                acknowledged.update(heard.recv())
        child.join()
    kept = dict(query(file, "SELECT event_id, count(*) FROM live_events GROUP BY 1"))
    assert acknowledged <= set(kept)
    assert set(kept.values()) == {1}
    log = log_of(file)
    assert set(statuses(log.append([event(id) for id in sorted(kept)]))) == {"duplicate"}
    log.close()


def test_a_log_that_another_keeps_locked_says_so_and_takes_nothing(file: Path) -> None:
    log = log_of(file, patience=0.1)
    log.prepare()
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable):
        log.append([event("e")])
    other.execute("ROLLBACK")
    other.close()
    assert statuses(log.append([event("e")])) == ["accepted"]
    log.close()


def test_a_full_disk_takes_all_of_a_post_or_nothing(log: EventLog, file: Path) -> None:
    log.append([event("first")])
    (pages,) = query(file, "PRAGMA page_count")[0]
    with log._database.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    posts = [event(f"e{number}", text="x" * 500) for number in range(50)]
    with pytest.raises(StorageFull):
        log.append(posts)
    assert query(file, "SELECT event_id FROM live_events") == [("first",)]
    with log._database.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 1000}")
    assert statuses(log.append(posts)) == ["accepted"] * 50


def test_a_log_that_cannot_be_begun_is_begun_later(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    log = log_of(tmp_path / "home" / "events.db")
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            log.append([event("e")])
    (tmp_path / "home").unlink()
    assert statuses(log.append([event("e")])) == ["accepted"]
    log.close()
