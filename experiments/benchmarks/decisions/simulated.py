"""What a learned policy earns in simulated businesses whose truth is known."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from experiments.simulation.customers.actions import ACTIONS, NO_ACTION
from experiments.simulation.records.company import write
from experiments.simulation.scenario import Scenario
from features.build import build
from features.config.business import Business
from features.home import Home
from features.schema import DType
from features.store.offline import OfflineStore
from models.arrays import FloatArray
from models.decisions.effect_model import EffectModel
from training.dataset.prepare import current_generation
from training.policy.logged_decisions import DecisionLog
from training.policy.report import PERSONAL
from training.policy.touches import read_touches
from training.policy.train import Learned, learn, value

END = datetime(2026, 11, 1, tzinfo=UTC)
CUSTOMERS = 8_500
"""So many customers leave about 20,000 decisions whose outcome is known."""
ROLLOUTS = 24
"""Futures behind each true probability; actions share them, so that their differences are nearly exact."""
MONTHS_AT_STAKE = 12
SEED = 20


@dataclass(frozen=True, slots=True)
class Earned:
    """What policies earn at the test cutoff, by the truth: churn probability removed a customer, and money a customer.

    `served` is what `training policy` serves, `personal` the personal policy whether it is proven or not; `oracle` knows
    the truth, `constant` is the action that is truly best for all together, `likeliest` gives that action to as many
    customers as `personal` treats, the truly likeliest to churn first. Doing nothing earns 0.
    """

    seed: int
    spread: float
    decisions: int
    serves: str
    served: float
    personal: float
    oracle: float
    constant: float
    likeliest: float
    personal_money: float
    oracle_money: float
    constant_money: float

    @property
    def of_oracle(self) -> float:
        """What is served earns over doing nothing, as a share of what the truth earns."""
        return self.served / self.oracle

    @property
    def over_constant(self) -> float:
        """What is served earns over the best single action, as a share of what the truth earns over it."""
        return (self.served - self.constant) / (self.oracle - self.constant)


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulated business: its decisions, and the customers of the test cutoff with their truth."""

    seed: int
    spread: float
    log: DecisionLog
    priors: dict[str, float]
    columns: dict[str, npt.NDArray[np.object_] | FloatArray]
    truth: FloatArray
    """The true churn probability under nothing and each action of the log, (customers, 1 + k)."""
    at_stake: FloatArray
    costs: FloatArray


def simulate(seed: int, spread: float, customers: int = CUSTOMERS) -> Simulated:
    """Simulate a business, build its features, and read its decisions and its truth."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, home = Path(scratch) / "company", Home(Path(scratch) / "home")
        scenario = Scenario(customers, seed, END, spread, ROLLOUTS)
        write(scenario, folder)
        business = Business.load(folder / "business.toml")
        build(business, home, datetime.now(UTC), lambda *_: None)
        generation = current_generation(business, home)
        log = read_touches(business, generation, home, None)
        truth = pd.read_parquet(folder / "truth.parquet")
        told = truth[truth["cutoff"] == scenario.test_cutoff].pivot(
            index="customer_id", columns="action", values="churn_probability"
        )
        entities = pd.DataFrame({"customer_id": told.index, "event_timestamp": pd.Timestamp(scenario.test_cutoff)})
        frame = OfflineStore(generation).training_frame(entities, [*log.schema.names])
        columns = {
            feature.name: frame[feature.name].to_numpy(dtype=object if feature.dtype is DType.STRING else np.float64)
            for feature in log.schema
        }
        mrr = frame["mrr"].to_numpy(dtype=np.float64)
        cost = {action.name: action.cost for action in ACTIONS}
        return Simulated(
            seed,
            spread,
            log,
            {action.name: action.prior_effect for action in business.actions},
            columns,
            told[[NO_ACTION, *log.actions]].to_numpy(),
            np.nan_to_num(mrr) * MONTHS_AT_STAKE,
            np.array([0.0, *(cost[name] for name in log.actions)]),
        )


def earned(company: Simulated, decisions: int | None = None) -> Earned:
    """What a policy that is learned from the log, or from so many decisions of it drawn at random, earns by the truth."""
    log = company.log if decisions is None else _some(company.log, decisions)
    learned = learn(log, company.priors)
    report = value("simulated", learned)
    foretold = _effects(learned, company)
    truth = company.truth
    removed = truth[:, :1] - truth
    everybody = np.arange(len(truth))
    personal = foretold.argmax(axis=1)
    constant = int(removed.mean(axis=0).argmax())
    served = personal if report.served == PERSONAL else np.full(len(truth), log.names.index(report.served))
    first = np.argsort(-truth[:, 0], kind="stable")[: int((personal > 0).sum())]
    money = removed * company.at_stake[:, None] - company.costs
    chosen_for_money = (foretold * company.at_stake[:, None] - company.costs).argmax(axis=1)
    return Earned(
        seed=company.seed,
        spread=company.spread,
        decisions=len(learned.found.trials),
        serves=report.served,
        served=float(removed[everybody, served].mean()),
        personal=float(removed[everybody, personal].mean()),
        oracle=float(removed.max(axis=1).mean()),
        constant=float(removed[:, constant].mean()),
        likeliest=float(removed[first, constant].sum() / len(truth)),
        personal_money=float(money[everybody, chosen_for_money].mean()),
        oracle_money=float(money.max(axis=1).mean()),
        constant_money=float(money.mean(axis=0).max()),
    )


def measure(
    seeds: int, spreads: tuple[float, ...], customers: int, few: int, say: Callable[[Earned], None]
) -> list[Earned]:
    """Every seed at every spread with all decisions, and with `few` of them; `say` hears of each as it is done."""
    found = []
    for seed in range(1, seeds + 1):
        for spread in spreads:
            company = simulate(seed, spread, customers)
            for decisions in (None, few):
                found.append(earned(company, decisions))
                say(found[-1])
    return found


def _effects(learned: Learned, company: Simulated) -> FloatArray:
    """The effects that the model to serve foretells for the customers of the test cutoff, 0 for doing nothing."""
    model: EffectModel = learned.model
    X = learned.schema.to_matrix(company.columns, model.categories)
    effects = np.nan_to_num(model.predict(X).effect, nan=-np.inf)
    return np.column_stack([np.zeros(len(X)), effects])


def _some(log: DecisionLog, decisions: int) -> DecisionLog:
    """So many decisions of the log that can be learned from, drawn at random."""
    rows = np.sort(np.random.default_rng(SEED).permutation(log.usable())[:decisions])
    return replace(
        log,
        columns={name: column[rows] for name, column in log.columns.items()},
        row=log.row[rows],
        action=log.action[rows],
        reward=log.reward[rows],
        pscore=log.pscore[rows],
        eligible=log.eligible[rows],
        customer_id=log.customer_id[rows],
        response=None if log.response is None else log.response[rows],
    )
