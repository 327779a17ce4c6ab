"""Early stopping never looks at what was not known when a window began."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.dataset.time_windows import MOST_FOLDS, Windows

START = datetime(2024, 1, 1, tzinfo=UTC)


def _monthly(windows: int, horizon_days: int, rows: int = 1000) -> Windows:
    cutoffs = [START + timedelta(days=30 * w) for w in range(windows)]
    return Windows.of_cutoffs(np.repeat(np.arange(windows), rows), cutoffs, horizon_days)


@given(st.lists(st.integers(0, 900), min_size=2, max_size=12, unique=True), st.integers(1, 200), st.integers(0, 2**32))
def test_no_fold_trains_on_a_window_that_had_not_ended(days: list[int], horizon: int, seed: int) -> None:
    cutoffs = [START + timedelta(days=day) for day in sorted(days)]
    number = np.repeat(np.arange(len(cutoffs)), 6)
    windows = Windows.of_cutoffs(number, cutoffs, horizon)
    y = np.random.default_rng(seed).integers(0, 2, len(number)).astype(np.int8)
    folds = windows.folds(y)
    assert len(folds) <= MOST_FOLDS
    for seen, held_out in folds:
        (window,) = set(number[held_out].tolist())
        ends = [cutoffs[w] + timedelta(days=horizon) for w in set(number[seen].tolist())]
        assert max(ends) <= cutoffs[window]
        assert len(set(y[seen].tolist())) == len(set(y[held_out].tolist())) == 2


def test_without_an_ended_window_nothing_is_held_out() -> None:
    assert _monthly(2, 90).folds(np.tile([0, 1], 1000).astype(np.int8)) == []


def test_windows_know_how_far_apart_they_began() -> None:
    windows = _monthly(4, 60)
    assert windows.began == (0.0, 0.5, 1.0, 1.5)
    assert windows.year == pytest.approx(365.25 / 60)
    earlier = windows.until(3)
    assert (earlier.began, earlier.ended) == ((0.0, 0.5), ((), ()))
    assert set(earlier.number.tolist()) == {0, 1}


def test_an_ordered_table_has_five_parts() -> None:
    rank = np.random.default_rng(0).permutation(103)
    windows = Windows.of_order(rank)
    sizes = np.bincount(windows.number)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= 2
    order = np.argsort(rank)
    assert (np.diff(windows.number[order]) >= 0).all()
    assert windows.began == (0.0, 1.0, 2.0, 3.0, 4.0)
    assert windows.year is None


def test_rows_of_one_rank_are_in_one_part() -> None:
    windows = Windows.of_order(np.repeat([1, 2], 50))
    assert len(set(windows.number[:50].tolist())) == len(set(windows.number[50:].tolist())) == 1
