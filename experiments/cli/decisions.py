"""The commands `python -m experiments benchmark decisions` and `recommendations`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.cli.console import exit_on_error, quiet, saying
from experiments.simulation.errors import SimulationError


def decisions(
    trial: Annotated[str, typer.Option(help="TOML of a trial; empty for none.")] = "experiments/hillstrom.toml",
    peers: Annotated[bool, typer.Option(help="Beside econml and causalml, where they are installed.")] = True,
    seeds: Annotated[int, typer.Option(min=0, help="Simulated businesses at each spread; about two minutes each.")] = 3,
    spreads: Annotated[str, typer.Option(help="How much effects differ between customers.")] = "0.5,1,2",
    customers: Annotated[int, typer.Option(min=1000, help="Of a simulated business.")] = 8_500,
    few: Annotated[int, typer.Option(min=500, help="So many decisions, to learn from little.")] = 2_000,
    planted: Annotated[
        int, typer.Option(min=0, help="Small trials whose effect differs by one attribute; about a second each.")
    ] = 30,
    json: Annotated[Path, typer.Option(help="Where the figures go as JSON.")] = Path("decisions.json"),
) -> None:
    """How good decisions are: effects and policies on a public trial, and in simulated businesses whose truth is known."""
    from experiments.benchmarks.decisions import table
    from experiments.benchmarks.decisions.planted import planted as planted_in
    from experiments.benchmarks.decisions.simulated import Earned, measure
    from experiments.benchmarks.errors import BenchmarkError
    from features.errors import FeaturesError
    from training.errors import TrainingError

    errors, console = Console(stderr=True), Console()
    with exit_on_error(BenchmarkError, FeaturesError, TrainingError, SimulationError, ValueError), quiet():
        result = None
        if trial:
            result = table.trial(Path(trial), peers=peers, say=saying(errors))
            table.show_trial(result, console)

        def show_earned(one: Earned) -> None:
            errors.print(
                f"seed {one.seed}, spread {one.spread:g}, {one.decisions:,} decisions: {one.of_oracle:.3f}",
                style="dim",
            )

        chosen = tuple(float(spread) for spread in spreads.split(",") if spread.strip())
        differing = [planted_in(seed) for seed in range(planted)]
        if differing:
            table.show_planted(differing, console)
        found = measure(seeds, chosen, customers, few, show_earned)
    if found:
        table.show_earned(found, console)
    table.write(json, result, found, differing)


def recommendations(
    configs: Annotated[
        list[Path] | None, typer.Argument(help="TOMLs of event businesses; default the two public ones.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="Days at the end that are recommended for.")] = 30,
    json: Annotated[Path | None, typer.Option(help="Where the figures go as JSON.")] = None,
) -> None:
    """Measure recommendations beside popularity and last purchases, on a split in time, with intervals."""
    from experiments.benchmarks.decisions.recommendations import measure, show, write
    from experiments.benchmarks.errors import BenchmarkError
    from features.errors import FeaturesError

    here = Path(__file__).parents[1]
    with exit_on_error(BenchmarkError, FeaturesError):
        measured = [
            measure(config, days) for config in configs or [here / "online_retail.toml", here / "complete_journey.toml"]
        ]
    for one in measured:
        show(Console(), one)
    if json is not None:
        write(json, measured)
