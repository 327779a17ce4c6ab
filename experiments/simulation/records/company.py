"""Company: a simulated business as files: customers, events, truth, and the TOML that describes it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from experiments.simulation.behaviour.answers import answers
from experiments.simulation.behaviour.billing import billing
from experiments.simulation.behaviour.history import History, live
from experiments.simulation.behaviour.signals import signals
from experiments.simulation.behaviour.support import support
from experiments.simulation.behaviour.usage import usage
from experiments.simulation.customers.actions import ACTIONS, NAMES, NO_ACTION
from experiments.simulation.customers.causes import LABELS
from experiments.simulation.customers.outreach import outreach
from experiments.simulation.customers.population import (
    ACQUISITIONS,
    PLANS,
    REGIONS,
    USE_CASES,
    Floats,
    Integers,
    Population,
    draw,
)
from experiments.simulation.records.batches import within_life
from experiments.simulation.records.exchange import replaced
from experiments.simulation.records.tables import TIME, customer_ids, ledger, soiled, table, times
from experiments.simulation.scenario import HORIZON_DAYS, Scenario
from experiments.simulation.truth import churn_probabilities, churn_within

Progress = Callable[[str, float], None]
"""Told what is being done and which share of it was just finished."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written: rows by file."""

    folder: Path
    rows: dict[str, int]


EDITION = 2
"""Raised whenever equal scenarios give other files than before, so that what was simulated earlier is not taken for them."""


