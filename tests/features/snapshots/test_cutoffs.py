"""Which cutoffs train and which test: no window that is incomplete, none that reaches into the test window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.dataset.labels import choose_cutoffs, data_end
from training.errors import LabelError

LAST = datetime(2011, 12, 9, 12, 50, tzinfo=UTC)
MONTHLY = [datetime(2011, month, 1, tzinfo=UTC) for month in range(1, 13)]
SEPTEMBER_10 = datetime(2011, 9, 10, tzinfo=UTC)


def test_the_last_complete_cutoff_tests_by_default() -> None:
    cutoffs = choose_cutoffs(MONTHLY, None, 90, LAST, "UTC")
    assert cutoffs.test == (datetime(2011, 9, 1, tzinfo=UTC),)
    assert [cutoff.month for cutoff in cutoffs.train] == [1, 2, 3, 4, 5, 6]


def test_given_test_cutoffs_are_taken() -> None:
    cutoffs = choose_cutoffs([*MONTHLY, SEPTEMBER_10], [SEPTEMBER_10], 90, LAST, "UTC")
    assert cutoffs.test == (SEPTEMBER_10,)
    assert cutoffs.train[-1] == datetime(2011, 6, 1, tzinfo=UTC)


def test_a_window_that_ends_at_the_midnight_after_the_last_event_is_complete() -> None:
    exact = data_end(LAST, "UTC") - timedelta(days=90)
    assert choose_cutoffs([*MONTHLY, exact], [exact], 90, LAST, "UTC").test == (exact,)
    late = exact + timedelta(seconds=1)
    with pytest.raises(LabelError, match="2011-12-09"):
        choose_cutoffs([*MONTHLY, late], [late], 90, LAST, "UTC")


def test_summer_time_does_not_make_a_window_incomplete() -> None:
    zone = "Europe/Berlin"
    last = datetime(2024, 3, 31, 20, tzinfo=UTC)  # clocks went forward that morning
    cutoff = datetime(2024, 1, 1, 23, tzinfo=UTC)  # midnight of 2 January in Berlin
    earlier = datetime(2023, 10, 1, 22, tzinfo=UTC)
    assert choose_cutoffs([earlier, cutoff], None, 90, last, zone).test == (cutoff,)


@given(st.sets(st.integers(0, 400), min_size=2, max_size=30), st.integers(1, 120))
def test_no_training_window_reaches_into_the_test_window(days: set[int], horizon: int) -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    available = [start + timedelta(days=day) for day in days]
    last = start + timedelta(days=420)
    try:
        cutoffs = choose_cutoffs(available, None, horizon, last, "UTC")
    except LabelError:
        return
    window = timedelta(days=horizon)
    assert max(cutoffs.train) + window <= min(cutoffs.test)
    assert max(cutoffs.test) + window <= data_end(last, "UTC")


@pytest.mark.parametrize(
    ("available", "test", "sentence"),
    [
        (MONTHLY[10:], None, "No cutoff has a complete outcome window"),
        (MONTHLY[8:9], None, "No training cutoff"),
        (MONTHLY, [SEPTEMBER_10], "has no features"),
        (MONTHLY, [datetime(2011, 10, 1, tzinfo=UTC)], "ends on 2011-12-30"),
    ],
)
def test_what_is_impossible_is_said(available: list[datetime], test: list[datetime] | None, sentence: str) -> None:
    with pytest.raises(LabelError, match=sentence):
        choose_cutoffs(available, test, 90, LAST, "UTC")


def test_a_cutoff_with_less_than_a_horizon_of_history_does_not_train_where_others_do() -> None:
    first = MONTHLY[0] - timedelta(days=20)
    everything = choose_cutoffs(MONTHLY, None, 90, LAST, "UTC")
    with_history = choose_cutoffs(MONTHLY, None, 90, LAST, "UTC", first)
    assert with_history.train == tuple(c for c in everything.train if c >= first + timedelta(days=90))
    assert 0 < len(with_history.train) < len(everything.train)
    assert with_history.test == everything.test
    assert with_history.early + with_history.train == everything.train
    assert everything.early == ()
    late = choose_cutoffs(MONTHLY, None, 90, LAST, "UTC", everything.train[-1])
    assert late.train == everything.train, "but little history is better than none"
