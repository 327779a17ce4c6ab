"""The table of current scores: switched whole, and followed without missing a change."""

from __future__ import annotations

import base64
import contextlib
import multiprocessing
import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event, select, update

from serving.current_scores import feed as current_module
from serving.current_scores.database_table import current_scores
from serving.current_scores.feed import CurrentScores, DeletedCustomer
from serving.current_scores.record import BatchRow
from serving.errors import InvalidCursor
from serving.platform.database import Database
from serving.platform.tables import score_rewrites

SPAWN = multiprocessing.get_context("spawn")
BUILT = datetime(2026, 11, 20, tzinfo=UTC)


def row(customer_id: str, probability: float = 0.25, **changes: Any) -> BatchRow:
    return replace(
        BatchRow(
            customer_id=customer_id,
            churn_probability=probability,
            health_score=50.0,
            health_band="yellow",
            reason_1="4 open tickets; 0 is typical",
            reason_2=None,
            reason_3=None,
            action="no_action",
            model_version="7",
            scorecard_version="1",
            feature_timestamp=BUILT,
            scored_at=datetime.now(UTC),
        ),
        **changes,
    )


def connect(folder: Path) -> Database:
    database = Database(f"sqlite:///{folder / 'keepwell.db'}")
    database.migrate()
    return database


@pytest.fixture
def scores(database: Database) -> CurrentScores:
    return CurrentScores(database)


def everything(scores: CurrentScores, changed_since: datetime | None = None, limit: int = 1000) -> list[str]:
    """The customer ids of all pages, a deleted one with a minus before it."""
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = scores.page(changed_since, cursor, limit)
        seen += [("-" if isinstance(item, DeletedCustomer) else "") + item.customer_id for item in page.rows]
        if page.next_cursor is None:
            return seen
        cursor = page.next_cursor


def test_rows_come_back_as_they_went_in(scores: CurrentScores) -> None:
    rows = (row("b", 0.1 + 0.2, reason_3="ünïcode"), row("a", feature_timestamp=None))
    assert scores.rewrite("g/7/1", rows) == 2
    page = scores.page(None, None, 10)
    assert page.rows == rows
    assert page.next_cursor is None


def test_the_table_is_of_one_release(scores: CurrentScores) -> None:
    assert not scores.is_current("g/7/1")
    scores.rewrite("g/7/1", [row("a")])
    assert scores.is_current("g/7/1")
    scores.rewrite("g/8/1", [row("a", model_version="8")])
    assert not scores.is_current("g/7/1")
    assert scores.is_current("g/8/1")


def test_a_row_moves_only_when_something_but_its_time_changed(scores: CurrentScores) -> None:
    scores.rewrite("1", [row("a"), row("b"), row("c")])
    later = datetime.now(UTC) + timedelta(hours=1)
    assert (
        scores.rewrite("2", [row("a", scored_at=later), row("b", 0.5, scored_at=later), row("c", scored_at=later)]) == 1
    )
    page = scores.page(None, None, 10)
    assert [item.customer_id for item in page.rows] == ["a", "c", "b"]
    assert {item.scored_at for item in page.rows if isinstance(item, BatchRow)} == {later}


@pytest.mark.parametrize(
    "change",
    [
        {"churn_probability": 0.25000000000000006},
        {"health_score": 49.9},
        {"health_band": "red"},
        {"reason_1": None},
        {"reason_2": "now it has one"},
        {"reason_3": "now it has one"},
        {"action": "success_call"},
        {"model_version": "8"},
        {"scorecard_version": "2"},
        {"feature_timestamp": BUILT + timedelta(days=1)},
        {"feature_timestamp": None},
    ],
    ids=str,
)
def test_every_other_column_moves_the_row(scores: CurrentScores, change: Mapping[str, Any]) -> None:
    scores.rewrite("1", [row("a"), row("b")])
    assert scores.rewrite("2", [row("a", **change), row("b")]) == 1
    assert everything(scores) == ["b", "a"]


def test_who_is_gone_comes_as_deleted_and_may_come_back(scores: CurrentScores) -> None:
    scores.rewrite("1", [row("a"), row("b")])
    assert scores.rewrite("2", [row("b")]) == 1
    assert everything(scores) == ["b", "-a"]
    assert scores.rewrite("3", [row("b")]) == 0
    assert scores.rewrite("4", [row("a"), row("b")]) == 1
    assert everything(scores) == ["b", "a"]


def test_pages_follow_each_other_without_gap_or_overlap(scores: CurrentScores) -> None:
    scores.rewrite("1", [row(f"c{number}") for number in range(10)])
    assert everything(scores, limit=3) == [f"c{number}" for number in range(10)]
    assert everything(scores, limit=5) == [f"c{number}" for number in range(10)]


def test_changed_since_gives_what_changed_since(scores: CurrentScores) -> None:
    scores.rewrite("1", [row("a"), row("b")])
    between = datetime.now(UTC)
    assert everything(scores, between) == []
    scores.rewrite("2", [row("a", 0.5), row("b")])
    assert everything(scores, between) == ["a"]
    assert everything(scores, datetime(2000, 1, 1, tzinfo=UTC)) == ["b", "a"]
    assert everything(scores, datetime.now(UTC)) == []


