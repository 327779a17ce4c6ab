"""Two tiny businesses, built for real: a table, and an event log."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from features.build import build
from features.config.business import Business
from features.home import Home

TABLE = """
[business]
name = "tiny"
[data]
kind = "table"
path = "customers.csv"
customer_id = "id"
outcome = "left"
churned = "yes"
{more}
[training]
budget = "1 trial"
[churn]
horizon_days = 30
{last}
"""
EVENTS = """
[business]
name = "log"
[data]
kind = "events"
[data.events]
path = "events.csv"
[training]
budget = "1 trial"
[churn]
{churn}
horizon_days = 30
cutoffs = "monthly"
"""
START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 240


INACTIVITY = 'definition = "inactivity"\nactivity = ["purchase"]'


class Silent:
    """A progress display that shows nothing."""

    @contextlib.contextmanager
    def step(self, description: str, total: int = 1) -> Iterator[Callable[[], None]]:  # noqa: ARG002
        yield lambda: None


@dataclass(frozen=True)
class Place:
    """A business that was built, and where."""

    business: Business
    home: Home


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _customers(n: int = 400, seed: int = 0, noise: bool = False) -> list[dict[str, object]]:
    """Customers whose outcome depends on calls, plan and a value that is often missing; or on nothing."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for number in range(n):
        calls, plan, spend = int(rng.poisson(3)), str(rng.choice(["basic", "plus", "pro"])), float(rng.gamma(2, 20))
        risk = 0.5 * (calls - 3) + {"basic": 1.0, "plus": 0.0, "pro": -1.5}[plan]
        left = rng.random() < (0.4 if noise else 1 / (1 + np.exp(-risk)))
        rows.append(
            {
                "id": f"C{number:04d}",
                "calls": calls,
                "plan": plan,
                "spend": "" if rng.random() < 0.2 else round(spend, 2),
                "age": int(rng.integers(18, 90)),
                "left": "yes" if left else "no",
            }
        )
    return rows


def _build_table(
    folder: Path, rows: Sequence[Mapping[str, object]], more: str = "", last: str = "", home: Home | None = None
) -> Place:
    """Write the table and its TOML into `folder`, and build it."""
    folder.mkdir(exist_ok=True)
    write_rows(folder / "customers.csv", rows)
    (folder / "tiny.toml").write_text(TABLE.format(more=more, last=last))
    business = Business.load(folder / "tiny.toml")
    home = home or Home(folder / "home")
    build(business, home, datetime.now(UTC), lambda *_: None)
    return Place(business, home)


def _purchases(n: int = 150, seed: int = 0) -> list[dict[str, object]]:
    """Purchases of customers who buy at their own rhythm until they stop; some are received two months late."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for number in range(n):
        rhythm, ends = rng.uniform(3, 40), rng.exponential(200) + 20
        day = rng.uniform(0, 60)
        while day < min(ends, DAYS):
            late = 60.0 if rng.random() < 0.05 else 0.0
            occurred = START + timedelta(days=float(day))
            rows.append(
                {
                    "customer_id": f"C{number:03d}",
                    "occurred_at": occurred.isoformat(),
                    "received_at": (occurred + timedelta(days=late)).isoformat(),
                    "type": "purchase",
                    "value": round(float(rng.gamma(2, 10)), 2),
                }
            )
            day += rng.exponential(rhythm) + 0.5
    return rows


def _build_events(folder: Path, rows: Sequence[Mapping[str, object]], churn: str) -> Place:
    """Write the log and its TOML into `folder`, and build it."""
    folder.mkdir(exist_ok=True)
    write_rows(folder / "events.csv", rows)
    (folder / "log.toml").write_text(EVENTS.format(churn=churn))
    business = Business.load(folder / "log.toml")
    home = Home(folder / "home")
    build(business, home, datetime.now(UTC), lambda *_: None)
    return Place(business, home)


@pytest.fixture(scope="session")
def silent() -> Silent:
    return Silent()


@pytest.fixture(scope="session")
def customers() -> Callable[..., list[dict[str, object]]]:
    """Rows of a table: `customers(n, seed, noise)`."""
    return _customers


@pytest.fixture(scope="session")
def purchases() -> Callable[..., list[dict[str, object]]]:
    """Rows of an event log: `purchases(n, seed)`."""
    return _purchases


@pytest.fixture(scope="session")
def build_table() -> Callable[..., Place]:
    """Build a table: `build_table(folder, rows, more="", last="", home=None)`."""
    return _build_table


@pytest.fixture(scope="session")
def build_events() -> Callable[..., Place]:
    """Build an event log: `build_events(folder, rows, churn)`."""
    return _build_events


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A table of 400 customers, nine of them copies, built once."""
    rows = _customers()
    rows += [{**row, "id": f"copy {row['id']}"} for row in rows[:9]]
    return _build_table(tmp_path_factory.mktemp("table") / "business", rows)


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An event log of 150 customers over eight months, inactivity of 30 days, built once."""
    return _build_events(tmp_path_factory.mktemp("log") / "business", _purchases(), INACTIVITY)
