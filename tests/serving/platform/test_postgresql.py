"""The same database on PostgreSQL: shape, rewrites, keys, and decisions that two writers make at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text

from experiments.benchmarks.faults.stores import PostgreSQL
from features.config.business import Business
from features.errors import DatabaseUnavailable, UnknownCustomer
from features.event_log.log import EventLog
from features.event_log.segments import take, write_refused
from serving.auth.api_keys import ApiKeys, Principal, Role
from serving.current_scores import database_table  # noqa: F401
from serving.current_scores.feed import CurrentScores, DeletedCustomer
from serving.current_scores.record import BatchRow
from serving.decisions.playbook import Playbook
from serving.decisions.service import DecisionService, LoggedDecision
from serving.errors import IdempotencyConflict, KeyNameTaken, OutcomeConflict
from serving.experiments.report import programme, report
from serving.experiments.service import ArmSpec, Experiment, Experiments
from serving.platform.database import Database
from serving.platform.tables import decisions, exposures, metadata
from serving.releases.follower import ReleaseSource
from serving.scores.scorer import Scorer
from serving.web.accounts.account_snapshots import Editions
from serving.web.portfolio.listing import SORTS, Filters, Portfolio, marks
from serving.web.signin.sessions import Sessions, Viewer
from serving.web.tasks import Notes, Plays, Status
from serving.web.team import figures as team

from ..conftest import Shop, customer_ids

# MLflow, which the template's models come from, uses what SQLAlchemy and others mean to take away.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

CRM = Principal("crm", Role.SCORER)


@pytest.fixture
def database(postgresql: PostgreSQL) -> Iterator[Database]:
    """An empty schema, migrated."""
    database = Database(postgresql.url)
    with database.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    database.migrate()
    yield database
    database.close()


@pytest.fixture(scope="module")
def scorer(template: Shop) -> Scorer:
    source = ReleaseSource(template.settings)
    return Scorer(source.load(source.newest()))


def row(customer_id: str, probability: float = 0.25, **changes: Any) -> BatchRow:
    built = datetime(2026, 11, 20, tzinfo=UTC)
    return replace(
        BatchRow(
            customer_id,
            probability,
            50.0,
            "yellow",
            "a reason",
            None,
            None,
            "no_action",
            "7",
            "1",
            built,
            datetime.now(UTC),
        ),
        **changes,
    )


def at_once(work: Any, times: int = 2) -> None:
    """Run `work(number)` in as many threads, each with connections of its own; raise what they raise."""
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if failures:
        raise failures[0]


def test_migration_makes_the_tables_that_the_code_declares(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(connection)
        assert [step for step in compare_metadata(context, metadata) if "alembic_version" not in str(step)] == []


def test_servers_that_start_at_once_migrate_once(database: Database, postgresql: PostgreSQL) -> None:
    with database.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))

    def migrate(_number: int) -> None:
        other = Database(postgresql.url)
        other.migrate()
        other.close()

    at_once(migrate, 4)
    database.ping()


def test_keys(database: Database) -> None:
    keys = ApiKeys(database)
    secret = keys.add("crm", Role.SCORER)
    assert keys.authenticate(secret) == CRM
    with pytest.raises(KeyNameTaken):
        keys.add("crm", Role.ADMIN)
    keys.revoke("crm")
    assert keys.authenticate(secret) is None
    keys.add("crm", Role.ADMIN)


def test_current_scores(database: Database) -> None:
    scores = CurrentScores(database)
    rows = (row("b", 0.1 + 0.2, reason_3="ünïcode"), row("a", feature_timestamp=None), row("c"))
    assert scores.rewrite("1", rows) == 3
    assert scores.page(None, None, 10).rows == rows
    since = datetime.now(UTC)
    assert scores.page(since, None, 10).rows == ()
    assert scores.rewrite("2", [replace(rows[0], scored_at=since), replace(rows[1], health_band="red")]) == 2
    first = scores.page(since, None, 1)
    assert [item.customer_id for item in first.rows] == ["a"]
    second = scores.page(since, first.next_cursor, 1)
    assert second.rows == (DeletedCustomer("c"),)
    assert second.next_cursor is None
    found = scores.probabilities("2")
    assert found is not None
    assert found.tolist() == [0.25, 0.1 + 0.2]


def test_rewrites_at_once_follow_each_other(database: Database) -> None:
    scores = CurrentScores(database)

    def rewrite(number: int) -> None:
        for turn in range(5):
            scores.rewrite(f"{number}/{turn}", [row(f"c{i}", model_version=f"{number}/{turn}") for i in range(50)])

    at_once(rewrite, 3)
    rows = scores.page(None, None, 1000).rows
    assert len(rows) == 50
    assert len({item.model_version for item in rows if isinstance(item, BatchRow)}) == 1


def test_decisions(database: Database, scorer: Scorer) -> None:
    service = DecisionService(database)
    decision = service.decide(scorer, "C00001", CRM, (), "key")
    assert service.decide(scorer, "C00001", CRM, (), "key") == decision
    with pytest.raises(IdempotencyConflict):
        service.decide(scorer, "C00002", CRM, (), "key")
    many = service.decide_many(scorer, ["C00001", "nobody", "größe#1"], CRM)
    assert isinstance(many[1], UnknownCustomer)
    service.record_outcome(decision.decision_id, 1.5, executed=True)
    service.record_outcome(decision.decision_id, 1.5, executed=True)
    with pytest.raises(OutcomeConflict):
        service.record_outcome(decision.decision_id, 1.5, executed=False)
    with database.read() as connection:
        kept = connection.execute(select(decisions).where(decisions.c.decision_id == decision.decision_id)).one()
    assert kept.decided_at == datetime.fromisoformat(decision.decided_at)
    assert LoggedDecision.from_json(kept.answer) == decision


def test_caps_and_keys_hold_at_once(database: Database, scorer: Scorer) -> None:
    service = DecisionService(database)

    def decide(_number: int) -> None:
        for number in range(1, 16):
            service.decide(scorer, f"C{number:05d}", CRM, ["winback_email"])
            service.decide(scorer, "C00030", CRM, (), f"key {number}")
        service.decide_many(scorer, [f"C{number:05d}" for number in range(20, 0, -1)], CRM)

    at_once(decide, 4)
    with database.read() as connection:
        log = connection.execute(select(decisions.c.customer_id, decisions.c.action)).all()
    calls = Counter(customer_id for customer_id, action in log if action == "success_call")
    assert calls
    assert max(calls.values()) == 1
    assert sum(customer_id == "C00030" for customer_id, _ in log) == 15


def test_pages(database: Database, scorer: Scorer) -> None:
    rows = [row(customer_id) for customer_id in customer_ids()]
    CurrentScores(database).rewrite("1", rows)
    editions = Editions(database)
    assert editions.write(scorer.release) == editions.write(scorer.release) == len(rows)
    portfolio, viewer = Portfolio(database), Viewer(Principal("boss", Role.ADMIN), None, "")
    with database.read() as connection:
        edition = editions.newest(connection)
        assert edition is not None
        assert edition.number == 2
        assert portfolio.overview(connection, edition, viewer).total == len(rows)
        for query in [*({"sort": sort} for sort in SORTS), {"q": "50% off"}, {"q": "c00017", "owner": "x"}]:
            filters = Filters.of(query)
            found = portfolio.page(connection, edition, viewer, filters)
            everything = list(portfolio.everything(connection, edition, viewer, filters))
            assert found.total == len(everything)
            assert [one.customer_id for one in found.rows] == [one.customer_id for one in everything[:50]]
        assert sum(segment.count for segment in team.segments(connection, edition, viewer)) == len(rows)
        assert team.actions(connection, edition, viewer) == ()
    keys, sessions, clerk = ApiKeys(database), Sessions(database), Principal("north", Role.LEAD)
    token = sessions.open(clerk, keys.add("north", Role.LEAD, ("a", "b")))
    known = sessions.viewer(token)
    assert known is not None
    assert (known.principal, known.owners) == (clerk, ("a", "b"))
    plays, notes = Plays(database), Notes(database)
    statuses = {
        plays.accept(scorer, f"C{n:05d}", None, "success_call", clerk, f"f{n}") for n in _callable(database, scorer)
    }
    assert statuses <= {Status.ACCEPTED, Status.HELD_BACK}
    notes.override("C00001", "red", "gone quiet", 7, clerk)
    plays.put_off("C00001", None, "success_call", 7, clerk)
    with database.read() as connection:
        assert marks(connection, ["C00001"])["C00001"].override == "red"
        assert [one.text for one in notes.of(connection, "C00001")] == ["gone quiet"]


def _callable(database: Database, scorer: Scorer) -> list[int]:
    """Some numbers of customers whom a success call is allowed for."""
    playbook = Playbook.of(scorer.release.generation)
    found = []
    for number in range(2, 40):
        (score,) = scorer.score([f"C{number:05d}"])
        assert not isinstance(score, UnknownCustomer)
        with database.read() as connection:
            decision = Plays(database).suggest(connection, score, playbook).decision
        if decision.action == "success_call":
            found.append(number)
    assert len(found) > 3
    return found[:4]


def test_a_server_that_went_away_is_unavailable(postgresql: PostgreSQL) -> None:
    database = Database(postgresql.url.replace("host=", "host=/nowhere"))
    with pytest.raises(DatabaseUnavailable):
        database.ping()
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        database.migrate()


LIMITED = """
[policy]
exploration = 0.5
holdout = 0.2
cap = { count = 2, days = 30 }
budget = { amount = 80.0, days = 7 }
"""


def test_limits_hold_and_experiments_are_met_when_two_write_at_once(
    database: Database, scorer: Scorer, tmp_path: Path
) -> None:
    toml = (scorer.release.generation.path / "business.toml").read_text()
    (tmp_path / "business.toml").write_text(toml + LIMITED)
    limited = Scorer(replace(scorer.release, generation=replace(scorer.release.generation, path=tmp_path)))
    now = datetime.now(UTC)
    spec = Experiment(
        "arms", (ArmSpec("a", 0.5), ArmSpec("b", 0.5, "random")), now - timedelta(days=1), now + timedelta(days=1)
    )
    Experiments(database).create(spec, Principal("boss", Role.ADMIN))
    ids = [f"C{number:05d}" for number in range(1, 31)]

    def work() -> None:
        service = DecisionService(database)
        for start in range(0, 90, 15):
            service.decide_many(limited, (ids * 3)[start : start + 15], CRM)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        rows = connection.execute(select(decisions)).all()
        met = connection.execute(select(exposures)).all()
    assert len(rows) == 180
    assert 72 < sum(row.cost for row in rows) <= 80.0
    touched = Counter(row.customer_id for row in rows if row.action != "no_action")
    assert max(touched.values()) <= 2
    assert {row.customer_id for row in met} == {row.customer_id for row in rows if not row.holdout}
    for row in rows[:40]:
        DecisionService(database).record_outcome(row.decision_id, 1.0, executed=True)
    business = Business.load(tmp_path / "business.toml")
    earned = programme(database, business)
    assert earned.customers == 30
    assert earned.cost == pytest.approx(sum(row.cost for row in rows[:40]))
    kept = replace(business, policy=business.policy.model_copy(update={"reward": "retained"}))
    assert programme(database, kept).comparison.estimate != earned.comparison.estimate
    assert sum(arm.outcomes for arm in report(database, spec, now).arms) > 0


def test_events_that_two_servers_take_are_kept_once_and_handed_to_a_build(database: Database, tmp_path: Path) -> None:
    url = database.url.render_as_string(hide_password=False)
    said = [
        {"event_id": f"e{number}", "customer_id": f"C{number}", "type": "purchase", "value": number / 7, "text": "ß\n",
         "occurred_at": "2026-01-27T10:00:00.123456Z", "properties": {"a": [number, None]}}
        for number in range(40)
    ]  # fmt: skip
    logs = [EventLog(url, 60.0) for _ in range(2)]
    told: Counter[str] = Counter()

    def work(log: EventLog) -> None:
        for start in range(0, 40, 4):
            told.update(verdict.status.value for verdict in log.append(said[start : start + 4]))

    threads = [threading.Thread(target=work, args=(log,)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == {"accepted": 40, "duplicate": 40}
    rejected = logs[0].append([{**said[0], "value": 9}, {**said[1], "text": "\0"}, "no event"])
    assert [verdict.status.value for verdict in rejected] == ["rejected"] * 3
    folder = take(url, tmp_path / "live-events")
    assert folder is not None
    rows = pq.read_table(folder).to_pylist()
    assert sorted(row["event_id"] for row in rows) == sorted(str(one["event_id"]) for one in said)
    assert {row["event_id"]: row["value"] for row in rows} == {one["event_id"]: one["value"] for one in said}
    assert {row["occurred_at"] for row in rows} == {datetime(2026, 1, 27, 10, 0, 0, 123456, UTC)}
    assert [row["received_at"] for row in rows] == sorted(row["received_at"] for row in rows)
    logs[0].append([{**said[0], "event_id": "late"}])
    assert take(url, folder) == folder
    assert len(list(folder.iterdir())) == 2
    assert sum(write_refused(url, tmp_path / "live.parquet").values()) == 3
    for log in logs:
        log.close()
