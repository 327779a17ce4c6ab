"""The commands `python -m experiments compare` and `card`: models side by side, and the card of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.cli.console import exit_on_error, quiet


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]…", help="Versions, champion, challenger or run ids; default: champion, challenger."
        ),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option("--share", min=0.001, max=1.0, help="Share that a team can call; default as the run was told."),
    ] = None,
    html: Annotated[Path, typer.Option(help="Where the page goes.")] = Path("compare.html"),
    json: Annotated[Path, typer.Option(help="Where the figures go as JSON.")] = Path("compare.json"),
) -> None:
    """Models side by side on the same test rows, with paired intervals: is one really better than the other?"""
    from experiments.compare import compare_runs, show, write
    from features.config.environment import Environment
    from features.errors import FeaturesError
    from models.errors import ModelsError
    from training.errors import TrainingError

    with exit_on_error(FeaturesError, ModelsError, TrainingError), quiet():
        compared = compare_runs(Environment.from_environment().state, runs or (), share)
        write(compared, html, json)
    show(compared, Console())
    typer.echo(f"{html}\n{json}")


def card(
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="A version, champion, challenger or run id.")
    ] = "champion",
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
) -> None:
    """Write a version's model card, as its run made it: model_card.md and model_card.html."""
    from experiments.compare import fetch_card
    from features.config.environment import Environment
    from features.errors import FeaturesError
    from models.errors import ModelsError
    from training.errors import TrainingError

    with exit_on_error(FeaturesError, ModelsError, TrainingError):
        for path in fetch_card(Environment.from_environment().state, run, out):
            typer.echo(path)
