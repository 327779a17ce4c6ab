"""Every declared feature against a brute-force reading of the raw events, late and dirty ones included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from features.config.business import Business
from features.pillars import other
from features.pillars.data_profile import DataProfile
from features.schema import DType, FeatureSchema
from features.snapshots.builder import pillar_features, population
from features.snapshots.event_table import EventLog, declared_schema

from .brute_force import (
    ACTIONS,
    CUSTOMERS,
    CUTOFFS,
    DAY,
    ORACLE,
    Seen,
    expected_population,
    random_events,
    visible,
)

# Ibis calls what DuckDB renamed.
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")


def computed(log: EventLog, schema: FeatureSchema) -> dict[tuple[datetime, str], dict[str, Any]]:
    """All features by cutoff and customer."""
    rows: dict[tuple[datetime, str], dict[str, Any]] = {}
    for cutoffs in (CUTOFFS[:3], CUTOFFS[3:]):  # midnights, whose days are the calendar's, and another moment
        people = log.connection.create_table(f"people_{len(cutoffs)}", population(log, cutoffs))
        for pillar in schema.pillars:
            for row in pillar_features(log, people, pillar, cutoffs).to_pyarrow().to_pylist():
                moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row.pop("cutoff"))
                rows.setdefault((moment, row.pop("customer_id")), {}).update(row)
    return rows


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_feature_equals_a_brute_force_reading(write_log: Any, make_business: Any, seed: int) -> None:
    events = random_events(seed)
    log = EventLog.open(make_business(ACTIONS), write_log(events, CUSTOMERS))
    schema = declared_schema(log)
    assert set(schema.names) == set(ORACLE)
    found = computed(log, schema)
    own = {row["customer_id"]: row for row in CUSTOMERS}
    for cutoff in CUTOFFS:
        seen = visible(events, cutoff)
        people = expected_population(events, CUSTOMERS, cutoff)
        assert {name for moment, name in found if moment == cutoff} == people
        for name in people:
            facts = Seen(cutoff, seen.get(name, []), own.get(name, {}))
            for feature in schema:
                wanted, got = ORACLE[feature.name](facts), found[cutoff, name][feature.name]
                where = f"{feature.name} of {name} at {cutoff}: {got!r}, not {wanted!r}"
                if isinstance(wanted, str) or wanted is None or got is None:
                    assert got == wanted, where
                else:
                    assert got == pytest.approx(wanted, rel=1e-9, abs=1e-9), where


def test_late_events_are_seen_only_once_they_were_received(write_log: Any, make_business: Any) -> None:
    at, cutoff = datetime(2024, 12, 1, tzinfo=UTC), CUTOFFS[0]
    event = {"customer_id": "a", "type": "purchase", "value": 5.0}
    log = EventLog.open(
        make_business(),
        write_log(
            [
                {**event, "occurred_at": at},
                {**event, "occurred_at": at + DAY, "received_at": cutoff},
                {**event, "occurred_at": at + DAY, "received_at": cutoff - timedelta(microseconds=1)},
                {**event, "occurred_at": cutoff},
            ]
        ),
    )
    found = computed(log, declared_schema(log))
    assert found[cutoff, "a"]["purchases_180d"] == 2
    assert found[CUTOFFS[1], "a"]["purchases_180d"] == 4


@pytest.mark.parametrize(("oldest", "trend"), [(timedelta(days=60), 2.0), (timedelta(days=60, microseconds=-1), None)])
def test_what_is_usual_takes_sixty_days_to_know(
    write_log: Any, make_business: Any, oldest: timedelta, trend: float | None
) -> None:
    event = {"customer_id": "a", "type": "session"}
    moments = (CUTOFFS[0] - oldest, CUTOFFS[0] - 30 * DAY, CUTOFFS[0] - DAY)
    log = EventLog.open(make_business(), write_log([{**event, "occurred_at": moment} for moment in moments]))
    assert computed(log, declared_schema(log))[CUTOFFS[0], "a"]["session_trend"] == trend


def test_without_events_of_a_kind_no_feature_of_it_is_declared(write_log: Any, make_business: Any) -> None:
    event = {"customer_id": "a", "occurred_at": datetime(2024, 12, 1, tzinfo=UTC)}
    log = EventLog.open(make_business(), write_log([{**event, "type": "purchase", "value": None}]))
    names = declared_schema(log).names
    assert "purchases_180d" in names
    assert not any(name.startswith(("ticket", "session", "nps", "spend", "items", "touch")) for name in names)
    assert "tenure_days" in names


def test_what_decisions_need_is_declared_even_if_it_never_happened(write_log: Any, make_business: Any) -> None:
    event = {"customer_id": "a", "occurred_at": datetime(2024, 12, 1, tzinfo=UTC), "type": "purchase"}
    log = EventLog.open(make_business(ACTIONS), write_log([event]))
    schema = declared_schema(log)
    row = computed(log, schema)[CUTOFFS[0], "a"]
    assert row["touches_success_call_30d"] == 0
    assert row["consent_phone"] is None
    assert not {"touches_success_call_30d", "consent_phone"} & set(schema.predictive.names)


def test_names_of_unknown_types_are_safe_and_never_collide() -> None:
    evidence = DataProfile(types=frozenset({"Visit", "visit!", "sessions", "名前"}), attributes={"plan": DType.STRING})
    found = other.pillar(evidence, taken=("sessions_7d", "plan"))
    assert found is not None
    names = [feature.name for feature in found.features]
    assert len(set(names)) == len(names)
    assert {"visit_7d", "visit_2_7d", "sessions_2_7d", "event_7d", "customer plan"} <= set(names)
    # Each type has a recency; that of all of them stays for the models of earlier builds that read it, and trains no new one.
    assert [feature.name for feature in found.features if not feature.predictive] == ["other_age_days"]


def test_activity_of_an_unknown_type_gets_a_rhythm(tmp_path: Path, write_log: Any) -> None:
    toml = tmp_path / "gym.toml"
    toml.write_text(
        '[business]\nname = "gym"\n[data]\nkind = "events"\n[[data.events]]\npath = "e.csv"\n'
        '[churn]\ndefinition = "inactivity"\nactivity = ["visit"]\nhorizon_days = 30\n'
    )
    start = datetime(2024, 11, 1, tzinfo=UTC)
    events = [{"customer_id": "a", "type": "visit", "occurred_at": start + 10 * n * DAY} for n in range(4)]
    log = EventLog.open(Business.load(toml), write_log(events))
    row = computed(log, declared_schema(log))[CUTOFFS[0], "a"]
    assert row["visit_gap_ratio"] == pytest.approx(3.1)


def test_sentences_name_the_feature_and_read_well(write_log: Any, make_business: Any) -> None:
    log = EventLog.open(make_business(ACTIONS), write_log(random_events(1), CUSTOMERS))
    for feature in declared_schema(log):
        for value in (0.0, 1.0, 4.0, None):
            said_of = feature.describe(value if feature.dtype is DType.FLOAT or value is None else "pro", 1.0)
            assert "{" not in said_of
            assert "caus" not in said_of
            assert said_of.endswith("is typical")


def test_what_a_session_counts_is_said(write_log: Any, make_business: Any) -> None:
    files = write_log(random_events(1), CUSTOMERS)
    for more, said in (
        ("", "sessions average 4 lately"),
        ('[data.units]\nsession = "pages"\n', "sessions average 4 pages lately"),
    ):
        schema = declared_schema(EventLog.open(make_business(ACTIONS + more), files))
        assert schema["session_value_recent"].say(4.0) == said


def test_what_events_lack_to_become_features_is_said() -> None:
    survey = frozenset({"survey_answered"})
    assert "property survey" in " ".join(DataProfile(survey, valued=survey).unread)
    assert "property survey" in " ".join(DataProfile(survey, valued=survey, surveys=frozenset({"mood"})).unread)
    assert "need a value" in " ".join(DataProfile(survey, surveys=frozenset({"csat"})).unread)
    assert DataProfile(survey, valued=survey, surveys=frozenset({"csat"})).unread == ()
    alike = DataProfile(frozenset({"Purchase", "purchase", "Ticket Opened", "Demo", "demo_seen"})).unread
    assert [sentence.split(", which")[0] for sentence in alike] == [
        "Events 'Purchase' are others than 'purchase'",
        "Events 'Ticket Opened' are others than 'ticket_opened'",
    ]
    consent = frozenset({"consent_given"})
    assert "property scope" in " ".join(DataProfile(consent).unread)
    assert DataProfile(consent, properties=frozenset({("consent_given", "scope")})).unread == ()
