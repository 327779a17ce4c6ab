"""The command `python -m training policy`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from features.config.environment import Environment
from training.cli.console import ProgressBars, exit_on_error

if TYPE_CHECKING:
    from models.inference.interval import Estimate
    from training.policy.report import PolicyReport


def policy(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The business's TOML.")],
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write the report as JSON.")] = None,
    choices: Annotated[
        Path | None,
        typer.Option("--choices", metavar="FILE", help="Write what it would do for each logged row: CSV or Parquet."),
    ] = None,
) -> None:
    """Learn each action's effects from a trial or the decision log, and register the policy as challenger."""
    with exit_on_error():
        from features.config.business import Business
        from training.policy.train import train_policy

        business, environment = Business.load(config), Environment.from_environment()
        with ProgressBars() as bars:
            result = train_policy(business, environment.state, bars, report, choices, environment.database_url)
        _show_policy(result, Console())


def _show_policy(report: PolicyReport, console: Console) -> None:
    table = Table(title=f"policy of {report.business}, version {report.policy_version}", title_justify="left")
    for name in ("policy", "reward a decision (doubly robust)", "95 %", "effective sample size"):
        table.add_column(name, justify="left" if name == "policy" else "right")
    for name, value in report.policies.items():
        mark = " (served)" if name == report.served else ""
        table.add_row(
            f"{name}{mark}",
            f"{value.dr.value:.5f}",
            f"{value.dr.low:.5f} – {value.dr.high:.5f}",
            f"{value.effective_sample_size:,.0f}",
        )
    console.print(table)
    for name, action in report.actions.items():
        if action.average is None:
            instead = "its stated prior is used" if report.reference.is_choice else "it is never chosen"
            console.print(f"{name}: {action.trials:,} trials, too few; {instead}.", highlight=False)
            continue
        qini = "" if action.curve is None else f"; Qini {_within(action.curve.qini, '.5f')}"
        console.print(
            f"{name}: {action.trials:,} trials, on average {_within(action.average, '+.5f')}{qini}", highlight=False
        )
    console.print(
        f"{report.n_trials:,} trials, {report.n_features} features; effects are against {report.reference}.",
        highlight=False,
        markup=False,
    )
    console.print(report.differences, highlight=False, markup=False)
    console.print(report.verdict, highlight=False, markup=False)
    for name, gate in report.gates.items():
        sign = "[green]passed[/]" if gate.passed else "[red]refused[/]"
        console.print(f"gate {name}: {sign} ({gate.figure:.3g}, limit {gate.limit:.3g})", highlight=False)
    for warning in report.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
    for note in report.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    if report.may_be_promoted:
        console.print("Next: python -m training promote --policy", highlight=False)


def _within(estimate: Estimate, digits: str) -> str:
    return f"{estimate.value:{digits}} ({estimate.low:{digits}} to {estimate.high:{digits}})"
