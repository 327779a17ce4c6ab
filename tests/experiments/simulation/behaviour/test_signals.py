"""Signals and other traces: each cause's raises the odds of its own cause more than those of others."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from experiments.simulation.behaviour.signals import SIGNALS
from experiments.simulation.behaviour.wording import ABOUT, CORES, Topic
from experiments.simulation.customers.actions import NO_ACTION
from experiments.simulation.customers.causes import LABELS, TROUBLES, Cause
from experiments.simulation.records.company import Company
from experiments.simulation.scenario import Scenario
from features.pillars.data_profile import FED_BY

SCENARIO = Scenario(customers=2500, seed=13, end=datetime(2026, 6, 1, tzinfo=UTC), truth_rollouts=8)
TRACES = {signal.cause: signal.type for signal in SIGNALS} | {Cause.PAYMENTS: "payment_failed"}


@pytest.fixture(scope="module")
def company() -> Company:
    return Company.simulate(SCENARIO)


@pytest.fixture(scope="module")
def events(company: Company) -> pd.DataFrame:
    """The events of the 60 days before the test cutoff: customer, type, topic of the ticket and text."""
    parts = []
    for name, table in company.sources().items():
        if "billing" in name:
            part = table.to_pandas().rename(
                columns={"account": "customer_id", "booked_at": "occurred_at", "kind": "type"}
            )
            part["occurred_at"] = pd.to_datetime(part["occurred_at"], errors="coerce", utc=True)
        else:
            part = table.to_pandas()
        parts.append(part.reindex(columns=["customer_id", "type", "occurred_at", "topic", "text"]))
    everything = pd.concat(parts, ignore_index=True)
    age = pd.Timestamp(SCENARIO.test_cutoff) - everything["occurred_at"]
    chosen: pd.DataFrame = everything[(age > pd.Timedelta(0)) & (age < pd.Timedelta(days=60))]
    return chosen


@pytest.fixture(scope="module")
def truth(company: Company) -> pd.DataFrame:
    """The true probability of leaving for each cause, of who is there at the test cutoff."""
    told = company.truth(cutoffs=[SCENARIO.test_cutoff]).to_pandas()
    told = told[told["action"] == NO_ACTION].set_index("customer_id")
    by_cause: pd.DataFrame = told[[f"churn_by_{label}" for label in LABELS]].set_axis(list(LABELS), axis=1)
    return by_cause


def lift(truth: pd.DataFrame, marked: pd.Index[str]) -> pd.Series[float]:
    """How many times likelier each cause is for the customers who are marked than for the others."""
    there = truth.index.isin(marked)
    assert 20 < there.sum() < len(there)
    return truth[there].mean() / truth[~there].mean()


@pytest.mark.parametrize("cause", list(Cause))
def test_the_trace_of_a_cause_raises_its_own_odds_most(events: pd.DataFrame, truth: pd.DataFrame, cause: Cause) -> None:
    if cause is Cause.SUPPORT:
        # Tickets are everyday; it is the hard ones that are followed by leaving.
        traces = events[(events["type"] == "ticket_opened") & events["topic"].isin(["bug", "data_loss", "performance"])]
        often = 1
    else:
        traces = events[events["type"] == TRACES[cause]]
        often = 3 if cause in TROUBLES else 1
    times = traces["customer_id"].value_counts()
    raised = lift(truth, times.index[times >= often])
    assert raised[cause.label] > 1.8
    assert raised[cause.label] > 1.4 * raised.drop(cause.label).max()


@pytest.mark.parametrize("cause", list(ABOUT))
def test_words_name_the_trouble_of_who_writes_them(company: Company, cause: Cause) -> None:
    feedback = company.sources()["events/feedback.parquet"].to_pandas()
    written = feedback[feedback["text"].notna() & feedback["customer_id"].notna()]
    written = written[(written["occurred_at"] >= SCENARIO.start) & (written["occurred_at"] < SCENARIO.end)]
    day = ((written["occurred_at"] - SCENARIO.start) / pd.Timedelta(days=1)).astype(int).to_numpy()
    customer = written["customer_id"].str[1:].astype(int).to_numpy() - 1
    phrases = [phrase for mood in CORES.values() for phrase in mood[ABOUT[cause]]]
    about = written["text"].str.contains("|".join(phrases), regex=True).to_numpy()
    assert about.sum() > 100
    raised = {}
    for other in TROUBLES:
        troubled = company.history.troubled(other, day, customer)
        raised[other] = troubled[about].mean() / troubled[~about].mean()
    assert raised[cause] > 3
    assert raised[cause] > 2 * max(raised[other] for other in TROUBLES if other is not cause)


def test_no_signal_is_a_type_that_a_pillar_reads_otherwise() -> None:
    known = {kind for kinds in FED_BY.values() for kind in kinds}
    assert not known & {signal.type for signal in SIGNALS}
    assert {signal.cause for signal in SIGNALS} == set(TROUBLES)


def test_signals_happen_without_their_trouble_too(company: Company) -> None:
    product = company.sources()["events/product.parquet"].to_pandas()
    good = product[product["customer_id"].notna() & (product["occurred_at"] < SCENARIO.end)]
    for signal in SIGNALS:
        chosen = good[good["type"] == signal.type]
        day = ((chosen["occurred_at"] - SCENARIO.start) / pd.Timedelta(days=1)).astype(int).to_numpy()
        customer = chosen["customer_id"].str[1:].astype(int).to_numpy() - 1
        troubled = company.history.troubled(signal.cause, day, customer)
        assert 0.3 < troubled.mean() < 0.95, signal.type


def test_every_mood_has_words_for_every_topic() -> None:
    for mood in CORES.values():
        assert set(mood) == set(Topic)
        assert all(np.unique(phrases).size >= 2 for phrases in mood.values())
