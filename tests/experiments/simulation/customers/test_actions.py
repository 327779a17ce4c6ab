"""Actions: what each avoids is what it is declared to avoid, by the effects and by the truth."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from experiments.simulation.customers.actions import AVOIDABLE_BY, MEAN_EFFECT, NAMES, NO_ACTION, effects, impact
from experiments.simulation.customers.causes import LABELS, Cause
from experiments.simulation.customers.population import Population, draw
from experiments.simulation.records.company import Company
from experiments.simulation.scenario import Scenario

SCENARIO = Scenario(customers=1500, seed=9, end=datetime(2026, 6, 1, tzinfo=UTC), truth_rollouts=8)
BY = {(cause, name) for cause, names in AVOIDABLE_BY.items() for name in names}


@pytest.fixture(scope="module")
def population() -> Population:
    return draw(SCENARIO, np.random.default_rng(9))


@pytest.fixture(scope="module")
def removed() -> pd.DataFrame:
    """The share of all leaving for a cause (rows) that an action (columns) removes among who uses the product."""
    company = Company.simulate(SCENARIO)
    truth = company.truth(cutoffs=[SCENARIO.test_cutoff]).to_pandas()
    dormant = np.flatnonzero(company.population.dormant) + 1
    awake = truth[~truth["customer_id"].str[1:].astype(int).isin(dormant)]
    total = awake.groupby("action")[[f"churn_by_{label}" for label in LABELS]].sum().T
    share: pd.DataFrame = 1 - total[list(NAMES)].div(total[NO_ACTION], axis=0)
    return share


def test_some_causes_are_avoidable_by_some_actions_and_some_by_none() -> None:
    assert set(AVOIDABLE_BY) == set(Cause)
    assert {name for _, name in BY} == set(NAMES)
    assert sum(not names for names in AVOIDABLE_BY.values()) >= 1
    assert all(set(names) < set(NAMES) for names in AVOIDABLE_BY.values())


def test_effects_are_what_is_declared(population: Population) -> None:
    effect = effects(population, spread=1.0)[:, :, ~population.dormant].mean(axis=2)
    for cause in Cause:
        for row, name in enumerate(NAMES):
            assert (effect[row, cause] < -0.05) == ((cause, name) in BY), (cause, name)


def test_the_truth_avoids_what_is_declared_and_nothing_else(removed: pd.DataFrame) -> None:
    for cause in Cause:
        for name in NAMES:
            share = float(removed[name][f"churn_by_{cause.label}"])
            if (cause, name) in BY:
                assert share > 0.05, f"{name} does not avoid {cause.label}"
            else:
                # Who does not leave for one cause may still leave for another: a little more do.
                assert share < 0.02, f"{name} avoids {cause.label}"


def test_nothing_reaches_a_cause_that_is_avoidable_by_none(population: Population) -> None:
    out_of_reach = [cause for cause, names in AVOIDABLE_BY.items() if not names]
    for spread in (1.0, 2.0):
        assert np.abs(effects(population, spread)[:, out_of_reach]).max() == 0.0


def test_the_impact_on_the_whole_is_that_of_equal_effects_or_none() -> None:
    rates = np.random.default_rng(2).random((len(Cause), 7))
    np.testing.assert_allclose(impact(rates, np.full(rates.shape, -0.4)), -0.4)
    np.testing.assert_allclose(impact(rates, np.zeros(rates.shape)), 0.0, atol=1e-12)
    assert MEAN_EFFECT.shape == (len(NAMES),)
