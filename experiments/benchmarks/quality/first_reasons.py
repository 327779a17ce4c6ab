"""Which reasons customers in red are told first, in a simulated business, beside the causes that truly threaten them."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

from experiments.simulation.customers.actions import NO_ACTION
from experiments.simulation.customers.causes import LABELS
from experiments.simulation.records.company import Company
from experiments.simulation.scenario import Scenario
from features.atomic_write import write_atomically
from features.build import build
from features.config.business import Business
from features.config.environment import user_cache
from features.config.search_budget import Budget
from features.home import Home
from models.explanation.explainer import Explainer
from models.inference.calibration import logit
from models.scorecard import Band, propose
from training.churn.fit import fit, predict
from training.churn.tuning import Tuner
from training.dataset.prepare import current_generation, prepare

END = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FirstReasons:
    """One simulated business at its test cutoff.

    `reasons` counts the customers in red by the feature that costs them most points, most frequent first; `causes` gives
    the same customers by the cause that most truly threatens them, and `by_cause` the reasons of each cause's. `auc` is
    the model's, `oracle_auc` that of the true probabilities.
    """

    seed: int
    customers: int
    red: int
    auc: float
    oracle_auc: float
    reasons: dict[str, int]
    causes: dict[str, int]
    by_cause: dict[str, dict[str, int]]

    @property
    def largest_share(self) -> float:
        """The share of the customers in red whose first reason is the most frequent one."""
        return max(self.reasons.values(), default=0) / max(self.red, 1)


def measure(seed: int, customers: int, budget: Budget, rollouts: int = 24) -> FirstReasons:
    """Simulate a business, train on it, and ask why the customers of its test cutoff are in red.

    Args:
        rollouts: simulated futures behind each true probability.
    """
    company = Company.simulate(Scenario(customers, seed, END, truth_rollouts=rollouts))
    with tempfile.TemporaryDirectory() as scratch:
        folder, home = Path(scratch) / "company", Home(Path(scratch) / "home")
        company.export(folder)
        business = Business.load(folder / "business.toml")
        build(business, home, datetime.now(UTC), lambda *_: None)
        prepared = prepare(current_generation(business, home), business)
    data, train = prepared.data, prepared.train
    model = fit(data, train, prepared.windows, Tuner(budget))
    tested = prepared.split.folds[0].test
    p = predict(model, data, tested)
    card = propose(logit(p), float(data.y[train].mean()), version="1")
    X = np.ascontiguousarray(data.X(tested, model.categories), dtype=np.float32)
    explainer = Explainer(model.classifier.booster_.model_to_string(), cache=user_cache())
    points = card.points(explainer.contributions(X)[:, :-1], model.classifier.calibration_)
    truth = company.truth(cutoffs=[company.scenario.test_cutoff]).to_pandas()
    truth = truth[truth["action"] == NO_ACTION].set_index("customer_id").loc[data.labels.customer_id[tested]]
    red = np.array([card.band(score) is Band.RED for score in card.score(p)])
    first = pd.Series(data.schema.names)[points[red].argmin(axis=1)].to_list()
    cause = truth[[f"churn_by_{label}" for label in LABELS]].to_numpy()[red].argmax(axis=1)
    threatening = [LABELS[one] for one in cause.tolist()]
    return FirstReasons(
        seed=seed,
        customers=len(tested),
        red=int(red.sum()),
        auc=float(roc_auc_score(data.y[tested], p)),
        oracle_auc=float(roc_auc_score(data.y[tested], truth["churn_probability"])),
        reasons=dict(Counter(first).most_common()),
        causes=dict(Counter(threatening).most_common()),
        by_cause={
            label: dict(Counter(one for one, by in zip(first, threatening, strict=True) if by == label).most_common())
            for label in LABELS
        },
    )


def show(console: Console, found: FirstReasons) -> None:
    """A row per cause: how many in red it threatens most, and what they are told first."""
    table = Table(
        title=f"Seed {found.seed}: first reasons of {found.red} in red, of {found.customers:,}", title_justify="left"
    )
    table.add_column("cause that threatens most")
    table.add_column("in red", justify="right")
    table.add_column("first reasons")
    for label in LABELS:
        three = list(found.by_cause[label].items())[:3]
        table.add_row(label, str(found.causes.get(label, 0)), ", ".join(f"{name} {n}" for name, n in three))
    console.print(table)
    console.print(
        f"Most frequent: {next(iter(found.reasons), 'none')}, {found.largest_share:.0%}; "
        f"AUC {found.auc:.3f}, of the truth {found.oracle_auc:.3f}",
        highlight=False,
    )


def write(path: Path, found: list[FirstReasons]) -> None:
    """All figures as JSON."""
    write_atomically(path, json.dumps([asdict(one) for one in found], indent=1) + "\n")
