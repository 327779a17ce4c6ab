"""Planted leaks are named, honest features are not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.build import build
from features.config.business import Business
from features.generation import Generation
from features.home import Home
from training.dataset.leakage import Leak, LeakKind, changed_values
from training.dataset.prepare import prepare

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

RNG = np.random.default_rng


def _found(place: Any) -> dict[str, Leak]:
    return {leak.feature: leak for leak in prepare(Generation.current(place.home), place.business).leaks}


def test_honest_features_raise_no_alarm(table: Any, log: Any) -> None:
    assert _found(table) == {}
    assert _found(log) == {}


def test_each_planted_leak_of_a_table_is_named(build_table: Any, customers: Any, tmp_path: Path) -> None:
    rng = RNG(0)
    rows = customers(800)
    for row in rows:
        left = row["left"] == "yes"
        row["noisy_copy"] = int(left != (rng.random() < 0.05))  # the outcome with 5 % noise
        row["copy_in_words"] = "closed" if left else "open"
        row["reason"] = str(rng.choice(["price", "moved"])) if left and rng.random() < 0.6 else ""
        row["refund"] = "" if left else round(float(rng.gamma(2, 10)), 2)  # only who stayed has one
        row["status"] = "terminated" if left and rng.random() < 0.5 else str(rng.choice(["a", "b"]))
        row["often_missing"] = "" if rng.random() < 0.5 else int(rng.integers(0, 9))
    place = build_table(tmp_path / "b", rows)
    found = _found(place)
    assert set(found) == {"noisy_copy", "copy_in_words", "reason", "refund", "status"}
    assert found["noisy_copy"].kind is LeakKind.ALONE
    assert found["noisy_copy"].figure == pytest.approx(0.95, abs=0.03)
    assert "'noisy_copy' alone tells who churned" in found["noisy_copy"].sentence
    assert found["reason"].kind is found["status"].kind is LeakKind.FILLED
    assert "filled in after the fact" in found["reason"].sentence
    assert found["reason"].sentence.endswith("add it to [data] drop.")
    assert "is 'terminated'" in found["status"].sentence
    warnings = prepare(Generation.current(place.home), place.business).warnings
    for leak in found.values():
        assert leak.sentence in warnings


def test_a_copy_with_noise_is_named_where_it_is_the_only_leak(build_table: Any, customers: Any, tmp_path: Path) -> None:
    rng = RNG(1)
    rows = customers(500)
    for row in rows:
        row["copy"] = int((row["left"] == "yes") != (rng.random() < 0.05))
    assert set(_found(build_table(tmp_path / "b", rows))) == {"copy"}


LOG = """
[business]
name = "log"
[data]
kind = "events"
[data.events]
path = "events.csv"
[data.customers]
path = "customers.csv"
customer_id = "id"
[churn]
definition = "inactivity"
activity = ["purchase"]
horizon_days = 30
cutoffs = "monthly"
"""


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def test_what_was_filled_in_once_for_all_cutoffs_is_named(purchases: Any, tmp_path: Path) -> None:
    rows = purchases(200)
    last = {row["customer_id"]: row["occurred_at"] for row in rows}
    rng = RNG(2)
    people = [
        {
            "id": customer,
            "region": str(rng.choice(["north", "south", "west"])),
            # Written when the account was closed, long after most cutoffs that it is now seen at.
            "closed_because": str(rng.choice(["price", "moved"])) if str(moment) < "2024-07-08" else "",
        }
        for customer, moment in last.items()
    ]
    _write(tmp_path / "events.csv", rows)
    _write(tmp_path / "customers.csv", people)
    (tmp_path / "log.toml").write_text(LOG)
    business, home = Business.load(tmp_path / "log.toml"), Home(tmp_path / "home")
    build(business, home, datetime.now(UTC), lambda *_: None)
    prepared = prepare(Generation.current(home), business)
    (leak,) = prepared.leaks
    assert leak.feature == "closed_because"
    assert leak.sentence.endswith("add it to [data.customers] drop.")


def test_values_that_a_later_build_sees_otherwise_are_named(purchases: Any, tmp_path: Path) -> None:
    rows = purchases(120)
    people = [
        {"id": customer, "tier": "gold", "region": "north"} for customer in sorted({r["customer_id"] for r in rows})
    ]
    for number, person in enumerate(people):
        person["tier"] = ["gold", "silver"][number % 2]
        person["region"] = ["north", "south", "west"][number % 3]
    (tmp_path / "log.toml").write_text(LOG)
    _write(tmp_path / "customers.csv", people)
    until = datetime(2024, 7, 15, tzinfo=UTC)
    _write(tmp_path / "events.csv", [row for row in rows if str(row["received_at"]) < until.isoformat()])
    business, home = Business.load(tmp_path / "log.toml"), Home(tmp_path / "home")
    build(business, home, datetime.now(UTC) - timedelta(seconds=5), lambda *_: None)
    first = Generation.current(home)
    assert changed_values(first, home, prepare(first, business).everything) == ()
    # A month later: new events, and the tier of a third of the customers was overwritten.
    for number, person in enumerate(people):
        person["tier"] = "lost" if number % 3 == 0 else person["tier"]
    _write(tmp_path / "customers.csv", people)
    _write(tmp_path / "events.csv", rows)
    build(business, home, datetime.now(UTC), lambda *_: None)
    second = Generation.current(home)
    found = changed_values(second, home, prepare(second, business).everything)
    assert [leak.feature for leak in found] == ["tier"]
    assert found[0].kind is LeakKind.CHANGED
    assert found[0].figure == pytest.approx(1 / 3, abs=0.05)


def test_figures_of_events_before_the_cutoff_are_no_leaks(build_events: Any, tmp_path: Path) -> None:
    rng = RNG(3)
    rows = []
    for number in range(150):
        # They buy every three days until they stop for good: what was bought lately nearly decides the next window.
        for day in range(int(rng.integers(0, 3)), int(rng.uniform(20, 400)), 3):
            if day < 240:
                occurred = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day)
                rows.append({"customer_id": f"C{number}", "occurred_at": occurred.isoformat(), "type": "purchase"})
    place = build_events(tmp_path / "b", rows, 'definition = "inactivity"\nactivity = ["purchase"]')
    prepared = prepare(Generation.current(place.home), place.business)
    assert prepared.leaks == ()
    assert not any("drop" in sentence for sentence in prepared.warnings)