def test_a_follower_who_looked_during_the_rewrite_misses_nothing(database: Database, scores: CurrentScores) -> None:
    scores.rewrite("1", [row("a")])
    looked: list[datetime] = []

    def look(_connection: Connection) -> None:
        if not looked:
            assert everything(scores) == ["a"]
            looked.append(datetime.now(UTC))

    def watch(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("INSERT INTO score_release"):
            look(_c)

    event.listen(database.engine, "after_cursor_execute", watch)
    scores.rewrite("2", [row("a", 0.5)])
    assert looked
    assert everything(scores, looked[0]) == ["a"]


def test_a_rewrite_that_died_before_it_was_stamped_is_shown_to_everybody(
    database: Database, scores: CurrentScores
) -> None:
    scores.rewrite("1", [row("a")])
    with database.begin() as connection:
        connection.execute(update(score_rewrites).values(visible_at=None))
    assert everything(scores, datetime.now(UTC)) == ["a"]
    scores.rewrite("2", [row("a", 0.5)])
    assert everything(scores, datetime.now(UTC)) == []


def test_a_clock_that_goes_back_hides_nothing(database: Database, scores: CurrentScores) -> None:
    scores.rewrite("1", [row("a")])
    ahead = datetime.now(UTC) + timedelta(hours=1)
    with database.begin() as connection:
        connection.execute(update(score_rewrites).values(visible_at=ahead))
    scores.rewrite("2", [row("a", 0.5), row("b")])
    assert everything(scores, ahead - timedelta(minutes=1)) == ["a", "b"]


@pytest.mark.parametrize(
    "cursor", ["", "x", "é", "AAAA", "A" * 43, "=" * 8, " ", "\x00", base64.b64encode(b"a" * 32).decode()]
)
def test_a_garbled_cursor_is_refused(scores: CurrentScores, cursor: str) -> None:
    with pytest.raises(InvalidCursor, match="not one of this server's"):
        scores.page(None, cursor, 10)


def test_a_cursor_lasts_seven_days(scores: CurrentScores, monkeypatch: pytest.MonkeyPatch) -> None:
    scores.rewrite("1", [row("a"), row("b")])
    cursor = scores.page(None, None, 1).next_cursor

    class Later(datetime):
        ahead = timedelta(days=6, hours=23)

        @classmethod
        def now(cls, tz: Any = None) -> Later:
            return super().now(tz) + cls.ahead

    monkeypatch.setattr(current_module, "datetime", Later)
    assert [item.customer_id for item in scores.page(None, cursor, 1).rows] == ["b"]
    Later.ahead = timedelta(days=7, minutes=1)
    with pytest.raises(InvalidCursor, match="older than 7 days"):
        scores.page(None, cursor, 1)


def test_a_cursor_of_another_database_is_refused(scores: CurrentScores, tmp_path: Path) -> None:
    scores.rewrite("1", [row("a"), row("b")])
    cursor = scores.page(None, None, 1).next_cursor
    other = connect(tmp_path / "other")
    with pytest.raises(InvalidCursor):
        CurrentScores(other).page(None, cursor, 1)
    other.close()


def test_a_cursor_ahead_of_a_restored_table_is_refused(database: Database, scores: CurrentScores) -> None:
    scores.rewrite("1", [row("a"), row("b"), row("c")])
    cursor = scores.page(None, None, 2).next_cursor
    with database.begin() as connection:
        connection.execute(score_rewrites.delete())
    with pytest.raises(InvalidCursor, match="ahead of the table"):
        scores.page(None, cursor, 1)


def test_probabilities_are_those_of_the_living_in_order(scores: CurrentScores) -> None:
    assert scores.probabilities("1") is None
    scores.rewrite("1", [row("a", 0.9), row("b", 0.1), row("c", 0.5)])
    scores.rewrite("2", [row("a", 0.9), row("b", 0.2)])
    found = scores.probabilities("2")
    assert found is not None
    np.testing.assert_array_equal(found, [0.2, 0.9])
    assert scores.probabilities("1") is None


def test_scoring_the_rows_keeps_no_writer_waiting(database: Database, scores: CurrentScores) -> None:
    scores.rewrite("1", [row("a")])

    def slowly() -> Iterator[BatchRow]:
        yield from (row(f"c{number}") for number in range(1500))
        # One that would not wait for a lock for a moment.
        with contextlib.closing(sqlite3.connect(str(database.url.database), timeout=0)) as other, other:
            other.execute("UPDATE current_scores SET reason_2 = 'somebody else wrote'")
        yield row("z")

    assert scores.rewrite("2", slowly()) == 1502


def test_rows_that_fail_halfway_leave_the_old_state(scores: CurrentScores) -> None:
    scores.rewrite("1", [row("a")])

    def broken() -> Iterator[BatchRow]:
        yield from (row(f"c{number}") for number in range(1500))
        raise RuntimeError("the store went away")

    with pytest.raises(RuntimeError, match="went away"):
        scores.rewrite("2", broken())
    assert scores.is_current("1")
    assert everything(scores) == ["a"]
    assert scores.rewrite("2", [row("b")]) == 2


def _rewrite_and_die(folder: Path, statements: int) -> None:
    """Rewrite the table, killed before the `statements`-th statement or commit."""
    database = Database(f"sqlite:///{folder / 'keepwell.db'}")
    count = 0

    def die(*_arguments: Any) -> None:
        nonlocal count
        count += 1
        if count == statements:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(database.engine, "before_cursor_execute", die)
    event.listen(database.engine, "commit", die)
    CurrentScores(database).rewrite("2", [row(f"c{number}", 0.5) for number in range(1, 1500)])


def _kill_everywhere(template: Path, folder: Path, report: Any) -> None:
    """One rewrite after the other, each in a fork with a copy of the database, killed one statement later."""
    statements, killed = 0, True
    while killed:
        statements += 1
        copy = folder / f"{statements:02d}"
        shutil.copytree(template, copy)
        child = os.fork()
        if child == 0:
            _rewrite_and_die(copy, statements)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        report.send((copy, status))
    report.send(None)


def test_a_kill_at_any_statement_leaves_the_old_state_or_the_new(tmp_path: Path) -> None:
    old = [f"c{number}" for number in range(3)]
    new = [*(f"c{number}" for number in range(1, 1500)), "-c0"]
    database = connect(tmp_path / "template")
    CurrentScores(database).rewrite("1", [row(customer_id) for customer_id in old])
    database.close()
    before = datetime.now(UTC)
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_kill_everywhere, args=(tmp_path / "template", tmp_path / "killed", theirs))
    process.start()
    outcomes: list[str] = []
    status = 0
    while ours.poll(120) and (reported := ours.recv()) is not None:
        folder, status = reported
        database = Database(f"sqlite:///{folder / 'keepwell.db'}")
        scores = CurrentScores(database)
        if scores.is_current("1"):
            outcomes.append("old")
            assert everything(scores) == old
            assert everything(scores, before) == []
        else:
            outcomes.append("new")
            assert scores.is_current("2")
            assert everything(scores) == new
            assert everything(scores, before) == new
        assert scores.rewrite("3", [row("x")]) > 0
        database.close()
    process.join(60)
    assert status == 0, "the last one is not killed"
    assert outcomes == sorted(outcomes, reverse=True)
    assert outcomes.count("old") > 10
    assert outcomes.count("new") > 3, "some kills come between the commit and the end"


