"""Causes: troubles come and go as declared, at most one a day, and each adds to the hazard of its own cause alone."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest

from experiments.simulation.behaviour import troubles
from experiments.simulation.behaviour.dynamics import State, begin
from experiments.simulation.behaviour.hazard import MOST_LOG_HAZARD, hazards
from experiments.simulation.customers.causes import LABELS, TROUBLES, Cause
from experiments.simulation.customers.population import Population, draw
from experiments.simulation.scenario import Scenario


@pytest.fixture(scope="module")
def population() -> Population:
    scenario = Scenario(customers=3000, seed=5, end=datetime(2026, 6, 1, tzinfo=UTC))
    return draw(scenario, np.random.default_rng(5))


def calm(population: Population) -> State:
    """A state in which nothing troubles anybody."""
    state = begin(population, np.random.default_rng(1))
    state.troubles[:] = False
    return state


def test_there_are_five_causes_or_more_and_a_troubles_row_is_its_cause() -> None:
    assert len(Cause) >= 5
    assert list(TROUBLES) == list(range(len(TROUBLES)))
    assert tuple(cause.label for cause in Cause) == LABELS


@pytest.mark.parametrize("cause", list(Cause))
def test_a_trouble_adds_to_the_hazard_of_its_own_cause_alone(population: Population, cause: Cause) -> None:
    before = hazards(population, calm(population), day=200)
    state = calm(population)
    if cause in TROUBLES:
        state.troubles[cause] = True
    elif cause is Cause.SUPPORT:
        state.hard[:] = 1
        state.grievance[:] = 1.0
    else:
        state.arrears[:] = True
    after = hazards(population, state, day=200)
    others = [one for one in Cause if one is not cause]
    np.testing.assert_array_equal(after[others], before[others])
    assert (after[cause] > 5 * before[cause]).all()
    assert after.max() <= np.exp(MOST_LOG_HAZARD) * (1 + 1e-6)


def test_troubles_begin_and_end_at_their_rates(population: Population) -> None:
    rng, days = np.random.default_rng(3), 400
    there = np.zeros((len(TROUBLES), population.size), dtype=np.bool_)
    mood, active = np.zeros(population.size), np.ones(population.size, dtype=np.bool_)
    begun, could_begin, ended, could_end = np.zeros((4, len(TROUBLES)))
    begins = population.trouble_begins()
    for _ in range(days):
        before = there.copy()
        troubles.move(population, there, mood, active, rng)
        changed = before != there
        assert changed.sum(axis=0).max() <= 1
        begun += (changed & there).sum(axis=1)
        ended += (changed & before).sum(axis=1)
        could_begin += np.where(before, 0.0, begins).sum(axis=1)
        could_end += before.sum(axis=1)
    for cause, trouble in TROUBLES.items():
        expected = could_end[cause] * trouble.ends
        assert abs(begun[cause] - could_begin[cause]) < 4 * np.sqrt(could_begin[cause])
        assert abs(ended[cause] - expected) < 4 * np.sqrt(expected)
    lost = sum(begun[cause] * trouble.mood for cause, trouble in TROUBLES.items())
    assert mood.sum() == pytest.approx(-lost)


def test_nothing_troubles_who_is_not_a_customer(population: Population) -> None:
    nobody = np.zeros(population.size, dtype=np.bool_)
    there = np.zeros((len(TROUBLES), population.size), dtype=np.bool_)
    for _ in range(50):
        troubles.move(population, there, np.zeros(population.size), nobody, np.random.default_rng(4))
    assert not there.any()


def test_exposure_to_a_cause_makes_its_trouble_likelier_and_no_other(population: Population) -> None:
    for cause in TROUBLES:
        exposure = population.exposure.copy()
        exposure[:, cause] += 1.0
        more = dataclasses.replace(population, exposure=exposure).trouble_begins() / population.trouble_begins()
        assert (more[cause] > 1.2).all()
        np.testing.assert_allclose(np.delete(more, cause, axis=0), 1.0)
