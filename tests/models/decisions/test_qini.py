"""Qini and AUUC: by hand, and against what is known of orders that are perfect, reversed, or no order at all."""

from __future__ import annotations

import numpy as np
import pytest

from models.arrays import Flags, FloatArray
from models.decisions.qini import UpliftCurve, uplift_curve


def curve(
    effect: FloatArray, treated: Flags, y: FloatArray, p: float | FloatArray = 0.5, resamples: int = 0
) -> UpliftCurve:
    n = len(y)
    pscore = np.broadcast_to(np.asarray(p, dtype=np.float64), (n,))
    return uplift_curve(effect, treated, y, pscore, np.arange(n), np.random.default_rng(0), resamples=resamples)


def test_areas_by_hand() -> None:
    effect = np.array([4.0, 3.0, 2.0, 1.0])
    treated = np.array([True, False, True, False])
    y = np.array([1.0, 0.0, 0.0, 1.0])
    found = curve(effect, treated, y)
    # U at 1/4, 1/2, 3/4 and 1: 1/4 · (1 − 0), 1/2 · (1 − 0), 3/4 · (1/2 − 0), 1 · (1/2 − 1/2).
    heights = [0.0, 0.25, 0.5, 0.375, 0.0]
    assert found.auuc.value == pytest.approx(np.trapezoid(heights, dx=0.25))
    assert found.qini.value == pytest.approx(found.auuc.value)
    assert found.average == 0.0


def world(n: int = 60_000) -> tuple[FloatArray, Flags, FloatArray]:
    rng = np.random.default_rng(4)
    effect = rng.uniform(-0.2, 0.4, n)
    treated = rng.random(n) < 0.5
    y = (rng.random(n) < 0.4 + np.where(treated, effect, 0.0)).astype(np.float64)
    return effect, treated, y


def test_a_perfect_order_has_the_area_of_the_truth() -> None:
    effect, treated, y = world()
    ordered = np.sort(effect)[::-1]
    truth = np.cumsum(ordered) / len(ordered)
    expected = float(truth.mean() - truth[-1] / 2)
    assert curve(effect, treated, y).qini.value == pytest.approx(expected, abs=0.005)
    assert curve(-effect, treated, y).qini.value == pytest.approx(-expected, abs=0.005)


def test_no_order_has_no_area() -> None:
    _, treated, y = world()
    assert curve(np.full(len(y), 0.1), treated, y).qini.value == pytest.approx(0.0, abs=1e-12)
    noise = np.random.default_rng(9).normal(size=len(y))
    assert abs(curve(noise, treated, y).qini.value) < 0.005


def test_ties_are_settled_by_no_order_of_the_file() -> None:
    effect, treated, y = world(4000)
    coarse = np.round(effect, 1)
    shuffled = np.random.default_rng(1).permutation(len(y))
    assert curve(coarse, treated, y).qini.value == pytest.approx(
        curve(coarse[shuffled], treated[shuffled], y[shuffled]).qini.value
    )


def test_unequal_propensities_are_weighed() -> None:
    rng = np.random.default_rng(6)
    n = 80_000
    x = rng.random(n)
    e = 0.2 + 0.6 * x
    treated = rng.random(n) < e
    y = (rng.random(n) < 0.2 + 0.5 * x + np.where(treated, 0.1, 0.0)).astype(np.float64)
    found = curve(rng.normal(size=n), treated, y, np.where(treated, e, 1 - e))
    assert found.average == pytest.approx(0.1, abs=0.012)
    assert abs(found.qini.value) < 0.005


def test_the_interval_is_as_wide_as_the_figure_varies() -> None:
    def once(seed: int, resamples: int) -> UpliftCurve:
        rng = np.random.default_rng(seed)
        effect = rng.uniform(-0.2, 0.4, 1500)
        treated = rng.random(1500) < 0.5
        y = (rng.random(1500) < 0.4 + np.where(treated, effect, 0.0)).astype(np.float64)
        return curve(effect, treated, y, resamples=resamples)

    spread = np.std([once(seed, 0).qini.value for seed in range(200)])
    found = once(1, 300).qini
    assert (found.high - found.low) / 3.92 == pytest.approx(spread, rel=0.35)
