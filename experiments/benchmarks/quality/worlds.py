"""How often the gates are right: worlds in which there is nothing to find, and worlds with a modest signal, trained and judged."""

from __future__ import annotations

import contextlib
import csv
import json
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import expit

from features.atomic_write import write_atomically
from features.build import build
from features.config.business import Business
from features.config.search_budget import Budget
from features.home import Home
from models.inference.interval import wilson
from training.policy.train import train_policy
from training.run import run

Kind = Literal["model", "policy"]
KINDS: tuple[Kind, ...] = ("model", "policy")
BUDGET = Budget(trials=3)

LEAST_ROWS, MOST_ROWS = 1000, 2000
# Of the log-odds of leaving, where there is a signal: who leaves is told from who stays with an AUC of about .70.
SIGNAL = 0.8
# What the one action that works adds to the rate at which it is rewarded, .2 to .4 without it.
EFFECT = 0.12


@dataclass(frozen=True, slots=True)
class World:
    """One small table, or one trial, drawn from its seed; without a signal, chance alone decided."""

    kind: Kind
    signal: bool
    seed: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gates said of a world's model or policy; `failed` are the gates that were not passed."""

    world: World
    rows: int
    failed: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.failed


def worlds(kinds: Sequence[str], count: int, seed: int) -> list[World]:
    """So many without a signal and as many with one, of each kind."""
    return [
        World(kind, signal, seed + n)
        for kind in KINDS
        if kind in kinds
        for signal in (False, True)
        for n in range(count)
    ]


def judged(drawn: Sequence[World], budget: Budget, cores: int, heard: Callable[[Verdict], None]) -> list[Verdict]:
    """Train and judge each world, on so many processes side by side; on one core, in this one."""
    with tempfile.TemporaryDirectory(prefix="keepwell-worlds-") as folder:
        if cores == 1:
            return [_heard(judge(world, budget, Path(folder)), heard) for world in drawn]
        spawned = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            cores, mp_context=spawned, initializer=warnings.simplefilter, initargs=("ignore",)
        ) as pool:
            waiting = [pool.submit(judge, world, budget, Path(folder)) for world in drawn]
            return [_heard(one.result(), heard) for one in waiting]


def judge(world: World, budget: Budget, folder: Path) -> Verdict:
    """Write one world's file under `folder`, build, train, and read the gates."""
    started = time.perf_counter()
    name = f"{world.kind}-{world.seed}-{'signal' if world.signal else 'chance'}"
    place = folder / name
    place.mkdir()
    # One tracking database a process: to make one takes longer than a world.
    home = Home(place / "home", f"sqlite:///{folder / f'mlflow-{os.getpid()}.db'}")
    columns = table(world) if world.kind == "model" else trial(world)
    _write(place / "rows.csv", columns)
    toml = place / "business.toml"
    toml.write_text((_TABLE if world.kind == "model" else _TRIAL).format(name=name))
    business = Business.load(toml)
    if world.kind == "model":
        build(business, home, datetime.now(UTC), lambda *_: None)
        gates = run(business, home, _Silent(), budget=budget).gates
    else:
        gates = train_policy(business, home, _Silent()).gates
    failed = tuple(gate for gate, result in gates.items() if not result.passed)
    return Verdict(world, len(columns["id"]), failed, time.perf_counter() - started)


