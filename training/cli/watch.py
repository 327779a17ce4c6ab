"""The command `python -m training watch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from features.config.environment import Environment
from training.cli.console import ProgressBars, exit_on_error

if TYPE_CHECKING:
    from training.monitoring.watch import WatchReport

MOST_SHOWN = 12
RETRAIN = 3


def watch(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="The TOML whose [watch] counts; default as built.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Where the page goes; default in the home.")] = None,
    json: Annotated[Path | None, typer.Option(help="Where the figures go as JSON; default in the home.")] = None,
) -> None:
    """Say whether the champion should be trained again: exit code 0 where it is fine, 3 where it should."""
    with exit_on_error():
        from features.config.business import Business
        from training.monitoring.watch import watch
        from training.reporting.report_file import write_json, write_page

        home = Environment.from_environment().state
        business = None if config is None else Business.load(config)
        if business is not None:
            home.claim(business.name)
        with ProgressBars() as bars, bars.step("Looking at features, scores and outcomes"):
            watched = watch(home, business)
        page, figures = html or home.path / "watch.html", json or home.path / "watch.json"
        write_page(page, watched.document().html())
        write_json(figures, watched.to_json())
        _show_watched(watched, Console())
        print(f"{page}\n{figures}")
    if watched.retrain:
        raise typer.Exit(RETRAIN)


def _show_watched(watched: WatchReport, console: Console) -> None:
    table = Table(
        title=f"{watched.model}, version {watched.version}: {watched.customers:,} customers", title_justify="left"
    )
    for name in ("column", "PSI", "chance", "missing then", "now", "importance", "moved"):
        table.add_column(name, justify="left" if name == "column" else "right")
    for one in (watched.score, *watched.features[:MOST_SHOWN]):
        table.add_row(
            one.name,
            f"{one.psi:.3f}",
            f"{one.chance:.3f}",
            f"{one.missing_then:.1%}",
            f"{one.missing_now:.1%}",
            f"{one.importance:.1%}",
            "yes" if one.moved(watched.limits) else "",
        )
    console.print(table)
    if watched.matured is not None:
        one_of = watched.matured
        console.print(
            f"Outcomes known since: {one_of.rows:,} rows, {one_of.since}; AUC {one_of.auc:.3f} ({one_of.auc_then:.3f} when "
            f"tested), ECE {one_of.ece:.3f} (limit {one_of.ece_limit:.3f}).",
            highlight=False,
        )
    for note in watched.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    for reason in watched.reasons:
        console.print(f"retrain: {reason}", style="yellow", markup=False, highlight=False)
    console.print("Next: python -m training run CONFIG" if watched.retrain else "It is fine as it is.", highlight=False)
