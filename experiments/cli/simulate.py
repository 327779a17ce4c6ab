"""The command `python -m experiments simulate`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.cli.console import ProgressBars, exit_on_error
from experiments.simulation.errors import SimulationError
from experiments.simulation.records.company import write
from experiments.simulation.scenario import Scenario
from features.config.environment import Environment


def simulate(
    customers: Annotated[int, typer.Option(help="Customers, those who left included.")] = 5_000,
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 7,
    out: Annotated[Path | None, typer.Option(help="Folder to write; default $KEEPWELL_HOME/simulation.")] = None,
    end: Annotated[
        str | None, typer.Option(help="Day after the last simulated one (YYYY-MM-DD); default today.")
    ] = None,
    effect_spread: Annotated[float, typer.Option(help="How much the actions' effects differ between customers.")] = 1.0,
) -> None:
    """Write a simulated subscription business: customers, 18 months of events, its truth, and its TOML."""
    folder = out or Environment.from_environment().home / "simulation"
    with exit_on_error(SimulationError):
        scenario = Scenario(customers, seed, _midnight(end), effect_spread)
        with ProgressBars(Console(stderr=True)) as progress:
            summary = write(scenario, folder, progress)
    for name, rows in summary.rows.items():
        typer.echo(f"{rows:>9,}  {name}")
    typer.echo(f"{summary.folder / 'business.toml'}")


def _midnight(end: str | None) -> datetime:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if end is None:
        return today
    try:
        chosen = datetime.strptime(end, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise SimulationError(f"--end is {end!r}: give a day as YYYY-MM-DD.") from None
    if chosen > today:
        raise SimulationError(
            f"--end is {end}, after today: the events of days to come would all be refused as future."
        )
    return chosen
