"""The commands `python -m experiments benchmark horizons` and `value`: when customers leave, and what they will spend."""

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
