"""How well spend is foretold: the candidates of `training run` and BG/NBD, in a window that nothing was fitted on."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.errors import BenchmarkError
from experiments.benchmarks.peers.bg_nbd import BgNbd
from features.atomic_write import write_atomically
from features.build import build
from features.config.business import Business
from features.generation import Generation
from features.home import Home
from models.arrays import FloatArray
from models.value.pareto_nbd import PurchaseSpend
from training.churn.fit import fit
from training.dataset.prepare import prepare
from training.value.spend import learned_value

RESAMPLES = 1_000
_SEED = 11


@dataclass(frozen=True, slots=True)
class Foretelling:
    """One way to foretell spend: its errors, and by how much its RMSE is above what serves, with a paired 95 % interval."""

    rmse: float
    total_error: float
    behind: float
    behind_interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """One purchase log."""

    business: str
    customers: int
    horizon_days: int
    spent: float
    served: str
    ways: Mapping[str, Foretelling]


def measure(config: Path) -> Measured:
    """Build a log's features aside, fit every candidate before the test cutoff, and ask what was spent after it.

    Raises:
        BenchmarkError: the log has too few purchases, or values its customers otherwise.
        FeaturesError, TrainingError: the TOML or the log is not as it should be.
    """
    business = Business.load(config)
    with tempfile.TemporaryDirectory() as scratch:
        home = Home(Path(scratch) / "home")
        build(business, home, datetime.now(UTC), lambda *_: None)
        generation = Generation.current(home)
        prepared = prepare(generation, business)
        learned, _ = learned_value(generation, business, prepared, fit(prepared.data, prepared.train, prepared.windows))
    if learned is None or learned.trial is None:
        raise BenchmarkError(f"{config}: its customers are not valued by purchases, or too few of them bought.")
    trial, days = learned.trial, generation.horizon_days
    foretold = {method.value: values for method, values in trial.foretold.items()}
    spend = PurchaseSpend.fit(trial.asked).expected(trial.asked)
    foretold["BG/NBD and Gamma-Gamma"] = BgNbd.fit(trial.asked).expected_purchases(trial.asked, days) * spend
    served = foretold[learned.report.method.value]
    return Measured(
        business.name,
        len(trial.spent),
        days,
        float(trial.spent.sum()),
        learned.report.method.value,
        {name: _foretelling(values, served, trial.spent) for name, values in foretold.items()},
    )


def show(console: Console, measured: Measured) -> None:
    """The table of one log."""
    table = Table(
        title=f"{measured.business}: {measured.spent:,.0f} spent by {measured.customers:,} customers in "
        f"{measured.horizon_days} days",
        title_justify="left",
    )
    for name in ("foretold by", "RMSE", "total", "RMSE behind what serves (95 %)"):
        table.add_column(name, justify="left" if name == "foretold by" else "right")
    for name, way in sorted(measured.ways.items(), key=lambda item: item[1].rmse):
        low, high = way.behind_interval
        is_served = name == measured.served
        table.add_row(
            f"{name} (serves)" if is_served else name,
            f"{way.rmse:.2f}",
            f"{way.total_error:+.1%}",
            "" if is_served else f"{way.behind:+.2f} ({low:+.2f} to {high:+.2f})",
        )
    console.print(table)


def write(path: Path, measured: Sequence[Measured]) -> None:
    """All figures as JSON."""
    write_atomically(path, json.dumps([asdict(one) for one in measured], indent=1) + "\n")


def _foretelling(values: FloatArray, served: FloatArray, spent: FloatArray) -> Foretelling:
    mine, theirs = (values - spent) ** 2, (served - spent) ** 2
    rng = np.random.default_rng(_SEED)
    differences = []
    for _ in range(RESAMPLES):
        rows = rng.integers(0, len(spent), len(spent))
        differences.append(np.sqrt(mine[rows].mean()) - np.sqrt(theirs[rows].mean()))
    low, high = np.quantile(differences, [0.025, 0.975])
    return Foretelling(
        rmse=float(np.sqrt(mine.mean())),
        total_error=float(values.sum() / spent.sum() - 1.0),
        behind=float(np.sqrt(mine.mean()) - np.sqrt(theirs.mean())),
        behind_interval=(float(low), float(high)),
    )
