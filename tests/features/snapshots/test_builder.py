"""Who is a customer when, which moments a build describes, and how snapshots are stored."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.config.business import Business
from features.config.data import Churn
from features.errors import ConfigError, IngestError
from features.snapshots import builder
from features.snapshots.builder import build_snapshots, build_table_snapshot, population, table_schema
from features.snapshots.cutoffs import Moments, moments_of_events, moments_of_table
from features.snapshots.event_table import EventLog, declared_schema

# Ibis calls what DuckDB renamed.
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

DAY = timedelta(days=1)
JANUARY = datetime(2025, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def silent(task: str, share: float) -> None:
    """Nobody listens."""


def event(customer: str, kind: str, at: datetime, **more: Any) -> dict[str, Any]:
    return {"customer_id": customer, "type": kind, "occurred_at": at, **more}


def people_of(log: EventLog, *cutoffs: datetime) -> list[tuple[datetime, str]]:
    rows = population(log, cutoffs).to_pyarrow().to_pylist()
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return sorted((epoch + row["cutoff"] * MICROSECOND, row["customer_id"]) for row in rows)


def test_population_is_who_was_known_and_had_not_left(write_log: Any, make_business: Any) -> None:
    left, back = JANUARY + 10 * DAY, JANUARY + 20 * DAY
    log = EventLog.open(
        make_business(),
        write_log(
            [
                event("stays", "session", JANUARY),
                event("leaves", "session", JANUARY),
                event("leaves", "subscription_cancelled", left),
                event("leaves", "session", left + DAY),
                event("returns", "subscription_cancelled", left),
                event("returns", "subscription_started", back),
                event("at once", "subscription_cancelled", left),
                event("at once", "subscription_started", left),
                event("told late", "session", JANUARY),
                event("told late", "subscription_cancelled", left, received_at=back),
                event("new", "session", back),
                event("created and left", "subscription_cancelled", JANUARY + DAY),
            ],
            [
                {"customer_id": "created", "created_at": left},
                {"customer_id": "created and left", "created_at": JANUARY},
                {"customer_id": "never seen"},
            ],
        ),
    )
    assert [name for _, name in people_of(log, left)] == ["leaves", "stays", "told late"]
    assert [name for _, name in people_of(log, left + MICROSECOND)] == ["created", "stays", "told late"]
    assert [name for _, name in people_of(log, back + MICROSECOND)] == ["created", "new", "returns", "stays"]
    everything = people_of(log, left, back + MICROSECOND)
    assert everything == people_of(log, left) + people_of(log, back + MICROSECOND)


def test_who_is_heard_of_at_the_cutoff_is_no_customer_yet(write_log: Any, make_business: Any) -> None:
    log = EventLog.open(make_business(), write_log([event("a", "session", JANUARY, received_at=JANUARY + DAY)]))
    assert people_of(log, JANUARY + DAY) == []
    assert people_of(log, JANUARY + DAY + MICROSECOND) == [(JANUARY + DAY + MICROSECOND, "a")]


def test_another_event_can_mean_that_a_customer_left(write_log: Any, make_business: Any) -> None:
    log = EventLog.open(
        make_business(), write_log([event("a", "account_closed", JANUARY), event("b", "session", JANUARY)])
    )
    rows = population(log, [JANUARY + DAY], left_by="account_closed").to_pyarrow().to_pylist()
    assert [row["customer_id"] for row in rows] == ["b"]


def test_snapshots_are_float32_and_strings_with_both_moments(write_log: Any, make_business: Any) -> None:
    events = [event("b", "purchase", JANUARY, value=value) for value in (1e300, 1e300, 0.1)]
    events += [event("a", "purchase", JANUARY + DAY, value=-1e300), event("a", "session", JANUARY)]
    path = write_log(
        events, [{"customer_id": "a", "plan": "", "mrr": 16777217.0}, {"customer_id": "b", "plan": "größe"}]
    )
    business = make_business()
    log = EventLog.open(business, path)
    schema = declared_schema(log)
    moments = Moments(JANUARY + 40 * DAY, JANUARY + 10 * DAY, (JANUARY + DAY, JANUARY + 10 * DAY))
    told: list[float] = []
    count = build_snapshots(log, schema, moments, path, "subscription_cancelled", lambda _, share: told.append(share))
    assert count == 2
    assert told == sorted(told)
    assert told[-1] == 1.0
    table = pq.read_table(path / "snapshots" / "commercial.parquet")
    moment = pa.timestamp("us", "UTC")
    assert table.schema.names[:3] == ["customer_id", "event_timestamp", "created_timestamp"]
    assert table.schema.types[:3] == [pa.string(), moment, moment]
    assert set(table.schema.types[3:]) == {pa.float32()}
    rows = table.to_pylist()
    assert [(row["event_timestamp"], row["customer_id"]) for row in rows] == [
        (at, name) for at in moments.all for name in "ab"
    ]
    assert all(row["created_timestamp"] == row["event_timestamp"] for row in rows)
    largest = float(np.finfo(np.float32).max)
    assert [row["spend_total"] for row in rows] == [0.0, largest, -largest, largest, -largest, largest]
    assert rows[0]["mrr"] == 16777216.0
    assert rows[1]["mrr"] is None
    plans = pq.read_table(path / "snapshots" / "relationship.parquet").column("plan")
    assert plans.type == pa.string()
    assert plans.to_pylist() == ["", "größe"] * 3


def test_weeks_are_snapshots_in_files_of_their_own(write_log: Any, make_business: Any) -> None:
    events = [event(name, "session", JANUARY + day * DAY) for name in "ab" for day in range(0, 30, 3)]
    weeks = (JANUARY + 9 * DAY, JANUARY + 16 * DAY)
    apart = Moments(JANUARY + 30 * DAY, None, (JANUARY + 9 * DAY,), weeks)
    asked = Moments(JANUARY + 30 * DAY, None, weeks)
    tables = {}
    for name, moments in (("apart", apart), ("asked", asked)):
        path = write_log(events, folder=name)
        log = EventLog.open(make_business(), path)
        build_snapshots(log, declared_schema(log), moments, path, "subscription_cancelled", silent)
        log.close()
        tables[name] = pq.read_table(path / "snapshots" / "engagement.parquet").to_pylist()
    kept = pq.ParquetFile(
        write_log([event("a", "session", JANUARY)], folder="x").parent / "apart/weeks/engagement.parquet"
    )
    assert kept.num_row_groups == len(weeks)
    assert kept.read().to_pylist() == [row for row in tables["asked"] if row["event_timestamp"] in weeks]
    assert {row["event_timestamp"] for row in tables["apart"]} == set(apart.all)


def test_one_chunk_or_many_give_the_same(write_log: Any, make_business: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    kinds = ("session", "purchase", "ticket_opened", "ticket_resolved", "other thing")
    events = [
        event(f"C{rng.integers(9)}", kinds[rng.integers(5)], JANUARY + float(rng.uniform(0, 200)) * DAY, value=1.0)
        for _ in range(300)
    ]
    moments = Moments(JANUARY + 200 * DAY, JANUARY + 170 * DAY, tuple(JANUARY + n * 30 * DAY for n in range(1, 6)))
    found = []
    for limit, size in (("JOINED_ROWS", 8_000_000), ("JOINED_ROWS", 1), ("DESCRIBED_ROWS", 18)):
        path = write_log(events, folder=f"{limit}-{size}")
        log = EventLog.open(make_business(), path)
        schema = declared_schema(log)
        with monkeypatch.context() as patched:
            patched.setattr(f"features.snapshots.builder.{limit}", size)
            chunks = [chunk for _, chunk in builder._parts(moments.all, log, {})]
            build_snapshots(log, schema, moments, path, "subscription_cancelled", silent)
        assert max(map(len, chunks)) == {8_000_000: len(moments.all), 1: 1, 18: 2}[size]
        found.append({p.name: pq.read_table(path / "snapshots" / f"{p.name}.parquet") for p in schema.pillars})
    assert found[0] == found[1] == found[2]


def test_a_log_without_an_accepted_row_says_so(write_log: Any, make_business: Any) -> None:
    with pytest.raises(IngestError, match="no row of the sources could be used"):
        EventLog.open(make_business(), write_log([]))


def test_a_table_is_stored_raw(tmp_path: Any) -> None:
    toml = tmp_path / "table.toml"
    toml.write_text(
        '[business]\nname = "t"\n[data]\nkind = "table"\npath = "t.csv"\noutcome = "left"\nchurned = 1\n'
        '[data.pillars]\nContract = "relationship"\n[churn]\nhorizon_days = 90\n'
    )
    business = Business.load(toml)
    columns = {
        "customer_id": ["b", "a"],
        "Call  Failure": [0.1, None],
        "emp.var.rate": [-0.0, math.nan],
        "Contract": ["Two year", ""],
        "a__b": ["x", None],
        "__outcome": [1, 0],
        "__order": [1, 2],
        "__group": pa.array([None, None], pa.string()),
    }
    pq.write_table(pa.table(columns), tmp_path / "customers.parquet")
    schema = table_schema(business, tmp_path)
    assert schema.names == ("Contract", "Call  Failure", "emp.var.rate", "a__b")
    assert [feature.pillar for feature in schema] == ["relationship", "other", "other", "other"]
    assert build_table_snapshot(schema, JANUARY, tmp_path) == 2
    rows = pq.read_table(tmp_path / "snapshots" / "other.parquet").to_pylist()
    assert [row["customer_id"] for row in rows] == ["a", "b"]
    assert rows[0]["Call  Failure"] is None
    assert rows[0]["emp.var.rate"] is None
    assert math.copysign(1, rows[1]["emp.var.rate"]) == -1
    assert rows[1][schema.stored_as["a__b"]] == "x"
    assert rows[1]["event_timestamp"] == JANUARY


# --- moments


def churn(make_business: Any, more: str) -> Business:
    business: Business = make_business(more)
    return business


NOW = datetime(2030, 1, 1, 12, 0, 0, 5, tzinfo=UTC)
FIRST = datetime(2024, 11, 5, 9, tzinfo=UTC)
LAST = datetime(2025, 6, 20, 18, tzinfo=UTC)


def test_monthly_cutoffs_start_with_some_history_and_end_with_the_data(make_business: Any) -> None:
    moments = moments_of_events(churn(make_business, 'cutoffs = "monthly"'), FIRST, LAST, NOW)
    assert moments.cutoffs == tuple(datetime(2025, month, 1, tzinfo=UTC) for month in (2, 3, 4, 5, 6))
    assert moments.as_of == datetime(2025, 6, 21, tzinfo=UTC)
    assert moments.before == datetime(2025, 5, 22, tzinfo=UTC)


def test_weekly_cutoffs_are_mondays(make_business: Any) -> None:
    moments = moments_of_events(churn(make_business, 'cutoffs = "weekly"'), FIRST, LAST, NOW)
    assert all(cutoff.weekday() == 0 and cutoff.hour == 0 for cutoff in moments.cutoffs)
    assert moments.cutoffs[0] == datetime(2025, 1, 6, tzinfo=UTC)
    assert moments.cutoffs[-1] == datetime(2025, 6, 16, tzinfo=UTC)
    assert {later - earlier for earlier, later in zip(moments.cutoffs, moments.cutoffs[1:], strict=False)} == {7 * DAY}


def test_listed_and_test_cutoffs_are_all_there(make_business: Any) -> None:
    more = 'cutoffs = ["2025-03-07", "2024-12-24"]\ntest_cutoffs = ["2025-05-05"]'
    moments = moments_of_events(churn(make_business, more), FIRST, LAST, NOW)
    assert [f"{cutoff:%m-%d}" for cutoff in moments.cutoffs] == ["12-24", "03-07", "05-05"]


def test_short_logs_keep_the_cutoffs_they_have(make_business: Any) -> None:
    moments = moments_of_events(churn(make_business, 'cutoffs = "monthly"'), FIRST, FIRST + 40 * DAY, NOW)
    assert moments.cutoffs == (datetime(2024, 12, 1, tzinfo=UTC),)
    assert moments.before is not None


@pytest.mark.parametrize(
    ("more", "days", "message"),
    [
        ('cutoffs = "monthly"', 10, "no monthly cutoff lies within the events"),
        ('cutoffs = ["2024-11-01"]', 200, "cutoffs: 2024-11-01 00:00 lies outside the events"),
        ('test_cutoffs = ["2029-11-01"]', 200, "test_cutoffs: 2029-11-01 00:00 lies outside the events"),
    ],
)
def test_impossible_cutoffs_are_a_mistake_of_the_toml(make_business: Any, more: str, days: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        moments_of_events(churn(make_business, more), FIRST, FIRST + days * DAY, NOW)


def test_the_present_is_never_later_than_now(make_business: Any) -> None:
    now = LAST + timedelta(hours=1, microseconds=7)
    moments = moments_of_events(churn(make_business, ""), FIRST, LAST, now)
    assert moments.as_of == LAST + timedelta(hours=1)
    with pytest.raises(IngestError, match="future"):
        moments_of_events(churn(make_business, ""), FIRST, LAST, FIRST - DAY)


def test_a_table_has_one_moment() -> None:
    assert moments_of_table(NOW) == Moments(datetime(2030, 1, 1, 12, tzinfo=UTC), None, ())


@given(
    st.datetimes(datetime(2001, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    st.timedeltas(timedelta(days=32), timedelta(days=1500)),
    st.sampled_from(["monthly", "weekly"]),
)
def test_regular_cutoffs_lie_within_the_log(
    first: datetime, lasts: timedelta, rhythm: Literal["monthly", "weekly"]
) -> None:
    business = Business("tiny", Path("tiny.toml"), "", churn=Churn(horizon_days=30, cutoffs=rhythm))
    moments = moments_of_events(business, first, first + lasts, first + 3000 * DAY)
    assert moments.cutoffs
    assert all(first < cutoff <= moments.as_of for cutoff in moments.cutoffs)
    assert list(moments.cutoffs) == sorted(set(moments.cutoffs))