@dataclass(frozen=True, slots=True)
class Company:
    """A business that was lived through: its scenario, its customers and its history; all of it hidden from features."""

    scenario: Scenario
    population: Population
    history: History

    @classmethod
    def simulate(cls, scenario: Scenario, progress: Progress = lambda *_: None) -> Company:
        """Live through the scenario's window."""
        population_rng, history_rng, *_ = _generators(scenario)
        population = draw(scenario, population_rng)
        moments = {scenario.day(cutoff) for cutoff in scenario.truth_cutoffs()}
        history = live(
            population, scenario.effect_spread, moments, history_rng, lambda share: progress("living 18 months", share)
        )
        return cls(scenario, population, history)

    def customers(self) -> pa.Table:
        """The customer register, as of each customer's signing up, so that nothing later leaks into it."""
        population = self.population
        index = np.arange(population.size)
        identity = customer_ids(index)
        return pa.table(
            {
                "customer_id": identity,
                "created_at": pa.array(times(population.joined_at, self.scenario.start)).cast(TIME),
                "name": pa.array([f"Account {number + 1:05d}" for number in index.tolist()]),
                "owner": _labels([f"team-{letter}" for letter in "abcdef"], population.owner),
                "plan": _labels(PLANS, population.plan),
                "mrr": pa.array(population.mrr),
                "billing": _labels(("monthly", "annual"), population.annual.astype(np.int64)),
                "seats": pa.array(population.seats),
                "acquired_by": _labels(ACQUISITIONS, population.acquisition),
                "signup_discount": pa.array(population.signup_discount),
                "use_case": _labels(USE_CASES, population.use_case),
                "integrations": pa.array(population.integrations),
                "region": _labels(REGIONS, population.region),
            }
        )

    def sources(self) -> dict[str, pa.Table]:
        """The exports of the business's systems by file name, relative to the folder of the TOML."""
        scenario, population, history = self.scenario, self.population, self.history
        _, _, _, *rngs = _generators(scenario)
        usage_rng, billing_rng, support_rng, answers_rng, outreach_rng, product, books, desk, survey, reach, sign = rngs
        batches = {
            "product": [*usage(population, history, scenario, usage_rng), *signals(population, history, sign)],
            "bill": billing(population, history, billing_rng),
            "desk": support(history, support_rng),
            "voice": answers(population, history, answers_rng),
            "reach": outreach(population, history, outreach_rng),
        }

        def exported(prefix: str, rng: np.random.Generator, *, late: bool) -> pa.Table:
            lived = [within_life(batch, population, history) for batch in batches[prefix]]
            return table(lived, prefix, scenario.start, scenario.end, rng, late=late)

        return {
            "events/product.parquet": soiled(exported("product", product, late=True), "product", product).drop(
                ["text"]
            ),
            "events/billing.csv.gz": ledger(exported("bill", books, late=False), books),
            "events/support.parquet": soiled(exported("desk", desk, late=True), "desk", desk).drop(["text"]),
            "events/feedback.parquet": soiled(exported("voice", survey, late=True), "voice", survey),
            "events/outreach.parquet": soiled(exported("reach", reach, late=True), "reach", reach).drop(["text"]),
        }

    def truth(self, progress: Progress = lambda *_: None, cutoffs: Collection[datetime] | None = None) -> pa.Table:
        """The true probability of each customer, truth cutoff and action, in all and by cause; see `simulation.truth`.

        `cutoffs` are those of the scenario's truth cutoffs that are told, by default all.
        """
        scenario = self.scenario
        rng = _generators(scenario)[2]
        moments = self.history.moments
        parts = []
        for moment, moment_rng in zip(moments, rng.spawn(len(moments)), strict=True):
            cutoff = scenario.start + timedelta(days=moment.day)
            if cutoffs is not None and cutoff not in cutoffs:
                continue
            probability = churn_probabilities(
                self.population,
                moment,
                HORIZON_DAYS,
                scenario.effect_spread,
                scenario.truth_rollouts,
                moment_rng,
                lambda share: progress("telling the truth", share / len(moments)),
            )
            parts.append(_truth_rows(moment.alive, cutoff, probability))
        return pa.concat_tables(parts)

    def departures(self) -> pa.Table:
        """Who left, when, and for which cause."""
        left = np.flatnonzero(self.history.cause >= 0)
        return pa.table(
            {
                "customer_id": customer_ids(left),
                "cancelled_at": pa.array(times(self.history.cancelled_at[left], self.scenario.start)).cast(TIME),
                "cause": _labels(LABELS, self.history.cause[left]),
            }
        )

    def churn_within(self, horizons: Sequence[int], rollouts: int, rng: np.random.Generator) -> tuple[pa.Array, Floats]:
        """Who is there at the test cutoff, and their true probabilities (horizons, customers) of leaving without an action."""
        day = self.scenario.day(self.scenario.test_cutoff)
        moment = next(moment for moment in self.history.moments if moment.day == day)
        spread = self.scenario.effect_spread
        return customer_ids(moment.alive), churn_within(self.population, moment, horizons, spread, rollouts, rng)

    def export(self, folder: Path, progress: Progress = lambda *_: None) -> dict[str, int]:
        """Write what the business itself has into `folder`: its register, its exports and its TOML; returns rows by file."""
        rows: dict[str, int] = {}
        (folder / "events").mkdir(parents=True)
        customers = self.customers()
        pq.write_table(customers, folder / "customers.parquet")
        rows["customers.parquet"] = customers.num_rows
        sources = self.sources()
        for name, source in sources.items():
            _write(source, folder / name)
            rows[name] = source.num_rows
            progress("writing events", 1 / len(sources))
        (folder / "business.toml").write_text(business_toml(self.scenario))
        return rows


def write(scenario: Scenario, folder: Path, progress: Progress = lambda *_: None) -> Summary:
    """Simulate a business and write it to `folder`, which holds all of it or, after a kill, what it held before.

    Raises:
        SimulationError: `folder` holds something else than a simulated business, or another simulation writes to it.
    """
    with replaced(folder, marker="truth.parquet") as aside:
        company = Company.simulate(scenario, progress)
        rows = company.export(aside, progress)
        truth = company.truth(progress)
        pq.write_table(truth, aside / "truth.parquet")
        departures = company.departures()
        pq.write_table(departures, aside / "departures.parquet")
        rows["truth.parquet"], rows["departures.parquet"] = truth.num_rows, departures.num_rows
    return Summary(folder, rows)


def is_of(scenario: Scenario, folder: Path) -> bool:
    """Whether `folder` holds what simulating `scenario` gives, of today's edition."""
    return _toml_in(folder) == business_toml(scenario)


def is_of_an_earlier_edition(folder: Path) -> bool:
    """Whether `folder` holds a simulated business that the same scenario does not give any more."""
    toml = _toml_in(folder)
    return toml.startswith(_SIMULATED) and not toml.startswith(f"{_SIMULATED}, edition {EDITION}:")


