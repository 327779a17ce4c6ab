"""How good decisions are: a public trial beside other libraries, and simulated businesses beside the truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.decisions.planted import OTHERS, PLANTED, Planted
from experiments.benchmarks.decisions.simulated import Earned
from experiments.benchmarks.decisions.trial_learners import Contender, contend
from experiments.benchmarks.errors import BenchmarkError
from experiments.off_policy import ablations
from features.atomic_write import write_atomically
from features.config.business import Business
from models.decisions.off_policy import ESTIMATORS, PolicyValue
from training.policy.report import PolicyReport
from training.policy.train import Learned, learn, value
from training.policy.trial import read_trial


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One trial: learners by their curves, policies by their values."""

    report: PolicyReport
    actions: tuple[str, ...]
    contenders: Sequence[Contender]
    policies: dict[str, PolicyValue]


def trial(path: Path, *, peers: bool, say: Callable[[str], None]) -> TrialResult:
    """Learn from a trial's TOML, and compare.

    Raises:
        BenchmarkError: the TOML has no [decisions].
        FeaturesError, TrainingError: the trial cannot be read, or nothing can be learned from it.
    """
    business = Business.load(path)
    if business.decisions is None:
        raise BenchmarkError(f"{path}: a benchmark of decisions needs the table [decisions].")
    say("keepwell")
    learned: Learned = learn(read_trial(business), {})
    report = value(business.name, learned)
    extra = ablations(learned.found)
    return TrialResult(
        report,
        tuple(name for name, is_learned in zip(learned.log.actions, learned.learned, strict=True) if is_learned),
        contend(learned.found, peers=peers, say=say),
        {**report.policies, "propensity only": extra["propensity"]},
    )


def show_trial(result: TrialResult, console: Console) -> None:
    """The trial's tables."""
    table = Table(title=f"Qini × 1000 on {result.report.business} (95 %), out of fold", title_justify="left")
    table.add_column("learner")
    for name in result.actions:
        table.add_column(f"{name} v none", justify="right")
    for contender in result.contenders:
        cells = [
            f"{1e3 * curve.qini.value:.2f} ({1e3 * curve.qini.low:.2f} – {1e3 * curve.qini.high:.2f})"
            for curve in contender.curves.values()
        ]
        table.add_row(contender.name, *cells)
    console.print(table)
    table = Table(title="Mean reward by policy (95 %)", title_justify="left")
    for name in ("policy", *ESTIMATORS, "effective sample size"):
        table.add_column(name, justify="left" if name == "policy" else "right")
    for name, policy in result.policies.items():
        cells = [
            f"{estimate.value:.4f} ({estimate.low:.4f} – {estimate.high:.4f})"
            for estimate in (getattr(policy, estimator) for estimator in ESTIMATORS)
        ]
        table.add_row(name, *cells, f"{policy.effective_sample_size:,.0f}")
    console.print(table)
    console.print(result.report.verdict, highlight=False, markup=False)


def show_planted(found: Sequence[Planted], console: Console) -> None:
    """Means over the worlds, and how many of them give everybody the same effect."""
    table = Table(title=f"An effect that differs by one of {OTHERS + 1} attributes", title_justify="left")
    for name in ("worlds", "planted", "measured (s.e.)", "served", "no difference served", "error", "of the average"):
        table.add_column(name, justify="right")

    def mean(name: str) -> float:
        return float(np.mean([getattr(one, name) for one in found]))

    table.add_row(
        str(len(found)),
        f"{PLANTED:.3f}",
        f"{mean('measured'):.3f} ({mean('standard_error'):.3f})",
        f"{mean('kept'):.3f} ({min(one.kept for one in found):.3f} to {max(one.kept for one in found):.3f})",
        str(sum(abs(one.kept) < 1e-9 for one in found)),
        f"{mean('error'):.3f}",
        f"{mean('error_of_average'):.3f}",
    )
    console.print(table)


def show_earned(found: Sequence[Earned], console: Console) -> None:
    """Means over seeds by spread and number of decisions, with the worst seed."""
    table = Table(title="What is served in simulated businesses, by the truth: mean (worst seed)", title_justify="left")
    for name in (
        "spread",
        "decisions",
        "seeds",
        "of the truth's earnings",
        "of those over the best action",
        "personal, of the truth's",
        "likeliest to churn, of the truth's",
        "in money, of the truth's",
    ):
        table.add_column(name, justify="right")
    groups = sorted({(one.spread, one.decisions < 5_000) for one in found})
    for spread, is_few in groups:
        mine = [one for one in found if one.spread == spread and (one.decisions < 5_000) == is_few]
        columns = [
            [one.of_oracle for one in mine],
            [one.over_constant for one in mine],
            [one.personal / one.oracle for one in mine],
            [one.likeliest / one.oracle for one in mine],
            [one.personal_money / one.oracle_money for one in mine],
        ]
        table.add_row(
            f"{spread:g}",
            f"{np.mean([one.decisions for one in mine]):,.0f}",
            str(len(mine)),
            *(f"{np.mean(column):.3f} ({min(column):.3f})" for column in columns),
        )
    console.print(table)


def write(path: Path, result: TrialResult | None, found: Sequence[Earned], planted: Sequence[Planted]) -> None:
    """All figures as JSON."""
    content: dict[str, Any] = {
        "simulated": [asdict(one) for one in found],
        "planted": [asdict(one) for one in planted],
    }
    if result is not None:
        content["trial"] = {
            "report": result.report.to_json(),
            "qini": {
                contender.name: {
                    name: asdict(curve.qini)
                    for name, curve in zip(result.actions, contender.curves.values(), strict=True)
                }
                for contender in result.contenders
            },
        }
    write_atomically(path, json.dumps(content, indent=1) + "\n")
