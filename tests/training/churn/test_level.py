"""The level of the next window: what simulated shops, whose levels are known, say of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from models.inference.calibration import expit
from training.churn.level import Level, foretold_level
from training.dataset.time_windows import Windows

START = datetime(2024, 1, 1, tzinfo=UTC)
ROWS = 1500


def _monthly(levels: np.ndarray, seed: int, horizon_days: int = 30) -> Level:
    """What windows a month apart foretell, whose customers' log-odds are known up to the level of their window."""
    rng = np.random.default_rng(seed)
    cutoffs = [START + timedelta(days=30 * window) for window in range(len(levels))]
    number = np.repeat(np.arange(len(levels)), ROWS)
    log_odds = rng.normal(-2.0, 1.0, len(number))
    y = (rng.random(len(number)) < expit(log_odds + levels[number])).astype(np.int8)
    return foretold_level(Windows.of_cutoffs(number, cutoffs, horizon_days), log_odds, y)


def test_levels_that_stay_are_known_well_and_one_window_is_not_enough() -> None:
    many, one = _monthly(np.zeros(18), 1), _monthly(np.zeros(1), 2)
    assert abs(many.added) < 0.1
    assert abs(one.added) < 0.2
    assert many.deviation < 0.12
    assert one.deviation > 0.25


def test_a_drift_is_followed_and_shrunk() -> None:
    levels = np.linspace(-0.8, 0.8, 12)
    foretold = _monthly(levels, 3)
    assert 0.4 < foretold.added < 0.9
    assert abs(_monthly(levels[::-1], 4).added + foretold.added) < 0.2


def test_a_season_is_foretold_once_it_was_seen() -> None:
    month = np.arange(37)
    levels = 0.5 * np.cos(2.0 * np.pi * month * 30.0 / 365.25)
    for windows in (27, 30, 33, 36):
        assert abs(_monthly(levels[:windows], windows, horizon_days=30).added - levels[windows]) < 0.2


def test_the_interval_holds_the_next_level_as_often_as_it_says() -> None:
    """Levels by a process of their own: strays of any size, that last for any time."""
    held = 0
    for world in range(120):
        rng = np.random.default_rng(world)
        windows = int(rng.integers(2, 13))
        drift, stay = abs(rng.normal(0.0, 0.4)), np.exp(-1.0 / rng.uniform(0.3, 3.0))
        levels = np.empty(windows + 1)
        levels[0] = rng.normal(0.0, drift)
        for window in range(1, windows + 1):
            levels[window] = stay * levels[window - 1] + rng.normal(0.0, drift * np.sqrt(1.0 - stay**2))
        foretold = _monthly(levels[:-1], world)
        held += abs(foretold.added - levels[-1]) <= 1.96 * foretold.deviation
    assert held >= 108


def test_a_window_in_which_all_churned_is_no_infinite_level() -> None:
    number = np.repeat([0, 1], 50)
    y = (number == 1).astype(np.int8)
    windows = Windows.of_cutoffs(number, [START, START + timedelta(days=30)], 30)
    foretold = foretold_level(windows, np.zeros(100), y)
    assert np.isfinite([foretold.added, foretold.deviation]).all()
    assert foretold.deviation > 0.3


def test_the_rate_adds_up_and_says_so() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.3, 4000)
    y = (rng.random(4000) < p).astype(np.int8)
    rate = Level(0.0, 0.2).rate(p, y)
    assert rate.foretold.value == pytest.approx(p.mean())
    assert rate.foretold.low < p.mean() < rate.foretold.high
    assert rate.is_covered
    assert not Level(0.0, 0.0).rate(p, 1 - y).is_covered
    assert f"{p.mean():.1%}" in rate.sentence
    assert f"it was {y.mean():.1%}" in rate.sentence
