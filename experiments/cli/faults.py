"""The command `python -m experiments benchmark faults`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.cli.console import exit_on_error, names_in, quiet, saying


def faults(
    attacks: Annotated[str, typer.Option(help="Attacks, with commas between; default all.")] = "",
    json: Annotated[Path, typer.Option(help="Where what was seen goes as JSON.")] = Path("faults.json"),
) -> None:
    """Attack servers, commands and stores of a small business: what should hold, and what was seen. Exit code 1 if one failed."""
    from experiments.benchmarks.errors import BenchmarkError
    from experiments.benchmarks.faults import table

    with exit_on_error(BenchmarkError, ValueError):
        names = names_in(attacks, table.ATTACKS, "attack") or list(table.ATTACKS)
        with quiet():
            found = table.measure(names, saying(Console(stderr=True)))
    table.write(json, found)
    table.show(Console(width=160), found)
    if not table.all_held(found):
        raise typer.Exit(1)
