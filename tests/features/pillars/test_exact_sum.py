"""Sums, and with them all features, are the same to the bit however events are ordered, parted and spread over threads."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import duckdb
import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.pillars.exact_sum import exact_mean, exact_sum
from features.snapshots.builder import pillar_features, population
from features.snapshots.event_table import EventLog, declared_schema

# Ibis calls what DuckDB renamed.
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

LARGEST = 3.4028234663852886e38
CUTOFF = datetime(2026, 3, 1, tzinfo=UTC)


def bits(value: float | str | None) -> bytes | str | None:
    return struct.pack("<d", value) if isinstance(value, float) else value


def query(expression: str) -> str:
    table = ibis.table({"value": "float64", "wanted": "boolean", "huge": "boolean"}, name="t")
    function = {"sum": exact_sum, "mean": exact_mean}[expression]
    return str(ibis.to_sql(table.aggregate(found=function(table, table.value, table.wanted)), dialect="duckdb"))


SUM, MEAN = query("sum"), query("mean")


@pytest.fixture(scope="module")
def connection() -> Any:
    with duckdb.connect() as opened:
        yield opened


def found(connection: Any, sql: str, values: Sequence[float | None], wanted: bool = True) -> float | None:
    column = pa.array(values, pa.float64())
    connection.register(
        "t", pa.table({"value": column, "wanted": pa.repeat(wanted, len(values)), "huge": pa.repeat(True, len(values))})
    )
    result: float | None = connection.execute(sql).fetchall()[0][0]
    return result


_values = st.lists(
    st.one_of(
        st.integers(-100_000, 100_000).map(lambda cents: cents / 100),
        st.floats(-1e6, 1e6),
        st.floats(-LARGEST, LARGEST),
        st.none(),
    ),
    max_size=20,
)


@settings(deadline=None, max_examples=40)
@given(values=_values, shuffle=st.randoms())
def test_no_order_of_numbers_changes_a_sum(connection: Any, values: list[float | None], shuffle: Any) -> None:
    shuffled = list(values)
    shuffle.shuffle(shuffled)
    for sql in (SUM, MEAN):
        assert bits(found(connection, sql, values)) == bits(found(connection, sql, shuffled))


@settings(deadline=None, max_examples=40)
@given(values=st.lists(st.integers(-(10**11), 10**11).map(lambda cents: cents / 100), min_size=1, max_size=20))
def test_a_sum_is_the_exact_one(connection: Any, values: list[float]) -> None:
    exact = float(sum(map(Fraction, values)))
    assert found(connection, SUM, values) == pytest.approx(exact, rel=1e-15, abs=2.0**-78)
    assert found(connection, MEAN, values) == pytest.approx(exact / len(values), rel=1e-15, abs=2.0**-78)


def test_what_floats_lose_is_kept(connection: Any) -> None:
    assert found(connection, SUM, [1e11, 1e-7, -1e11]) == pytest.approx(1e-7, rel=1e-15)
    assert found(connection, SUM, [1e30, 1.0, -1e30, 2.0]) == 3.0
    assert found(connection, SUM, [-LARGEST, -1.0]) == -LARGEST


def test_nothing_has_no_sum_and_no_mean(connection: Any) -> None:
    for sql in (SUM, MEAN):
        assert found(connection, sql, []) is None
        assert found(connection, sql, [None]) is None
        assert found(connection, sql, [1.0, 1e30], wanted=False) is None


def raw_events(customers: int = 6, each: int = 60) -> list[dict[str, Any]]:
    """Events with values in cents, and many at one moment."""
    rng = np.random.default_rng(7)
    kinds = ("purchase", "session", "refund", "ticket_opened", "ticket_resolved", "survey_answered", "coupon")
    rows: list[dict[str, Any]] = []
    for position in range(customers * each):
        kind = str(rng.choice(kinds))
        properties = {"survey": "nps"} if kind == "survey_answered" else {}
        if kind.startswith("ticket") and rng.random() < 0.7:
            properties = {"ticket": f"T{rng.integers(6)}"}
        moment = CUTOFF - timedelta(hours=int(rng.integers(1, 24 * 300)), milliseconds=int(rng.integers(3)))
        if rng.random() < 0.2:
            moment = CUTOFF - timedelta(days=int(rng.integers(1, 30)))
        rows.append(
            {
                "event_id": f"e{position}",
                "customer_id": f"C{position % customers}",
                "occurred_at": moment,
                "type": kind,
                "value": round(float(rng.lognormal(3, 2)), 2),
                "properties": properties,
            }
        )
    return rows


def features_of(log: EventLog, business: Any) -> list[dict[str, Any]]:
    cutoffs = (CUTOFF - timedelta(days=40), CUTOFF - timedelta(hours=5), CUTOFF)
    found: list[dict[str, Any]] = []
    for chunk in (cutoffs[:2], cutoffs[2:]):
        people = log.connection.create_table("people", population(log, chunk, business.churn.event))
        for pillar in declared_schema(log).pillars:
            rows = pillar_features(log, people, pillar, chunk).order_by("cutoff", "customer_id").to_pyarrow()
            found += [{name: bits(value) for name, value in row.items()} for row in rows.to_pylist()]
        log.connection.raw_sql("DROP TABLE people")
    return found


def test_no_order_and_no_number_of_threads_changes_a_feature(write_log: Any, make_business: Any) -> None:
    business = make_business()
    log = EventLog.open(business, write_log(raw_events()))
    columns = log.events.columns
    rows = log.events.to_pyarrow()
    expected = features_of(log, business)
    assert any(math.isfinite(struct.unpack("<d", row["spend_total"])[0]) for row in expected if "spend_total" in row)
    rng = np.random.default_rng(8)
    for number, (threads, parts) in enumerate(((1, 1), (4, 5), (4, 1))):
        log.connection.raw_sql(f"SET threads = {threads}")
        shuffled = rows.take(pa.array(rng.permutation(rows.num_rows)))
        size = -(-rows.num_rows // parts)
        names = [f"events_{number}_{part}" for part in range(parts)]
        for part, name in enumerate(names):
            log.connection.con.register(name, shuffled.slice(part * size, size))
        pieces = [log.connection.table(name) for name in names]
        moved = replace(log, events=(ibis.union(*pieces) if parts > 1 else pieces[0]).select(*columns))
        assert features_of(moved, business) == expected, (threads, parts)
    log.close()
