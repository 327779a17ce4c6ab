"""The command `python -m training run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from features.config.environment import Environment
from training.cli.console import ProgressBars, exit_on_error
from training.errors import TrainingError

if TYPE_CHECKING:
    from training.reporting.run_report import RunReport


def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The business's TOML.")],
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write the report as JSON.")] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="N UNIT",
            help='How long to look for a model: "10 trials" or "3 minutes"; else [training] budget.',
        ),
    ] = None,
) -> None:
    """Train on the current features, track the run, and register the model as challenger."""
    with exit_on_error():
        # What trains takes seconds to import: only this command waits for it.
        from features.config.business import Business
        from features.config.search_budget import Budget
        from training.run import run

        try:
            allowed = None if budget is None else Budget.parse(budget)
        except ValueError as error:
            raise TrainingError(f"--budget: {error}.") from None
        business = Business.load(config)
        with ProgressBars() as bars:
            result = run(business, Environment.from_environment().state, bars, report, allowed)
        _show(result, Console())


def _show(report: RunReport, console: Console) -> None:
    table = Table(title=f"{report.business}, version {report.model_version}", title_justify="left")
    table.add_column("metric")
    everything = {"model": report.evaluation.metrics, **report.evaluation.baselines}
    for name in everything:
        table.add_column(name.replace("_", " "), justify="right")
        if name == "model":
            table.add_column("95 %", justify="right")
    around = report.examination.intervals["model"]
    rows = {name: metrics.to_json() for name, metrics in everything.items()}
    for figure in rows["model"]:
        values = ["–" if value is None else f"{value:.4f}" for value in (rows[name][figure] for name in everything)]
        interval = around[figure]
        shown = "–" if interval is None else f"{interval.low:.4f} – {interval.high:.4f}"
        table.add_row(figure, values[0], shown, *values[1:])
    console.print(table)
    top = report.examination.top_k
    among = "" if top.interval is None else f" ({top.interval.low:.1%} to {top.interval.high:.1%})"
    console.print(
        f"Of the {top.k:,} customers at the top ({top.why}), {top.precision:.1%}{among} left: {top.recall:.0%} of all who did.",
        highlight=False,
    )
    split = "the test window" if report.split == "time" else "out of fold"
    console.print(f"{report.n_test:,} rows, {split}; {report.n_train:,} rows trained it; {report.n_features} features.")
    if report.level is not None:
        console.print(report.level.sentence, highlight=False)
    _show_worth(report, console)
    for name, gate in report.gates.items():
        sign = "[green]passed[/]" if gate.passed else "[red]refused[/]"
        console.print(f"gate {name}: {sign} ({gate.figure:.3g}, limit {gate.limit:.3g})", highlight=False)
    for warning in report.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
    for note in report.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    if report.may_be_promoted:
        console.print("Next: python -m training promote", highlight=False)


def _show_worth(report: RunReport, console: Console) -> None:
    """How customers are valued and, as a table, the segments."""
    worth = report.worth
    if worth is None:
        return
    if worth.value_report is not None:
        found = (worth.value_report.candidates or {}).get(worth.value_report.method.value)
        tested = "" if found is None else f": RMSE {found.rmse:,.2f}, total {found.total_error:+.1%} in the test window"
        console.print(f"value: {worth.value_report.method.value}{tested}", highlight=False)
    if not worth.summaries:
        return
    table = Table(title="segments, of the tested customers", title_justify="left")
    for name in ("id", "segment", "customers", "churn rate", "health", "value of 12 months"):
        table.add_column(name, justify="left" if name in ("id", "segment") else "right")
    for one in worth.summaries:
        table.add_row(
            one.id,
            one.name,
            f"{one.customers:,}",
            "–" if one.churn_rate is None else f"{one.churn_rate:.1%}",
            "–" if one.health is None else f"{one.health:.1f}",
            "–" if one.value_next_12_months is None else f"{one.value_next_12_months:,.2f}",
        )
    console.print(table)
