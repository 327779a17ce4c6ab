"""How right it is when customers leave, and how sure: horizons and intervals in simulated businesses, beside the truth."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.simulation.records.company import Company
from experiments.simulation.scenario import Scenario
from features.atomic_write import write_atomically
from features.build import build
from features.config.business import Business
from features.home import Home
from models.inference.calibration import logit
from training.churn.fit import DEFAULT_TUNER, fit_and_test
from training.churn.survival import learned_hazard
from training.churn.tuning import Tuner
from training.churn.uncertainty import learned_interval
from training.dataset.prepare import current_generation, prepare
from training.evaluation.metrics import calibration_slope

END = datetime(2026, 6, 1, tzinfo=UTC)
ROLLOUTS = 128
GROUPS = 20
"""Of about equally many customers, by rising risk, in which an interval holds the true rate or doesn't."""


@dataclass(frozen=True, slots=True)
class HorizonFit:
    """One horizon at the test cutoff: the mean true and foretold probabilities, and how the truth leans on what is foretold."""

    days: int
    truth: float
    foretold: float
    slope: float
    """Of the truth's log-odds on those that are foretold, by logistic regression; 1 is calibrated."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One simulated business."""

    seed: int
    customers: int
    horizons: tuple[HorizonFit, ...]
    held: float
    """The share of groups whose mean interval holds their true rate."""
    width: float
    """The mean width of an interval."""


def measure(seed: int, customers: int, tuner: Tuner = DEFAULT_TUNER) -> Measured:
    """Simulate a business, train on it, and compare what is said at its test cutoff with the truth."""
    company = Company.simulate(Scenario(customers, seed, END))
    with tempfile.TemporaryDirectory() as scratch:
        folder, home = Path(scratch) / "company", Home(Path(scratch) / "home")
        company.export(folder)
        business = Business.load(folder / "business.toml")
        build(business, home, datetime.now(UTC), lambda *_: None)
        generation = current_generation(business, home)
        prepared = prepare(generation, business)
        model, _, tested = fit_and_test(prepared.data, prepared.split, prepared.windows, lambda: None, tuner)
        hazard = learned_hazard(generation, business, prepared, model)
    assert hazard is not None
    log_odds = logit(tested.p)
    foretold, _ = hazard.outlook(tested.p, log_odds)
    who, told = company.churn_within(hazard.days, ROLLOUTS, np.random.default_rng((seed, ROLLOUTS)))
    place = {customer_id: column for column, customer_id in enumerate(who.to_pylist())}
    rows = [place[customer_id] for customer_id in prepared.data.labels.customer_id[tested.rows]]
    truth = told[:, rows].T
    low, high = learned_interval(prepared, model, tested).bounds(tested.p, log_odds)
    own = hazard.days.index(prepared.horizon_days)
    groups = np.array_split(np.argsort(tested.p, kind="stable"), GROUPS)
    return Measured(
        seed=seed,
        customers=len(rows),
        horizons=tuple(
            HorizonFit(
                days,
                float(truth[:, column].mean()),
                float(foretold[:, column].mean()),
                calibration_slope(truth[:, column], foretold[:, column]) or np.nan,
            )
            for column, days in enumerate(hazard.days)
        ),
        held=float(np.mean([low[one].mean() <= truth[one, own].mean() <= high[one].mean() for one in groups])),
        width=float((high - low).mean()),
    )


def show(console: Console, found: Sequence[Measured]) -> None:
    """A row per business and horizon."""
    table = Table(title="Churn by horizon at the test cutoff, beside the truth", title_justify="left")
    for name in ("seed", "customers", "days", "true rate", "foretold", "slope", "intervals that hold", "width"):
        table.add_column(name, justify="right")
    for one in found:
        for fit in one.horizons:
            table.add_row(
                str(one.seed), f"{one.customers:,}", str(fit.days), f"{fit.truth:.4f}", f"{fit.foretold:.4f}",
                f"{fit.slope:.3f}", f"{one.held:.0%}", f"{one.width:.3f}",
            )  # fmt: skip
    console.print(table)


def write(path: Path, found: Sequence[Measured]) -> None:
    """All figures as JSON."""
    write_atomically(path, json.dumps([asdict(one) for one in found], indent=1) + "\n")