def table(world: World) -> dict[str, Sequence[Any]]:
    """Customers with numbers, some missing, and words; with a signal, a few of them and one interaction say who leaves."""
    rng = np.random.default_rng((world.seed, 1))
    n = int(rng.integers(LEAST_ROWS, MOST_ROWS + 1))
    numbers = rng.normal(size=(n, int(rng.integers(4, 13))))
    words = [rng.integers(0, levels, n) for levels in rng.integers(2, 20, int(rng.integers(1, 5)))]
    risk = numbers[:, :3] @ rng.normal(size=3) + numbers[:, 0] * numbers[:, 1] + rng.normal(size=20)[words[0]]
    log_odds = (SIGNAL if world.signal else 0.0) * (risk - risk.mean()) / risk.std()
    rate = rng.uniform(0.15, 0.4)
    left = rng.random(n) < expit(log_odds + np.log(rate / (1.0 - rate)))
    numbers[rng.random(numbers.shape) < rng.uniform(0.0, 0.1)] = np.nan
    return {
        "id": [f"K{place}" for place in range(n)],
        **{f"number_{j}": ["" if value != value else f"{value:.4f}" for value in column] for j, column in enumerate(numbers.T)},
        **{f"word_{j}": [f"level {code}" for code in column] for j, column in enumerate(words)},
        "left": np.where(left, "yes", "no").tolist(),
    }  # fmt: skip


def trial(world: World) -> dict[str, Sequence[Any]]:
    """Decisions drawn evenly between nothing and one to three actions; with a signal, one action helps everybody."""
    rng = np.random.default_rng((world.seed, 2))
    n, arms = int(rng.integers(LEAST_ROWS, MOST_ROWS + 1)), int(rng.integers(2, 5))
    arm = rng.integers(0, arms, n)
    numbers = rng.normal(size=(n, 4))
    rate = rng.uniform(0.2, 0.4) + 0.05 * np.tanh(numbers[:, 0]) + (EFFECT if world.signal else 0.0) * (arm == 1)
    return {
        "id": [f"K{place}" for place in range(n)],
        **{f"number_{j}": [f"{value:.4f}" for value in column] for j, column in enumerate(numbers.T)},
        "region": rng.choice(["north", "south", "east"], n).tolist(),
        "arm": np.array(["nothing", "call", "letter", "gift"])[arm].tolist(),
        "chance": [repr(1.0 / arms)] * n,
        "reward": (rng.random(n) < rate).astype(int).tolist(),
    }


def show(console: Console, verdicts: Sequence[Verdict]) -> None:
    """Print the table."""
    shown = Table(title=f"Worlds of {LEAST_ROWS:,} to {MOST_ROWS:,} rows", title_justify="left")
    for column in ("what", "in the world", "worlds", "passed every gate", "share (95 %)", "seconds each"):
        shown.add_column(column, justify="left" if column in ("what", "in the world") else "right")
    there = {
        "model": f"log-odds of standard deviation {SIGNAL}",
        "policy": f"one action adds {EFFECT} to the rate of reward",
    }
    grouped: dict[tuple[Kind, bool], list[Verdict]] = {}
    for one in verdicts:
        grouped.setdefault((one.world.kind, one.world.signal), []).append(one)
    for (kind, signal), each in grouped.items():
        count = sum(one.passed for one in each)
        low, high = wilson(count / len(each), len(each))
        shown.add_row(
            kind,
            there[kind] if signal else "chance alone",
            str(len(each)),
            str(count),
            f"{count / len(each):.1%} ({low:.1%} to {high:.1%})",
            f"{np.median([one.seconds for one in each]):.1f}",
        )
    console.print(shown)


def write(path: Path, verdicts: Sequence[Verdict]) -> None:
    """All verdicts as JSON."""
    write_atomically(path, json.dumps([asdict(one) | {"passed": one.passed} for one in verdicts], indent=1) + "\n")


_TABLE = """
[business]
name = "{name}"
[data]
kind = "table"
path = "rows.csv"
customer_id = "id"
outcome = "left"
churned = "yes"
[churn]
horizon_days = 90
"""

_TRIAL = """
[business]
name = "{name}"
[decisions]
path = "rows.csv"
customer_id = "id"
action = "arm"
no_action = "nothing"
reward = "reward"
pscore = {{ column = "chance" }}
"""


class _Silent:
    """A run's progress that nobody looks at."""

    @contextlib.contextmanager
    def step(self, description: str, total: int = 1) -> Iterator[Callable[[], None]]:
        del description, total
        yield lambda: None


def _heard(verdict: Verdict, heard: Callable[[Verdict], None]) -> Verdict:
    heard(verdict)
    return verdict


def _write(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
