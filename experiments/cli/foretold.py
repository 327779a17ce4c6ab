"""The commands `python -m experiments benchmark horizons`, `reasons` and `value`: when customers leave and why, and what they will spend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.cli.console import exit_on_error, quiet, saying


def horizons(
    seeds: Annotated[int, typer.Option(min=1, help="Simulated businesses, with seeds from 1 on.")] = 3,
    customers: Annotated[int, typer.Option(min=500, help="Of a simulated business.")] = 5_000,
    json: Annotated[Path, typer.Option(help="Where the figures go as JSON.")] = Path("horizons.json"),
) -> None:
    """Measure intervals and churn by horizon in simulated businesses, beside the truth: about two minutes a seed."""
    from experiments.benchmarks.quality.horizons import measure, show, write

    say = saying(Console(stderr=True))
    found = []
    with quiet():
        for seed in range(1, seeds + 1):
            say(f"seed {seed}")
            found.append(measure(seed, customers))
    show(Console(), found)
    write(json, found)


def reasons(
    seeds: Annotated[int, typer.Option(min=1, help="How many simulated businesses.")] = 3,
    first: Annotated[int, typer.Option(min=0, help="The seed of the first; the others follow.")] = 1,
    customers: Annotated[int, typer.Option(min=500, help="Of a simulated business.")] = 3_000,
    budget: Annotated[str, typer.Option(help='Of each search, such as "10 trials".')] = "3 trials",
    json: Annotated[Path, typer.Option(help="Where the figures go as JSON.")] = Path("reasons.json"),
) -> None:
    """What customers in red are told first in simulated businesses, beside the causes that truly threaten them."""
    from experiments.benchmarks.quality.first_reasons import measure, show, write
    from features.config.search_budget import Budget

    say = saying(Console(stderr=True))
    with exit_on_error(ValueError):
        allowed = Budget.parse(budget)
    found = []
    for seed in range(first, first + seeds):
        say(f"seed {seed}")
        with quiet():
            found.append(measure(seed, customers, allowed))
        show(Console(width=140), found[-1])
        write(json, found)


def value(
    configs: Annotated[list[Path] | None, typer.Argument(help="TOMLs of purchase logs; default cdnow.")] = None,
    json: Annotated[Path | None, typer.Option(help="Where the figures go as JSON.")] = None,
) -> None:
    """How well spend is foretold in a window that nothing was fitted on: what serves, the other candidates, and BG/NBD."""
    from experiments.benchmarks.errors import BenchmarkError
    from experiments.benchmarks.quality.spend import measure, show, write
    from features.errors import FeaturesError
    from training.errors import TrainingError

    with exit_on_error(BenchmarkError, FeaturesError, TrainingError), quiet():
        measured = [measure(config) for config in configs or [Path(__file__).parents[1] / "cdnow.toml"]]
    for one in measured:
        show(Console(), one)
    if json is not None:
        write(json, measured)
