"""Metrics against scikit-learn, against hand-made cases, and independent of the rows' order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from training.evaluation.metrics import (
    calibration_bins,
    calibration_slope,
    ece_of_chance,
    expected_calibration_error,
    lift_at,
    measure,
    row_losses,
)


@st.composite
def outcomes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(20, 200))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    p = rng.choice(np.round(rng.random(draw(st.integers(1, 50))), 3).clip(0.001, 0.999), n)
    y = (rng.random(n) < p).astype(np.int64)
    y[:2] = [0, 1]
    return y, p


@given(outcomes(), st.integers(0, 2**32))
def test_the_order_of_rows_does_not_matter(case: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    y, p = case
    order = np.random.default_rng(seed).permutation(len(y))
    first, second = measure(y, p).to_json(), measure(y[order], p[order]).to_json()
    assert second == pytest.approx(first, abs=1e-9)


@given(outcomes())
def test_row_losses_average_to_the_log_loss(case: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = case
    assert row_losses(y, p).mean() == pytest.approx(log_loss(y, p))


def test_ece_is_that_of_equal_count_bins() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(1000)
    y = (rng.random(1000) < p**2).astype(int)
    order = np.argsort(p)
    expected = np.mean([abs(p[part].mean() - y[part].mean()) for part in np.array_split(order, 10)])
    assert expected_calibration_error(y, p) == pytest.approx(expected)
    assert sum(b.rows for b in calibration_bins(y, p)) == 1000


def test_a_constant_is_off_by_what_it_is_off() -> None:
    y = np.r_[np.ones(30), np.zeros(70)]
    assert expected_calibration_error(y, np.full(100, 0.5)) == pytest.approx(0.2)
    constant = measure(y, np.full(100, 0.3))
    assert constant.auc == 0.5
    assert constant.lift_at_10 == pytest.approx(1.0)
    assert constant.calibration_slope is None


def test_the_slope_is_logistic_regression_s() -> None:
    rng = np.random.default_rng(1)
    margin = rng.normal(size=2000) * 2
    y = (rng.random(2000) < 1 / (1 + np.exp(-0.6 * margin - 0.3))).astype(int)
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(margin[:, None], y)
    assert calibration_slope(y, 1 / (1 + np.exp(-margin))) == pytest.approx(fitted.coef_[0, 0], abs=1e-4)


def test_probabilities_that_order_the_wrong_way_have_a_slope_below_zero() -> None:
    rng = np.random.default_rng(5)
    margin = rng.normal(0, 2, 5000)
    y = (rng.random(5000) < 1 / (1 + np.exp(margin))).astype(int)
    assert calibration_slope(y, 1 / (1 + np.exp(-margin))) == pytest.approx(-1.0, abs=0.1)


@pytest.mark.parametrize(
    ("y", "p"), [([0, 1, 1, 1], [0.2, 0.2, 0.8, 0.9]), ([1, 1, 0], [0.1, 0.2, 0.3]), ([1, 1], [0.1, 0.2])]
)
def test_what_but_for_ties_is_separated_has_no_slope(y: list[int], p: list[float]) -> None:
    assert calibration_slope(y, p) is None


def test_a_perfect_separation_has_no_slope() -> None:
    assert calibration_slope(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])) is None


def test_lift_of_a_perfect_order() -> None:
    y = np.r_[np.ones(20), np.zeros(80)]
    assert lift_at(y, np.linspace(1, 0, 100), 0.1) == pytest.approx(5.0)


def test_perfect_probabilities_exceed_the_chance_ece_one_time_in_twenty() -> None:
    rng = np.random.default_rng(3)
    p = rng.beta(1, 3, 400)
    limit = ece_of_chance(p)
    above = [expected_calibration_error((rng.random(400) < p).astype(int), p) > limit for _ in range(400)]
    assert 0.01 < np.mean(above) < 0.1
    assert ece_of_chance(np.repeat(p, 20)) < limit / 3