def business_toml(scenario: Scenario) -> str:
    """The TOML of a simulated business, to stand beside its files."""
    return _TOML.format(
        simulated=f"{_SIMULATED}, edition {EDITION}",
        scenario=scenario,
        horizon=HORIZON_DAYS,
        test_cutoff=scenario.test_cutoff.date().isoformat(),
        actions="".join(
            _ACTION.format(
                name=action.name,
                scope=action.scope,
                cost=action.cost,
                days=action.cap_days,
                prior_effect=action.prior_effect,
            )
            for action in ACTIONS
        ),
    )


def _toml_in(folder: Path) -> str:
    path = folder / "business.toml"
    return path.read_text() if path.exists() else ""


def _generators(scenario: Scenario) -> list[np.random.Generator]:
    """Independent generators: of customers, history, truth, five kinds of events, five files and signals."""
    return np.random.default_rng(scenario.seed).spawn(14)


def _labels(names: Sequence[str], indices: Integers) -> pa.Array:
    return pa.array(list(names)).take(pa.array(indices))


def _write(rows: pa.Table, path: Path) -> None:
    if path.suffix == ".gz":
        with pa.CompressedOutputStream(str(path), "gzip") as stream:
            pyarrow.csv.write_csv(rows, stream, pyarrow.csv.WriteOptions(quoting_style="needed"))
    else:
        pq.write_table(rows, path)


def _truth_rows(
    alive: Integers,
    cutoff: datetime,
    probability: Floats,
) -> pa.Table:
    actions = (NO_ACTION, *NAMES)
    identity = customer_ids(alive)
    size = alive.size * len(actions)
    return pa.table(
        {
            "customer_id": pa.concat_arrays([identity] * len(actions)),
            "cutoff": pa.array([cutoff], type=TIME).take(pa.array(np.zeros(size, dtype=np.int64))),
            "horizon_days": pa.array(np.full(size, HORIZON_DAYS, dtype=np.int64)),
            "action": _labels(actions, np.repeat(np.arange(len(actions)), alive.size)),
            "churn_probability": pa.array(probability.sum(axis=1).ravel()),
            **{f"churn_by_{label}": pa.array(probability[:, row].ravel()) for row, label in enumerate(LABELS)},
        }
    )


_SIMULATED = "# A simulated subscription business"

_TOML = """\
{simulated}: {scenario.customers} customers, seed {scenario.seed}, until {scenario.end:%Y-%m-%d}, spread of effects {scenario.effect_spread}.
# truth.parquet and departures.parquet, which nothing here names, know what features must not: how likely each customer
# leaves, under which action and for which cause, and who left for which.
[business]
name = "simulated"
currency = "EUR"
timezone = "UTC"

[data]
kind = "events"

[[data.events]]
path = "events/product.parquet"
properties = {{ feature = "feature" }}

[[data.events]]
path = "events/billing.csv.gz"
event_id = "ref"
customer_id = "account"
occurred_at = "booked_at"
occurred_format = "%Y-%m-%d %H:%M:%S"
type = {{ column = "kind" }}
value = "amount"
properties = {{ item = "item", reason = "reason" }}

[[data.events]]
path = "events/support.parquet"
properties = {{ ticket = "ticket", topic = "topic", contacts = "contacts", first_contact = "first_contact" }}

[[data.events]]
path = "events/feedback.parquet"
properties = {{ survey = "survey" }}

[[data.events]]
path = "events/outreach.parquet"
properties = {{ action = "action", pscore = "pscore", touch = "touch", scope = "scope" }}

[data.customers]
path = "customers.parquet"

[data.units]
session = "minutes"   # what the value of a session counts

[churn]
definition = "event"
event = "subscription_cancelled"
horizon_days = {horizon}
cutoffs = "monthly"
test_cutoffs = ["{test_cutoff}"]   # the newest cutoff with a complete outcome; the truth is told for it

[value]
at_stake = "mrr * 12"
{actions}"""

_ACTION = """
[[actions]]
name = "{name}"
channel = "{scope}"
cost = {cost}
consent = "{scope}"
cap = {{ count = 1, days = {days} }}
prior_effect = {prior_effect}
"""
