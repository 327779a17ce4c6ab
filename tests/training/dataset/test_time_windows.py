"""Early stopping and calibration never look at what was not known when a window began."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.dataset.time_windows import MOST_FOLDS, Windows

START = datetime(2024, 1, 1, tzinfo=UTC)


def _outcomes(rates: list[float], rows: int = 1000) -> np.ndarray:
    return np.concatenate([np.arange(rows) < rate * rows for rate in rates]).astype(np.int8)


def _monthly(rates: list[float], horizon_days: int, rows: int = 1000) -> Windows:
    cutoffs = [START + timedelta(days=30 * w) for w in range(len(rates))]
    return Windows.of_cutoffs(np.repeat(np.arange(len(rates)), rows), cutoffs, horizon_days)


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


def test_a_rate_that_keeps_rising_is_foretold_by_the_newest_window() -> None:
    rates = [0.03, 0.05, 0.08, 0.12, 0.2]
    assert _monthly(rates, 30).newest_foretells(_outcomes(rates))


def test_a_rate_that_goes_with_the_seasons_is_not() -> None:
    rates = [0.40, 0.52, 0.40, 0.52, 0.40, 0.52]
    assert not _monthly(rates, 30).newest_foretells(_outcomes(rates))


def test_without_an_ended_window_all_calibrate() -> None:
    rates = [0.1, 0.5]
    windows = _monthly(rates, 90)
    assert not windows.newest_foretells(_outcomes(rates))
    assert windows.folds(_outcomes(rates)) == []


def test_an_ordered_table_has_five_parts() -> None:
    rank = np.random.default_rng(0).permutation(103)
    windows = Windows.of_order(rank)
    sizes = np.bincount(windows.number)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= 2
    order = np.argsort(rank)
    assert (np.diff(windows.number[order]) >= 0).all()
    assert windows.newest[order][-1]


def test_rows_of_one_rank_are_in_one_part() -> None:
    windows = Windows.of_order(np.repeat([1, 2], 50))
    assert len(set(windows.number[:50].tolist())) == len(set(windows.number[50:].tolist())) == 1
