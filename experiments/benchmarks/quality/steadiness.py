"""How little a customer's health hops when the model is trained again on other customers of the same kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.quality.table import PROTOCOLS, Say, prepared_for
from features.atomic_write import write_atomically
from features.config.search_budget import Budget
from models.inference.calibration import logit
from models.scorecard import propose
from training.churn.fit import fit, predict
from training.churn.tuning import DEFAULT, Tuner

SEED = 42


@dataclass(frozen=True, slots=True)
class Steadiness:
    """Under one frozen scorecard: what another sample of customers to learn from changes for those who are scored.

    `hop` is the median over customers of their mean |ΔH| in points, `hops` that of each sample; `moved` the share of
    customers whose band changes, over all samples.
    """

    data: str
    customers: int
    pdo: float
    hop: float
    hops: tuple[float, ...]
    moved: float


def measured(name: str, home: Path, budget: Budget | None, samples: int, say: Say) -> Steadiness:
    """Train on a data set and again on bootstrap samples of its customers, each search by itself; score the same rows.

    Scored are the rows of the test window, or of a table all rows.

    Raises:
        BenchmarkError: the data is not there.
    """
    _, _, prepared = prepared_for(name, PROTOCOLS[name], home, say)
    data, train, windows = prepared.data, prepared.train, prepared.windows
    scored = prepared.split.folds[0].test if prepared.split.is_time else np.arange(len(data), dtype=np.int64)
    tuner = Tuner(budget or DEFAULT, home / "tuning.journal")
    say(f"{name}: the model that is served")
    p = predict(fit(data, train, windows, tuner), data, scored)
    card = propose(logit(p), float(data.y[train].mean()), version="1")
    served, rng = card.score(p), np.random.default_rng(SEED)
    bands = np.array([card.band(score) for score in served])
    group = data.labels.group[train]
    by_group = np.argsort(group, kind="stable")
    groups, first, size = np.unique(group[by_group], return_index=True, return_counts=True)
    hops, moved = np.empty((samples, len(scored))), np.empty(samples)
    for sample in range(samples):
        say(f"{name}: sample {sample + 1} of {samples}")
        # Whole customers are drawn: a customer's rows of several cutoffs come together.
        drawn = np.sort(rng.integers(0, len(groups), len(groups)))
        places = np.concatenate([by_group[first[one] : first[one] + size[one]] for one in drawn])
        there = None if windows is None else replace(windows, number=windows.number[places])
        again = card.score(predict(fit(data, train[places], there, tuner), data, scored))
        hops[sample] = np.abs(again - served)
        moved[sample] = (np.array([card.band(score) for score in again]) != bands).mean()
    return Steadiness(
        data=name,
        customers=len(scored),
        pdo=card.pdo,
        hop=float(np.median(hops.mean(axis=0))),
        hops=tuple(np.median(hops, axis=1).tolist()),
        moved=float(moved.mean()),
    )


def show(console: Console, found: Sequence[Steadiness]) -> None:
    """Print the table."""
    table = Table(title="Trained again on bootstrap samples, one scorecard", title_justify="left")
    for column in ("data", "customers", "points to double the odds", "median |ΔH|", "of each sample", "change band"):
        table.add_column(column, justify="left" if column == "data" else "right")
    for one in found:
        each = " ".join(f"{hop:.2f}" for hop in one.hops)
        table.add_row(one.data, f"{one.customers:,}", f"{one.pdo:.2f}", f"{one.hop:.2f}", each, f"{one.moved:.1%}")
    console.print(table)


def write(path: Path, found: Sequence[Steadiness]) -> None:
    """All figures as JSON."""
    write_atomically(path, json.dumps([asdict(one) for one in found], indent=1) + "\n")
