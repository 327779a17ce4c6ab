"""Intervals that hold what they promise, and differences that tell a better model from a lucky one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.bootstrap import AT_K, FIGURES, Ranked, difference, figures_of, intervals, resampled


def _case(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.beta(1.5, 5, n)
    y = (rng.random(n) < p).astype(np.int64)
    y[:2] = [0, 1]
    return y, p


@given(st.integers(40, 200), st.integers(0, 2**32), st.integers(1, 30), st.booleans())
def test_one_weighting_measures_what_repeated_rows_measure(n: int, seed: int, k: int, coarse: bool) -> None:
    y, p = _case(n, seed)
    p = np.round(p, 1).clip(0.05, 0.95) if coarse else p
    weight = np.random.default_rng(seed).integers(0, 3, n)
    weight[:2] = 1
    fast = dict(zip(FIGURES, Ranked(y, p, k).measure(weight.astype(np.float64)), strict=True))
    slow = figures_of(np.repeat(y, weight), np.repeat(p, weight), k)
    for name in ("auc", "average_precision", "log_loss", "brier", "lift_at_10", AT_K):
        assert fast[name] == pytest.approx(slow[name], abs=1e-9), name
    # Ten parts of equal weight divide a row at an edge, which parts of whole rows cannot.
    assert fast["ece"] == pytest.approx(slow["ece"], abs=20 / n)
    if slow["calibration_slope"] is not None and not coarse and n > 100:
        assert fast["calibration_slope"] == pytest.approx(slow["calibration_slope"], rel=0.05)


def test_an_interval_holds_the_truth_nineteen_times_in_twenty() -> None:
    truth = figures_of(*_case(200_000, 1), k=1000)
    held = dict.fromkeys(("auc", "log_loss", "lift_at_10", "brier"), 0)
    for seed in range(60):
        y, p = _case(500, seed + 10)
        draws = resampled({"one": Ranked(y, p, 25, slope=False)}, np.arange(500), draws=150)["one"]
        around = intervals(y, p, draws, 25)
        for name in held:
            interval, figure = around[name], truth[name]
            assert interval is not None
            assert figure is not None
            held[name] += not interval.excludes(figure)
    for name, times in held.items():
        assert 0.86 <= times / 60 <= 1.0, name


def test_every_interval_holds_its_figure_and_perfect_probabilities_may_have_no_error() -> None:
    y, p = _case(2000, 3)
    around = intervals(y, p, resampled({"one": Ranked(y, p, 100)}, np.arange(2000))["one"], 100)
    for name, figure in figures_of(y, p, 100).items():
        interval = around[name]
        assert interval is not None, name
        assert figure is not None
        assert interval.low <= figure <= interval.high, name
    assert around["ece"] is not None
    assert around["ece"].low == 0.0
    constant = intervals(
        y, np.full(2000, 0.2), resampled({"c": Ranked(y, np.full(2000, 0.2), 9)}, np.arange(2000))["c"], 9
    )
    assert constant["calibration_slope"] is None


def test_customers_seen_five_times_tell_no_more_than_once() -> None:
    y, p = _case(400, 4)
    once = intervals(y, p, resampled({"m": Ranked(y, p, 20)}, np.arange(400))["m"], 20)["auc"]
    five = np.repeat(np.arange(400), 5)
    again = intervals(y[five], p[five], resampled({"m": Ranked(y[five], p[five], 20)}, five)["m"], 20)["auc"]
    naive = intervals(y[five], p[five], resampled({"m": Ranked(y[five], p[five], 20)}, np.arange(2000))["m"], 20)["auc"]
    assert once is not None
    assert again is not None
    assert naive is not None
    assert again.high - again.low == pytest.approx(once.high - once.low, rel=0.25)
    assert naive.high - naive.low < 0.7 * (again.high - again.low)


def test_a_paired_difference_sees_what_two_intervals_would_hide() -> None:
    y, p = _case(3000, 5)
    rng = np.random.default_rng(0)
    margin = np.log(p / (1 - p))
    worse = 1 / (1 + np.exp(-(margin + rng.normal(0, 0.6, 3000))))
    same = 1 / (1 + np.exp(-(margin + rng.normal(0, 0.001, 3000))))
    draws = resampled({name: Ranked(y, q, 100) for name, q in (("a", p), ("w", worse), ("s", same))}, np.arange(3000))
    place = FIGURES.index("log_loss")
    loss = {name: figures_of(y, q, 100)["log_loss"] for name, q in (("a", p), ("w", worse), ("s", same))}
    assert loss["a"] is not None
    assert loss["w"] is not None
    assert loss["s"] is not None
    ahead = difference("log_loss", loss["a"], loss["w"], draws["a"][:, place], draws["w"][:, place])
    assert ahead.better is True
    assert ahead.figure < 0
    behind = difference("log_loss", loss["w"], loss["a"], draws["w"][:, place], draws["a"][:, place])
    assert behind.better is False
    assert behind.interval.low == pytest.approx(-ahead.interval.high)
    tied = difference("log_loss", loss["s"], loss["a"], draws["s"][:, place], draws["a"][:, place])
    assert tied.better is None
