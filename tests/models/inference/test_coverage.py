"""Coverage: what is known of a customer, against what is typically known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.inference.coverage import Coverage

NAN = np.nan


def test_what_most_lack_costs_little_and_what_all_have_much() -> None:
    rng = np.random.default_rng(0)
    rows = np.ones((1000, 4), dtype=np.float32)
    rows[rng.random(1000) < 0.95, 3] = NAN  # hardly anybody answered
    coverage = Coverage.fit(rows, range(4))
    full, silent, odd, nothing = coverage.of(
        np.array([[1, 1, 1, 1], [1, 1, 1, NAN], [1, NAN, NAN, 1], [NAN] * 4], dtype=np.float32)
    )
    assert full == silent == 1.0, "the typical customer answered nothing"
    assert odd < 0.4
    assert nothing == 0.0


def test_a_count_of_nothing_is_known_only_where_something_happened() -> None:
    # sessions (0 over no events), days since the newest (its witness), and the plan, which nothing witnesses.
    rows = np.array([[3, 2, 1]] * 90 + [[0, 400, 0]] * 10, dtype=np.float32)
    coverage = Coverage.fit(rows, [1, 1, 2])
    quiet, new = coverage.of(np.array([[0, 300, 1], [0, NAN, 1]], dtype=np.float32))
    assert quiet == 1.0
    assert new == 0.0, "nothing ever happened: a contract says nothing of health"


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_it_is_a_share_that_more_knowledge_never_lowers(data: st.DataObject) -> None:
    figures = st.sampled_from([np.float32(0), np.float32(1), np.float32(NAN)])
    n, d = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 6))
    rows = data.draw(arrays(np.float32, (n, d), elements=figures))
    rows[0] = 1.0
    witness = data.draw(st.lists(st.integers(0, d - 1), min_size=d, max_size=d))
    coverage = Coverage.fit(rows, witness)
    found = coverage.of(rows)
    assert ((found >= 0.0) & (found <= 1.0)).all()
    told = np.where(np.isnan(rows), np.float32(1.0), rows)
    assert (coverage.of(told) >= found).all()
    assert (coverage.of(np.ones((1, d), dtype=np.float32)) == 1.0).all(), "of whom all is known, enough is known"
    assert [float(coverage.of(rows[row : row + 1])[0]) for row in range(n)] == found.tolist()
    assert Coverage.of_json(json.loads(json.dumps(coverage.to_json()))) == coverage


@pytest.mark.parametrize(
    ("presence", "witness", "typical"),
    [((), (), 1.0), ((0.0,), (0,), 1.0), ((1.1,), (0,), 1.0), ((1.0,), (1,), 1.0), ((1.0,), (0,), 0.0)],
)
def test_what_is_no_coverage_is_refused(presence: tuple[float, ...], witness: tuple[int, ...], typical: float) -> None:
    with pytest.raises(ValueError, match="Coverage needs"):
        Coverage(presence, witness, typical)
