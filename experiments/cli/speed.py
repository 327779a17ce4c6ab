"""The command `python -m experiments benchmark speed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.cli.console import exit_on_error, saying


def speed(
    rows: Annotated[str, typer.Option(help="Rows of the table, with commas between; default all.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds of each row.")] = 7,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of load per round and server.")] = 2.0,
    customers: Annotated[int, typer.Option(min=1000, help="Customers of row 8.")] = 1_000_000,
    explained: Annotated[int, typer.Option(min=2000, help="Rows of row 7.")] = 200_000,
    materialized: Annotated[int, typer.Option(min=100, help="Customers of row 9.")] = 5_000,
    events: Annotated[int, typer.Option(min=10_000, help="Events of row 10.")] = 5_000_000,
    joined: Annotated[int, typer.Option(min=6000, help="Rows of row 11; Feast takes minutes for many.")] = 240_000,
    json: Annotated[Path, typer.Option(help="Where the figures go as JSON.")] = Path("bench.json"),
) -> None:
    """Measure each row of the table in docs/speed.md beside its peer; their answers are compared before they are timed."""
    from experiments.benchmarks.errors import BenchmarkError
    from experiments.benchmarks.speed import table

    scale = table.Scale(rounds, seconds, customers, explained, materialized, events, joined)
    wanted = [row.strip() for row in rows.split(",") if row.strip()] or list(table.ROWS)
    with exit_on_error(BenchmarkError):
        measured, conditions = table.measure(wanted, scale, saying(Console(stderr=True)))
    table.write(json, measured, conditions)
    table.show(Console(), measured, conditions)
