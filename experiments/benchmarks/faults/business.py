"""The business that is attacked: an event log of a year, built, trained and promoted once, and copied for each attack."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from experiments.benchmarks.errors import BenchmarkError
from experiments.benchmarks.faults.commands import run

BUSINESS = "attacked"
CUSTOMERS = 2_400
HISTORY_DAYS = 400
_RATES = (0.005, 0.02, 0.2)
"""Purchases a day of the three sorts of customers, so that there is something to learn."""
_TOML = f"""
[business]
name = "{BUSINESS}"
currency = "EUR"
[data]
kind = "events"
[[data.events]]
path = "events.csv"
[training]
budget = "1 trial"
[churn]
definition = "inactivity"
activity = ["purchase"]
horizon_days = 30
[[actions]]
name = "success_call"
channel = "phone"
cost = 2.0
cap = {{ count = 1, days = 30 }}
prior_effect = 0.2
[policy]
exploration = 0.1
"""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where attacks are made."""

    scratch: Path
    template: Path
    """A home with a champion, which nobody opens: it is copied."""
    config: Path
    """The TOML that it was built from."""
    customers: tuple[str, ...]

    def home(self, name: str) -> Path:
        """A home of an attack's own."""
        path = self.scratch / name / "home"
        shutil.copytree(self.template, path)
        return path


def prepared(scratch: Path, say: Callable[[str], None]) -> Ground:
    """Build, train and promote, by the commands that a user would run.

    Raises:
        BenchmarkError: one of them failed; says what it said.
    """
    say("building a home")
    sources = scratch / "sources"
    sources.mkdir()
    config = sources / "business.toml"
    config.write_text(_TOML)
    customers = _write_events(sources / "events.csv")
    home = scratch / "template"
    for command in (
        ("features", "build", str(config)),
        ("training", "run", str(config)),
        ("training", "promote", "--force", "attacks are not about how good a model is"),
        ("serving", "refresh"),
    ):
        ended = run(home, *command)
        if ended.code:
            raise BenchmarkError(f"'python -m {' '.join(command)}' failed: {ended.last}")
    return Ground(scratch, home, config, customers)


def _write_events(path: Path) -> tuple[str, ...]:
    """Purchases of a year that ends today; who made them."""
    rng = np.random.default_rng(11)
    start = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) - timedelta(days=HISTORY_DAYS)
    customers = tuple(f"C{number:05}" for number in range(CUSTOMERS))
    rates = rng.choice(_RATES, CUSTOMERS)
    rows = [
        (start + timedelta(days=int(day)), customers[number])
        for number in range(CUSTOMERS)
        # Everybody bought something at first.
        for day in (0, *np.flatnonzero(rng.random(HISTORY_DAYS - 1) < rates[number]) + 1)
    ]
    lines = [
        f"{customer},{moment.isoformat()},purchase,{20 + number % 7}"
        for number, (moment, customer) in enumerate(sorted(rows))
    ]
    path.write_text("\n".join(["customer_id,occurred_at,type,value", *lines, ""]))
    return customers
