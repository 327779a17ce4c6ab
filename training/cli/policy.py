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
        if action.average is None or action.curve is None:
            console.print(f"{name}: {action.trials:,} trials, too few; its stated prior is used.", highlight=False)
            continue
        console.print(
            f"{name}: {action.trials:,} trials, on average {action.average.value:+.5f} "
            f"({action.average.low:+.5f} to {action.average.high:+.5f}); Qini {action.curve.qini.value:.5f} "
            f"({action.curve.qini.low:.5f} to {action.curve.qini.high:.5f})",
            highlight=False,
        )
    weights = ", ".join(f"{name} {figures.weight:.2f}" for name, figures in report.learners.items() if figures.weight)
    console.print(
        f"{report.n_trials:,} trials, {report.n_features} features; weights: {weights or 'none'}.", highlight=False
    )
    console.print(report.verdict, highlight=False, markup=False)
    for name, gate in report.gates.items():
        sign = "[green]passed[/]" if gate.passed else "[red]refused[/]"
        console.print(f"gate {name}: {sign} ({gate.figure:.3g}, limit {gate.limit:.3g})", highlight=False)
    for warning in report.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
    if report.may_be_promoted:
        console.print("Next: python -m training promote --policy", highlight=False)