def test_a_reader_sees_whole_rewrites_only(scores: CurrentScores) -> None:
    scores.rewrite("0", [row(f"c{number}", model_version="0") for number in range(300)])
    done = threading.Event()
    mixed: list[set[str]] = []

    def read() -> None:
        while not done.is_set():
            versions = {item.model_version for item in scores.page(None, None, 1000).rows if isinstance(item, BatchRow)}
            if len(versions) != 1:
                mixed.append(versions)

    reader = threading.Thread(target=read)
    reader.start()
    for version in range(1, 8):
        scores.rewrite(str(version), [row(f"c{number}", model_version=str(version)) for number in range(300)])
    done.set()
    reader.join()
    assert mixed == []


_POPULATION = st.dictionaries(st.sampled_from("abcde"), st.sampled_from([0.1, 0.2, 0.3]), max_size=5)
_STEPS = st.lists(st.one_of(_POPULATION, st.just("poll"), st.just("restart")), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS, limit=st.integers(1, 3))
def test_a_follower_sees_every_change_at_least_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], limit: int
) -> None:
    """Whatever the interleaving of rewrites, single pages and lost cursors: replaying the pages gives the table."""
    database = connect(tmp_path_factory.mktemp("follow"))
    scores = CurrentScores(database)
    mirror: dict[str, float] = {}
    cursor: str | None = None
    since: datetime | None = None
    round_began: datetime | None = None

    def poll() -> bool:
        nonlocal cursor, since, round_began
        if cursor is None:
            round_began = datetime.now(UTC)
        page = scores.page(since, cursor, limit)
        for item in page.rows:
            if isinstance(item, DeletedCustomer):
                mirror.pop(item.customer_id, None)
            else:
                mirror[item.customer_id] = item.churn_probability
        cursor = page.next_cursor
        if cursor is None:
            since = round_began
        return cursor is not None

    population: dict[str, float] = {}
    for number, step in enumerate(steps):
        if step == "poll":
            poll()
        elif step == "restart":
            cursor = None  # a lost cursor: the round begins again from its own start
        else:
            population = step
            scores.rewrite(str(number), [row(customer_id, p) for customer_id, p in population.items()])
    while poll():
        pass
    poll()
    assert mirror == population
    with database.read() as connection:
        sequences = connection.scalars(select(current_scores.c.sequence)).all()
    assert len(set(sequences)) == len(sequences)
    database.close()
