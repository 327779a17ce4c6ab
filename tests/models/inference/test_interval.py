"""Intervals: Wilson's of shares, and what lies outside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.inference.interval import Z95, Estimate, Interval, wilson


def test_wilson_is_wilson_s() -> None:
    low, high = wilson(np.array([0.0, 0.5]), np.array([10.0, 100.0]))
    assert low == pytest.approx([0.0, 0.4038], abs=1e-3)
    assert high == pytest.approx([0.2775, 0.5962], abs=1e-3)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_wilsons_bounds_are_where_the_normal_test_turns(n: int, part: float) -> None:
    share = round(part * n) / n
    low, high = (float(bound) for bound in wilson(share, n))
    assert 0.0 <= low <= high <= 1.0
    for bound in (low, high):
        if 0.0 < bound < 1.0:
            assert abs(share - bound) == pytest.approx(Z95 * np.sqrt(bound * (1 - bound) / n), rel=1e-6, abs=1e-7)


def test_an_interval_excludes_what_lies_outside() -> None:
    interval = Interval(0.2, 0.4)
    assert not any(map(interval.excludes, (0.2, 0.3, 0.4)))
    assert interval.excludes(0.19)
    assert interval.excludes(float("nan"))
    assert interval.to_json() == [0.2, 0.4]


def test_an_estimate_is_told_as_reports_name_it() -> None:
    estimate = Estimate(0.5, 0.25, 0.75)
    assert estimate.to_json() == {"value": 0.5, "lower": 0.25, "upper": 0.75}
    assert str(estimate) == "0.5000 (0.2500 to 0.7500)"
