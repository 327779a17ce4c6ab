"""Calibration: a positive slope, whatever the data; and right where there are enough."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.inference.calibration import Calibration, expit, level, logit


@given(st.floats(0, 1))
def test_logit_is_finite_and_odd(p: float) -> None:
    assert math.isfinite(logit(p))
    assert float(expit(logit(p))) == pytest.approx(p, abs=1e-14)


@given(st.floats(-1e308, 1e308))
def test_expit_never_overflows(x: float) -> None:
    p = float(expit(x))
    assert 0.0 <= p <= 1.0
    assert float(expit(-x)) == pytest.approx(1.0 - p, abs=1e-15)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 60), st.data())
def test_any_margins_and_outcomes_give_a_finite_calibration_with_a_positive_slope(n: int, data: st.DataObject) -> None:
    margins = data.draw(arrays(np.float64, n, elements=st.floats(-40, 40)))
    y = data.draw(arrays(np.int64, n, elements=st.integers(0, 1)))
    calibration = Calibration.fit(margins, y)
    assert calibration.slope > 0
    p = calibration.apply(margins)
    assert np.isfinite(p).all()
    order = np.argsort(margins, kind="stable")
    assert (np.diff(p[order]) >= 0).all()


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, -1.0), (2.5, 0.7)])
def test_it_recovers_the_truth(slope: float, intercept: float) -> None:
    rng = np.random.default_rng(11)
    margins = rng.normal(-1, 1.5, 40_000)
    y = rng.random(40_000) < expit(slope * margins + intercept)
    found = Calibration.fit(margins, y)
    assert found.slope == pytest.approx(slope, rel=0.05)
    assert found.intercept == pytest.approx(intercept, abs=0.06)
    assert float(found.apply(margins).mean()) == pytest.approx(float(y.mean()), abs=1e-4), "right in the large"


def test_hardly_any_rows_leave_the_margins_nearly_as_they_are() -> None:
    found = Calibration.fit([-1.0, 1.0], [0, 1])
    assert 0.5 < found.slope < 2.0
    assert abs(found.intercept) < 0.5


def test_one_class_is_not_a_certainty() -> None:
    found = Calibration.fit(np.zeros(8), np.ones(8))
    assert float(found.apply(0.0)) == pytest.approx(0.9), "eight of eight, by Laplace"


def test_margins_that_order_the_wrong_way_are_shrunk_and_not_turned_round() -> None:
    margins = np.linspace(-3, 3, 500)
    found = Calibration.fit(margins, margins < 0)
    assert 0 < found.slope < 0.05
    assert float(found.apply(margins).mean()) == pytest.approx(0.5, abs=0.01)


def test_what_cannot_be_calibrated_is_refused() -> None:
    for margins, y in (([], []), ([1.0], [1, 0]), ([math.nan, 1.0], [0, 1])):
        with pytest.raises(ValueError, match="finite margins"):
            Calibration.fit(margins, y)
    for slope, intercept in ((0.0, 0.0), (-1.0, 0.0), (math.nan, 0.0), (1.0, math.inf)):
        with pytest.raises(ValueError, match="slope above 0"):
            Calibration(slope, intercept)


@given(st.integers(2, 300), st.floats(0.01, 20.0), st.integers(0, 2**32))
def test_at_its_level_the_mean_probability_is_the_rate_whatever_the_spread(n: int, spread: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rate = float(rng.integers(1, n)) / n
    margins = spread * rng.normal(size=n) + rng.normal()
    added = level(margins, rate)
    assert expit(margins + added).mean() == pytest.approx(rate, abs=1e-9)
    calibration = Calibration(1.7, 0.3)
    np.testing.assert_allclose(
        calibration.raised(added).log_odds(margins), calibration.log_odds(margins) + added, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_no_finite_level_makes_a_rate_certain(rate: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        level([0.1, 0.2], rate)
