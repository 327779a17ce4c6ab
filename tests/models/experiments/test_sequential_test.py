"""Intervals that may be looked at every day: valid at every look, tight enough to find what is there, CUPED, sample ratio."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chisquare

from models.experiments.sequential_test import compare, least_per_arm, radius, sample_ratio, tightest_at

LOOKS = 30
RUNS = 250


def excluded(outcome: str, share: float, effect: float, per_look: int, seed: int) -> tuple[float, float]:
    """The share of runs in which some daily look finds a difference, and in which some look misses the true effect."""
    rng = np.random.default_rng(seed)
    found = missed = 0
    for _ in range(RUNS):
        n = LOOKS * per_look
        treated = rng.random(n) < share
        before = rng.normal(size=n)
        if outcome == "binary":
            y = (rng.random(n) < 0.2 + effect * treated).astype(float)
        elif outcome == "money":
            y = rng.exponential(10, n) + effect * treated
        else:
            y = before + rng.normal(size=n) + effect * treated
        looks = [
            compare(y[:k], treated[:k], share, before[:k] if outcome == "explained" else None, planned=n)
            for k in range(per_look, n + 1, per_look)
        ]
        found += any(look.low > 0 or look.high < 0 for look in looks)
        missed += any(not look.low <= effect <= look.high for look in looks)
    return found / RUNS, missed / RUNS


@pytest.mark.parametrize(("outcome", "share"), [("binary", 0.5), ("money", 0.2), ("explained", 0.5)])
def test_looking_every_day_finds_nothing_where_nothing_is(outcome: str, share: float) -> None:
    false_positives, _ = excluded(outcome, share, 0.0, 60, seed=1)
    # At most 5 % over all looks together, and the noise of these runs.
    assert false_positives <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / RUNS)


def test_the_true_effect_is_in_the_interval_at_every_look_and_found() -> None:
    found, missed = excluded("explained", 0.5, 0.25, 60, seed=2)
    assert missed <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / RUNS)
    assert found > 0.8


def test_the_radius_is_that_of_the_paper() -> None:
    n, rho, alpha = 500, 0.1, 0.05
    expected = math.sqrt(2 * (n * rho**2 + 1) / (n**2 * rho**2) * math.log(math.sqrt(n * rho**2 + 1) / alpha))
    assert radius(n, rho, alpha) == pytest.approx(expected, rel=1e-12)
    best = min(np.geomspace(1e-3, 1, 400), key=lambda rho: radius(n, float(rho), alpha))
    assert radius(n, tightest_at(n, alpha), alpha) <= 1.01 * radius(n, float(best), alpha)


def test_the_p_value_is_where_the_interval_touches_nought() -> None:
    rng = np.random.default_rng(3)
    treated = rng.random(800) < 0.5
    y = rng.normal(size=800) + 0.3 * treated
    found = compare(y, treated, 0.5, planned=800)
    assert 0 < found.p_value < 0.05
    assert found.low > 0
    rho = tightest_at(800, 0.05)
    spread = (found.high - found.low) / 2 / radius(800, rho, 0.05)
    assert found.estimate == pytest.approx(spread * radius(800, rho, found.p_value), rel=1e-9)


def test_cuped_takes_off_what_was_known_before_and_nothing_of_the_effect() -> None:
    rng = np.random.default_rng(4)
    n = 20_000
    treated, before = rng.random(n) < 0.5, rng.normal(3.0, 1.0, n)
    y = 2.0 * before + rng.normal(size=n) + 0.5 * treated
    plain, better = compare(y, treated, 0.5), compare(y, treated, 0.5, before)
    assert better.theta == pytest.approx(2.0, abs=0.05)
    assert better.variance_kept == pytest.approx(0.2, abs=0.02)
    assert (better.high - better.low) < 0.5 * (plain.high - plain.low)
    assert better.low <= 0.5 <= better.high
    # A covariate that is known of some takes off what it can.
    some = np.where(rng.random(n) < 0.5, before, np.nan)
    assert better.variance_kept < compare(y, treated, 0.5, some).variance_kept < 0.8
    assert compare(y, treated, 0.5, np.ones(n)).variance_kept == 1.0


def test_no_interval_before_there_is_enough_to_tell() -> None:
    rng = np.random.default_rng(5)
    treated = np.arange(200) % 2 == 0
    assert math.isinf(compare(rng.normal(size=80), treated[:80], 0.5).high)
    assert math.isfinite(compare(rng.normal(size=200), treated, 0.5).high)
    rare = np.zeros(200)
    assert math.isinf(least_per_arm(rare))
    rare[:2] = 1.0
    assert least_per_arm(rare) > 1000
    assert math.isinf(compare(rare, treated, 0.5).high)
    nobody = compare(np.empty(0), np.empty(0, dtype=np.bool_), 0.5)
    assert (math.isnan(nobody.estimate), nobody.p_value) == (True, 1.0)


def test_sample_ratio_is_a_chi_square() -> None:
    assert sample_ratio([480, 520], [0.5, 0.5]) == pytest.approx(chisquare([480, 520]).pvalue)
    assert sample_ratio([820, 1000], [0.5, 0.5]) < 0.001
    assert sample_ratio([0, 0], [0.5, 0.5]) == 1.0
    assert sample_ratio([30, 60, 10], [0.3, 0.6, 0.1]) == pytest.approx(1.0)
