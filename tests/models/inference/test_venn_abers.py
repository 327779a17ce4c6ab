"""The interval of a probability: as the definition has it, around the probability, and over the truth."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from models.arrays import FloatArray
from models.inference.calibration import expit, logit
from models.inference.interval import Z95
from models.inference.venn_abers import MOST_STEPS, ProbabilityInterval, venn_abers


def by_definition(z: FloatArray, y: FloatArray, at: float, outcome: float) -> float:
    """The isotonic rate at a score, with one more row there."""
    fitted = IsotonicRegression().fit(np.append(z, at), np.append(y, outcome))
    return float(fitted.predict([at])[0])


def simulated(rows: int, seed: int, spread: float = 1.5) -> tuple[FloatArray, FloatArray]:
    """True probabilities, and outcomes drawn from them."""
    rng = np.random.default_rng(seed)
    truth = expit(rng.normal(-1.5, spread, rows))
    return truth, (rng.random(rows) < truth).astype(np.float64)


def test_venn_abers_is_the_isotonic_regression_with_one_row_more() -> None:
    rng = np.random.default_rng(3)
    z = np.sort(rng.normal(size=60))
    y = (rng.random(60) < expit(2 * z)).astype(np.float64)
    p0, p1 = venn_abers(np.ones((1, 60)), y[np.newaxis])
    for place in range(0, 60, 7):
        assert p0[0, place] == pytest.approx(by_definition(z, y, z[place], 0.0), abs=1e-12)
        assert p1[0, place] == pytest.approx(by_definition(z, y, z[place], 1.0), abs=1e-12)
    assert (p0 < p1).all()
    assert (np.diff(p0) >= 0).all()
    assert (np.diff(p1) >= 0).all()


@pytest.mark.parametrize("rows", [500, 3000])
def test_it_holds_the_true_rate_of_almost_every_group(rows: int) -> None:
    held = []
    for seed in range(8):
        truth, y = simulated(rows, seed)
        # A probability that is off, as a model's is: the interval is of the rate at its score, which the rows tell.
        said = expit(0.8 * logit(truth) - 0.2)
        interval = ProbabilityInterval.fit(said, y, np.arange(rows), np.random.default_rng(seed), draws=100)
        others, _ = simulated(20_000, seed + 100)
        p = expit(0.8 * logit(others) - 0.2)
        low, high = interval.bounds(p, logit(p))
        groups = np.array_split(np.argsort(p), 15)
        held += [low[group].mean() <= others[group].mean() <= high[group].mean() for group in groups]
    assert np.mean(held) >= 0.93


def test_more_rows_say_it_more_surely() -> None:
    p = np.linspace(0.05, 0.6, 50)
    widths = []
    for rows in (300, 3000, 30_000):
        truth, y = simulated(rows, 1)
        interval = ProbabilityInterval.fit(truth, y, np.arange(rows), np.random.default_rng(1), draws=60)
        low, high = interval.bounds(p, logit(p))
        widths.append(float((high - low).mean()))
    assert widths[0] > 1.5 * widths[1] > 2.0 * widths[2]


def test_rows_of_one_customer_count_as_one_witness() -> None:
    truth, y = simulated(400, 5)
    alone = ProbabilityInterval.fit(truth, y, np.arange(400), np.random.default_rng(2), draws=100)
    copies = ProbabilityInterval.fit(
        np.repeat(truth, 5), np.repeat(y, 5), np.repeat(np.arange(400), 5), np.random.default_rng(2), draws=100
    )
    p = np.linspace(0.05, 0.6, 50)
    width = [float(np.subtract(*one.bounds(p, logit(p))[::-1]).mean()) for one in (alone, copies)]
    assert width[1] > 0.75 * width[0], "five copies of a row must not look like five customers"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_probability_is_always_within(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 40))
    p = data.draw(st.lists(st.floats(0, 1), min_size=n, max_size=n))
    y = data.draw(st.lists(st.sampled_from([0, 1]), min_size=n, max_size=n))
    interval = ProbabilityInterval.fit(p, y, np.arange(n), np.random.default_rng(0), draws=5)
    assert len(interval.log_odds) <= MOST_STEPS
    asked = np.array([*p, *data.draw(st.lists(st.floats(0, 1), max_size=9))])
    low, high = interval.bounds(asked, logit(asked))
    assert ((low >= 0.0) & (low <= asked) & (asked <= high) & (high <= 1.0)).all()
    order = np.argsort(asked)
    assert (np.diff(low[order]) >= -1e-12).all()
    assert (np.diff(high[order]) >= -1e-12).all()
    assert ProbabilityInterval.of_json(json.loads(json.dumps(interval.to_json()))) == interval


def test_doubt_about_the_level_widens_by_as_much_where_nothing_else_is_in_doubt() -> None:
    at = (-3.0, -1.0, 0.5)
    known = tuple(expit(np.array(at)).tolist())
    sure = ProbabilityInterval(at, known, known)
    widened = sure.widened(0.2)
    np.testing.assert_allclose(logit(widened.low), np.array(at) - Z95 * 0.2)
    np.testing.assert_allclose(logit(widened.high), np.array(at) + Z95 * 0.2)
    truth, y = simulated(300, 9)
    interval = ProbabilityInterval.fit(truth, y, np.arange(300), np.random.default_rng(4))
    wider, widest = interval.widened(0.1), interval.widened(0.5)
    for narrow, wide in ((interval, wider), (wider, widest)):
        assert (np.array(wide.low) <= np.array(narrow.low)).all()
        assert (np.array(wide.high) >= np.array(narrow.high)).all()
        inner = (np.array(narrow.low) > 0.0) & (np.array(narrow.high) < 1.0)
        assert ((np.array(wide.high) - np.array(wide.low)) > (np.array(narrow.high) - np.array(narrow.low)))[
            inner
        ].all()
    np.testing.assert_allclose(interval.widened(0.0).low, interval.low, atol=1e-14)


def test_equal_rows_and_seed_give_equal_intervals() -> None:
    truth, y = simulated(300, 9)
    one, other = (ProbabilityInterval.fit(truth, y, np.arange(300), np.random.default_rng(4)) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("log_odds", "low", "high"),
    [((), (), ()), ((0.0,), (0.5,), (0.4,)), ((1.0, 0.0), (0.1, 0.1), (0.2, 0.2)), ((0.0,), (-0.1,), (0.4,)),
     ((0.0,), (float("nan"),), (0.4,)), ((float("inf"),), (0.1,), (0.4,)), ((0.0, 1.0), (0.1,), (0.4,))],
)  # fmt: skip
def test_what_is_no_interval_is_refused(
    log_odds: tuple[float, ...], low: tuple[float, ...], high: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="interval"):
        ProbabilityInterval(log_odds, low, high)


def test_rows_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="one outcome and one group each"):
        ProbabilityInterval.fit([0.1, 0.2], [1], [1], np.random.default_rng(0))
