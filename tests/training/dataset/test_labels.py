"""Outcomes and populations against a plain reading of the same events."""

from __future__ import annotations

import csv
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.generation import Generation
from training.dataset.labels import label_events
from training.dataset.prepare import prepare
from training.errors import LabelError

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
HORIZON = timedelta(days=30)


def _read(path: Path) -> list[tuple[str, datetime, datetime, str]]:
    with path.open() as file:
        return [
            (
                row["customer_id"],
                datetime.fromisoformat(row["occurred_at"]),
                datetime.fromisoformat(row["received_at"]),
                row["type"],
            )
            for row in csv.DictReader(file)
        ]


def test_population_and_outcome_are_those_of_a_plain_reading(log: Any) -> None:
    events = _read(log.business.path.parent / "events.csv")
    labels, cutoffs = label_events(Generation.current(log.home), log.business)
    found: dict[datetime, dict[str, int]] = defaultdict(dict)
    for customer, moment, y in zip(labels.customer_id, labels.event_timestamp.tolist(), labels.y.tolist(), strict=True):
        found[moment.replace(tzinfo=UTC)][customer] = y
    assert set(found) == {*cutoffs.train, *cutoffs.test}
    for cutoff, outcome in found.items():
        # By what was known: a purchase that was received late had not been seen yet.
        known = {who for who, occurred, received, _ in events if occurred < cutoff and received < cutoff}
        # By what happened, whenever it was received.
        active = {who for who, occurred, _, _ in events if cutoff <= occurred < cutoff + HORIZON}
        assert outcome == {who: int(who not in active) for who in known}


def test_train_and_test_rows_are_divided_by_cutoff(log: Any) -> None:
    generation = Generation.current(log.home)
    prepared = prepare(generation, log.business)
    (fold,) = prepared.split.folds
    moments = prepared.data.labels.event_timestamp
    gap = moments[fold.test].min() - moments[fold.train].max()
    assert gap >= np.timedelta64(30, "D")
    assert len(fold.train) + len(fold.test) == len(prepared.data)


def test_features_know_nothing_that_was_received_later(log: Any) -> None:
    events = _read(log.business.path.parent / "events.csv")
    prepared = prepare(Generation.current(log.home), log.business)
    labels, data = prepared.everything.labels, prepared.everything
    for row in range(0, len(data), 7):
        cutoff = labels.event_timestamp[row].astype(datetime).replace(tzinfo=UTC)
        last = max(
            occurred
            for who, occurred, received, _ in events
            if who == labels.customer_id[row] and occurred < cutoff and received < cutoff
        )
        expected = (cutoff - last) / timedelta(days=1)
        assert data.columns["purchase_recency_days"][row] == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_churn_by_event_leaves_out_who_has_left(build_events: Any, purchases: Any, tmp_path: Path) -> None:
    rows = purchases(60)
    left = {f"C{number:03d}": datetime(2024, 2 + number % 6, 10, tzinfo=UTC) for number in range(0, 60, 3)}
    rows = [
        row
        for row in rows
        if datetime.fromisoformat(row["occurred_at"]) < left.get(row["customer_id"], datetime.max.replace(tzinfo=UTC))
    ]
    rows += [
        {
            "customer_id": who,
            "occurred_at": when.isoformat(),
            "received_at": when.isoformat(),
            "type": "subscription_cancelled",
            "value": "",
        }
        for who, when in left.items()
    ]
    place = build_events(tmp_path / "b", rows, 'definition = "event"\nevent = "subscription_cancelled"')
    labels, _ = label_events(Generation.current(place.home), place.business)
    for who, moment, y in zip(labels.customer_id, labels.event_timestamp.tolist(), labels.y.tolist(), strict=True):
        cutoff = moment.replace(tzinfo=UTC)
        assert who not in left or left[who] >= cutoff
        assert y == int(who in left and cutoff <= left[who] < cutoff + HORIZON)


def test_a_log_that_is_too_short_is_said(build_events: Any, purchases: Any, tmp_path: Path) -> None:
    rows = [row for row in purchases(60) if row["occurred_at"] < "2024-02-20"]
    place = build_events(tmp_path / "b", rows, 'definition = "inactivity"\nactivity = ["purchase"]')
    with pytest.raises(LabelError, match="complete outcome window of 30 days"):
        label_events(Generation.current(place.home), place.business)
