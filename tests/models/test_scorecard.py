"""The scorecard: every identity that DESIGN.md promises, for any figures."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.errors import ScorecardError
from models.inference.calibration import Calibration, expit, logit
from models.scorecard import Band, Scorecard, propose

rates = st.floats(0.001, 0.999)
cards = st.builds(Scorecard, st.just("1"), rates, st.floats(0.5, 20.0))
calibrations = st.builds(Calibration, st.floats(0.05, 5.0), st.floats(-3.0, 3.0))
contributions = st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=12).map(np.asarray)


@given(cards, calibrations, contributions)
@example(Scorecard("1", 0.5, 1.0), Calibration(2.0, 0.0), np.array([3.0, 3.0, 3.0, 2.75]))
def test_base_and_points_sum_to_the_health_of_the_same_margin(
    card: Scorecard, calibration: Calibration, phi: NDArray[np.float64]
) -> None:
    health = card.base(phi[-1], calibration) + card.points(phi[:-1], calibration).sum()
    assert health == pytest.approx(float(card.unclamped(calibration.log_odds(phi.sum()))), abs=1e-8)
    log_odds = float(calibration.log_odds(phi.sum()))
    # A probability near 1 has few digits left that tell it from 1: what one of them is worth, in points.
    digit = card.scale * np.finfo(float).eps * math.exp(abs(log_odds))
    told = float(card.score(calibration.apply(phi.sum())))
    assert told == pytest.approx(min(max(health, 0.0), 100.0), abs=1e-8 + 2.0 * digit)


@given(cards, calibrations, contributions)
def test_points_and_base_are_the_formulas_of_the_design(
    card: Scorecard, calibration: Calibration, phi: NDArray[np.float64]
) -> None:
    s = card.pdo / math.log(2)
    points = card.points(phi[:-1], calibration)
    np.testing.assert_allclose(points, -s * calibration.slope * phi[:-1], rtol=1e-12, atol=1e-12)
    logit_ref = math.log(card.p_ref / (1 - card.p_ref))
    expected = 50 + s * (logit_ref - calibration.intercept - calibration.slope * phi[-1])
    assert card.base(phi[-1], calibration) == pytest.approx(expected, abs=1e-9)


@given(cards, calibrations, calibrations, st.floats(0.001, 0.999))
def test_the_same_risk_is_the_same_health_under_every_model(
    card: Scorecard, first: Calibration, second: Calibration, p: float
) -> None:
    scores = []
    for calibration in (first, second):
        margin = (float(logit(p)) - calibration.intercept) / calibration.slope
        health = card.base(2 * margin / 3, calibration) + float(card.points(margin / 3, calibration))
        scores.append(min(max(health, 0.0), 100.0))
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    assert scores[0] == pytest.approx(float(card.score(p)), abs=1e-6)


@given(cards, st.floats(0.01, 0.99))
def test_pdo_points_double_the_odds_of_staying(card: Scorecard, p: float) -> None:
    assert float(card.score(card.p_ref)) == pytest.approx(50.0, abs=1e-9)
    halved = expit(logit(p) - math.log(2))
    difference = float(card.unclamped(logit(halved)) - card.unclamped(logit(p)))
    assert difference == pytest.approx(card.pdo, abs=1e-9)


@given(cards, st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_more_risk_is_never_more_health(card: Scorecard, p: list[float]) -> None:
    assert (np.diff(card.score(sorted(p))) <= 0).all()


def test_certainties_are_the_ends_and_what_is_missing_is_refused() -> None:
    card = Scorecard("1", 0.2)
    np.testing.assert_array_equal(card.score([0.0, 1.0]), [100.0, 0.0])
    for p in (math.nan, -0.1, 1.1):
        with pytest.raises(ScorecardError, match="between 0 and 1"):
            card.score([0.5, p])
    with pytest.raises(ScorecardError, match="missing"):
        card.band(math.nan)


@pytest.mark.parametrize(
    ("score", "band"),
    [
        (0.0, Band.RED),
        (math.nextafter(40.0, 0.0), Band.RED),
        (40.0, Band.YELLOW),
        (math.nextafter(60.0, 0.0), Band.YELLOW),
        (60.0, Band.GREEN),
        (100.0, Band.GREEN),
    ],
)
def test_bands_meet_exactly_where_they_are_said_to(score: float, band: Band) -> None:
    assert Scorecard("1", 0.2).band(score) is band
    assert json.dumps(band) == f'"{band.value}"'


@given(
    st.lists(st.floats(-30, 30), min_size=1, max_size=300).map(np.asarray),
    rates,
)
def test_the_proposed_pdo_is_the_largest_that_clamps_two_percent(log_odds: NDArray[np.float64], p_ref: float) -> None:
    card = propose(log_odds, p_ref, version="1")

    def clamped(pdo: float) -> int:
        raw = Scorecard("1", p_ref, pdo).unclamped(log_odds)
        return int(((raw < 0) | (raw > 100)).sum())

    allowed = math.floor(0.02 * log_odds.size)
    assert 0 < card.pdo <= 10
    assert clamped(card.pdo) <= allowed
    if card.pdo < 10:
        assert clamped(card.pdo * (1 + 1e-9)) > allowed


def test_a_proposal_takes_what_the_business_says() -> None:
    card = propose([50.0] * 10, 0.3, version="4", pdo=12.0, red=30, green=70)
    assert card == Scorecard("4", 0.3, 12.0, 30, 70)
    with pytest.raises(ScorecardError, match="at least one customer"):
        propose([], 0.3, version="1")
    with pytest.raises(ScorecardError, match="at least one customer"):
        propose([math.nan], 0.3, version="1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"p_ref": 0.0},
        {"p_ref": 1.0},
        {"p_ref": math.nan},
        {"pdo": 0.0},
        {"pdo": math.inf},
        {"red": 70.0},
        {"green": 101.0},
    ],
)
def test_a_scorecard_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ScorecardError):
        Scorecard(**({"version": "1", "p_ref": 0.2} | wrong))  # type: ignore[arg-type]


@given(cards)
def test_a_scorecard_survives_json(card: Scorecard) -> None:
    assert Scorecard.from_json(card.to_json()) == card
    assert card.renamed("2").renamed("1") == card


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": "1", "p_ref": 2, "pdo": 1, "red": 4, "green": 6}'])
def test_json_that_is_no_scorecard_is_refused(text: str) -> None:
    with pytest.raises(ScorecardError):
        Scorecard.from_json(text)
