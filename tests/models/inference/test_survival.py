"""When customers leave: rising, the headline at its own horizon, and the truth where it is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.arrays import FloatArray
from models.inference.calibration import expit, logit
from models.inference.survival import Hazard, period_ends, person_periods


def test_periods_are_thirty_days_and_end_at_the_horizon_too() -> None:
    assert period_ends(90, silent=False) == (30, 60, 90, 120, 150, 180)
    assert period_ends(45, silent=False) == (30, 45, 60, 90, 120, 150, 180)
    assert period_ends(365, silent=False) == (30, 60, 90, 120, 150, 180, 365)
    assert period_ends(90, silent=True) == (90, 120, 150, 180)
    assert period_ends(181, silent=True) == (181,)


def test_who_was_watched_for_less_counts_for_less() -> None:
    when = np.array([10.0, 30.0, np.inf, 75.0, np.inf])
    known = np.array([90.0, 90.0, 90.0, 70.0, 29.0])
    rows, period, left = person_periods(when, known, (30, 60, 90))
    found = {(int(row), int(at)): bool(gone) for row, at, gone in zip(rows, period, left, strict=True)}
    # Day 30 is the second period's: the first one's window leaves it out.
    assert found == {
        (0, 0): True,
        (1, 0): False, (1, 1): True,
        (2, 0): False, (2, 1): False, (2, 2): False,
        (3, 0): False, (3, 1): False,
    }  # fmt: skip


def test_a_silence_is_complete_at_the_end_of_the_first_period() -> None:
    when = np.array([60.0, 80.0, np.inf])
    rows, period, left = person_periods(when, np.full(3, 90.0), (60, 90), silent=True)
    found = {(int(row), int(at)): bool(gone) for row, at, gone in zip(rows, period, left, strict=True)}
    assert found == {(0, 0): True, (1, 0): False, (1, 1): True, (2, 0): False, (2, 1): False}


def lives(rows: int, seed: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Headlines within 90 days, days of leaving, days watched, and the true probabilities by 30, 60, 90 and 180 days.

    Hazards fall with time, and faster for those at risk: what goes wrong is put right, or they are gone.
    """
    rng = np.random.default_rng(seed)
    z = rng.normal(-2.0, 1.2, rows)
    speed = 0.6 + 0.3 / (1.0 + np.exp(-z))
    whole = np.logaddexp(0.0, z)
    days = np.array([30.0, 60.0, 90.0, 180.0])
    truth = -np.expm1(-whole[:, None] * (days / 90.0) ** (1.5 - speed[:, None]))
    when = 90.0 * (rng.exponential(size=rows) / whole) ** (1.0 / (1.5 - speed))
    return expit(z), when, rng.choice([30.0, 75.0, 120.0, 200.0], rows), truth


def test_it_finds_the_truth_though_half_of_them_were_not_watched_to_the_end() -> None:
    p, when, known, truth = lives(40_000, 1)
    hazard = Hazard.fit(p, np.where(when < known, when, np.inf), known, 90)
    found, _ = hazard.outlook(p, logit(p))
    assert hazard.days == (30, 60, 90, 180)
    assert found[:, 2] == pytest.approx(p, abs=0)
    for column in range(4):
        assert found[:, column].mean() == pytest.approx(truth[:, column].mean(), rel=0.03)
        slope = np.polyfit(logit(found[:, column]), logit(truth[:, column]), 1)[0]
        assert 0.95 < slope < 1.05


def test_counting_the_cut_off_as_staying_would_show() -> None:
    p, when, known, truth = lives(40_000, 2)
    naive = Hazard.fit(p, np.where(when < known, when, np.inf), np.full(len(p), 200.0), 90)
    by_180 = naive.outlook(p, logit(p))[0][:, 3].mean()
    assert by_180 < 0.95 * truth[:, 3].mean(), "so the test above can fail"


def test_the_expected_time_is_the_area_under_survival() -> None:
    hazard = Hazard(90, (30, 60, 90, 180), (0.3, 0.1, 0.0, -0.2), (0.1, 0.0, 0.0, -0.1), -2.0, -5.0, 2.0)
    p = np.array([1e-12, 0.02, 0.3, 0.97, 1.0])
    _, expected = hazard.outlook(p, logit(p))
    rng = np.random.default_rng(0)
    for place, probability in enumerate(p.tolist()):
        cumulative = -np.log1p(-np.minimum(hazard.outlook(p, logit(p))[0][place], 1.0 - 1e-15))
        drawn = np.interp(rng.exponential(size=400_000), [0.0, *cumulative], [0.0, *hazard.ends], right=180.0)
        assert expected[place] == pytest.approx(drawn.mean(), rel=0.01), probability
    assert expected[0] == pytest.approx(180.0)
    assert hazard.limit_days == 180


def test_silence_is_complete_no_sooner_than_the_horizon() -> None:
    hazard = Hazard(60, (60, 90, 120, 180), (0.0,) * 4, (0.0,) * 4, -1.0, -5.0, 2.0, silent=True)
    p = np.array([0.1, 0.9, 1.0 - 1e-9])
    found, expected = hazard.outlook(p, logit(p))
    assert hazard.days == (60, 90, 180)
    assert found[:, 0] == pytest.approx(p, abs=0)
    assert (expected >= 60.0).all()
    assert expected[2] == pytest.approx(60.0, abs=1e-3)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=20),
    st.integers(1, 400),
    st.booleans(),
    st.lists(st.floats(-3, 3), min_size=20, max_size=20),
)
def test_probabilities_rise_with_the_horizon_and_are_the_headline_at_its_own(
    p: list[float], horizon_days: int, silent: bool, figures: list[float]
) -> None:
    ends = period_ends(horizon_days, silent=silent)
    k = len(ends)
    hazard = Hazard(horizon_days, ends, tuple(figures[:k]), tuple(figures[10 : 10 + k]), -2.0, -4.0, 1.0, silent)
    asked = np.array(p)
    found, expected = hazard.outlook(asked, logit(asked))
    assert found.shape == (len(p), len(hazard.days))
    assert ((found >= 0.0) & (found <= 1.0)).all()
    assert (np.diff(found, axis=1) >= 0.0).all()
    if horizon_days in hazard.days:
        assert (found[:, hazard.days.index(horizon_days)] == asked).all()
    assert ((expected >= 0.0) & (expected <= hazard.limit_days + 1e-9)).all()
    assert Hazard.of_json(json.loads(json.dumps(hazard.to_json()))) == hazard


def test_nobody_left_and_nobody_watched_keep_the_headlines_shape() -> None:
    p = np.full(50, 0.2)
    hazard = Hazard.fit(p, np.full(50, np.inf), np.full(50, 10.0), 90)
    found, _ = hazard.outlook(p, logit(p))
    assert -np.log1p(-found[0]) == pytest.approx(-np.log1p(-0.2) * np.array([30, 60, 90, 180]) / 90)


@pytest.mark.parametrize(
    "wrong", [{"ends": (30, 60)}, {"ends": (60, 30, 90)}, {"intercept": (0.0,)}, {"centre": float("nan")}, {"low": 9.0}]
)
def test_what_is_no_model_is_refused(wrong: dict[str, object]) -> None:
    content = {"horizon_days": 90, "ends": (30, 60, 90), "intercept": (0.0,) * 3, "slope": (0.0,) * 3, "centre": 0.0,
               "low": -1.0, "high": 1.0, "silent": False}  # fmt: skip
    Hazard.of_json(content)
    with pytest.raises(ValueError, match="hazard model"):
        Hazard.of_json(content | wrong)
