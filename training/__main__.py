"""The command `python -m training`: run, policy, promote, rollback, watch."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer.core import TyperCommand

from features.errors import FeaturesError
from features.home import Home
from models.errors import ModelsError
from training.errors import GateRefused, TrainingError

if TYPE_CHECKING:
    from training.monitoring.watch import Watched
    from training.policy.report import PolicyReport
    from training.promotion.model import Promotion
    from training.reporting.run_report import RunReport

MISTAKE = 2
MOST_SHOWN = 12
REFUSED = 3
RETRAIN = 3

app = typer.Typer(
    help="Train churn models, and choose which one serves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("run")
def run_command(
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
    with _mistakes():
        # What trains takes seconds to import: only this command waits for it.
        from features.config.business import Business
        from features.config.search_budget import Budget
        from training.run import run

        try:
            allowed = None if budget is None else Budget.parse(budget)
        except ValueError as error:
            raise TrainingError(f"--budget: {error}.") from None
        business = Business.load(config)
        with _Bars() as bars:
            result = run(business, Home.from_environment(), bars, report, allowed)
        _show(result, Console())


@app.command("policy")
def policy_command(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The business's TOML.")],
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write the report as JSON.")] = None,
    choices: Annotated[
        Path | None,
        typer.Option("--choices", metavar="FILE", help="Write what it would do for each logged row: CSV or Parquet."),
    ] = None,
) -> None:
    """Learn each action's effects from a trial or the decision log, and register the policy as challenger."""
    with _mistakes():
        from features.config.business import Business
        from training.policy.train import train_policy

        business = Business.load(config)
        with _Bars() as bars:
            result = train_policy(business, Home.from_environment(), bars, report, choices)
        _show_policy(result, Console())


@app.command("watch")
def watch_command(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="The TOML whose [watch] counts; default as built.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Where the page goes; default in the home.")] = None,
    json: Annotated[Path | None, typer.Option(help="Where the figures go as JSON; default in the home.")] = None,
) -> None:
    """Say whether the champion should be trained again: exit code 0 where it is fine, 3 where it should."""
    with _mistakes():
        from features.config.business import Business
        from training.monitoring.watch import watch
        from training.run import write_json, write_page

        home = Home.from_environment()
        business = None if config is None else Business.load(config)
        if business is not None:
            home.claim(business.name)
        with _Bars() as bars, bars.step("Looking at features, scores and outcomes"):
            watched = watch(home, business)
        page, figures = html or home.path / "watch.html", json or home.path / "watch.json"
        write_page(page, watched.document().html())
        write_json(figures, watched.to_json())
        _show_watched(watched, Console())
        print(f"{page}\n{figures}")
    if watched.retrain:
        raise typer.Exit(RETRAIN)


class _AsksWhy(TyperCommand):
    """Lets `--force` stand without its reason, which is then asked for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for place, given in enumerate(args):
            if given == "--force" and (place + 1 == len(args) or args[place + 1].startswith("-")):
                args = [*args[:place], "--force=", *args[place + 1 :]]
        return super().parse_args(ctx, args)


@app.command("promote", cls=_AsksWhy)
def promote_command(
    version: Annotated[int | None, typer.Option("--version", help="By default the newest challenger.", min=1)] = None,
    new_scorecard: Annotated[
        bool, typer.Option("--new-scorecard", help="Freeze the meaning of health anew, from this model's proposal.")
    ] = False,
    policy: Annotated[bool, typer.Option("--policy", help="A version of the policy, not of the churn model.")] = False,
    force: Annotated[
        str | None,
        typer.Option(
            "--force",
            metavar="REASON",
            help="Overrule the gates of quality; the reason is kept on the version and in the log of promotions.",
        ),
    ] = None,
) -> None:
    """Make a version the champion if its gates are passed; a running server takes it up by itself."""
    with _mistakes():
        if force is not None:
            if policy:
                raise TrainingError("--force is for the churn model: a policy that is not proven is not served.")
            force = _reason(force)
        if policy:
            from training.promotion.policy import promote_policy

            with _Bars() as bars, bars.step("Promoting"):
                said = promote_policy(Home.from_environment(), None if version is None else str(version))
            Console().print(said, highlight=False)
            return
        from training.promotion.model import promote

        with _Bars() as bars, bars.step("Promoting"):
            promotion = promote(
                Home.from_environment(),
                None if version is None else str(version),
                new_scorecard=new_scorecard,
                force=force,
            )
        _say(promotion, Console())


@app.command("rollback")
def rollback_command(
    policy: Annotated[bool, typer.Option("--policy", help="The policy, not the churn model.")] = False,
) -> None:
    """Make the version that served before the champion serve again."""
    with _mistakes():
        if policy:
            from training.promotion.policy import rollback_policy

            with _Bars() as bars, bars.step("Rolling back"):
                said = rollback_policy(Home.from_environment())
            Console().print(said, highlight=False)
            return
        from training.promotion.model import rollback

        with _Bars() as bars, bars.step("Rolling back"):
            promotion = rollback(Home.from_environment())
        _say(promotion, Console())


def _reason(given: str) -> str:
    """Why gates are overruled: as given, else asked for on a terminal."""
    reason = given.strip()
    if not reason and sys.stdin.isatty():
        reason = Console(stderr=True).input("Why is this version promoted in spite of its gates? ").strip()
    if not reason:
        raise TrainingError(
            "--force needs a reason: say why, such as --force 'the old one reads a column that is gone'."
        )
    return reason


class _Bars:
    """One progress bar a step, on stderr."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._progress.stop()
        else:
            # After a mistake, its sentence is all that stays.
            self._progress.live.transient = True
            self._progress.live.stop()

    @contextlib.contextmanager
    def step(self, description: str, total: int = 1) -> Iterator[Callable[[], None]]:
        task = self._progress.add_task(description, total=total)
        yield lambda: self._progress.advance(task)
        self._progress.update(task, completed=total)


@contextlib.contextmanager
def _mistakes() -> Iterator[None]:
    """End with one sentence: 3 for a refused gate, 2 for any other mistake."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Libraries' notes to programmers; some switch them on again when imported, so they are not filtered but
            # not shown. What a user should know is in the report.
            warnings.showwarning = lambda *_, **__: None
            yield
    except GateRefused as error:
        _end(str(error), REFUSED)
    except (FeaturesError, ModelsError, TrainingError) as error:
        _end(str(error), MISTAKE)


def _end(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(code)


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
    _show_worth(report, console)
    for name, gate in report.gates.items():
        sign = "[green]passed[/]" if gate.passed else "[red]refused[/]"
        console.print(f"gate {name}: {sign} ({gate.figure:.3g}, limit {gate.limit:.3g})", highlight=False)
    for warning in report.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
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


def _show_watched(watched: Watched, console: Console) -> None:
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


def _show_policy(report: PolicyReport, console: Console) -> None:
    table = Table(title=f"policy of {report.business}, version {report.policy_version}", title_justify="left")
    for name in ("policy", "reward a decision (doubly robust)", "95 %", "effective sample size"):
        table.add_column(name, justify="left" if name == "policy" else "right")
    for name, value in report.policies.items():
        mark = " (served)" if name == report.served else ""
        table.add_row(
            f"{name}{mark}",
            f"{value.dr.value:.5f}",
            f"{value.dr.lower:.5f} – {value.dr.upper:.5f}",
            f"{value.effective_sample_size:,.0f}",
        )
    console.print(table)
    for name, action in report.actions.items():
        if action.average is None or action.curve is None:
            console.print(f"{name}: {action.trials:,} trials, too few; its stated prior is used.", highlight=False)
            continue
        console.print(
            f"{name}: {action.trials:,} trials, on average {action.average.value:+.5f} "
            f"({action.average.lower:+.5f} to {action.average.upper:+.5f}); Qini {action.curve.qini.value:.5f} "
            f"({action.curve.qini.lower:.5f} to {action.curve.qini.upper:.5f})",
            highlight=False,
        )
    weights = ", ".join(f"{name} {figures.weight:.2f}" for name, figures in report.learners.items() if figures.weight)
    console.print(
        f"{report.n_trials:,} trials, {report.n_features} features; weights: {weights or 'none'}.", highlight=False
    )
    console.print(report.verdict, highlight=False, markup=False)
    for warning in report.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
    console.print("Next: python -m training promote --policy", highlight=False)


def _say(promotion: Promotion, console: Console) -> None:
    model, card = promotion.model, promotion.scorecard
    instead = f" in place of {promotion.previous}" if promotion.previous not in (None, model.version) else ""
    console.print(
        f"Version {model.version} is the champion of {model.name}{instead}, with scorecard {card.version} "
        f"(50 is a churn risk of {card.p_ref:.1%}, {card.pdo:.3g} points double the odds).",
        highlight=False,
    )
    for warning in promotion.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
    console.print("Next: python -m serving run; a server that runs takes it up by itself.", highlight=False)


if __name__ == "__main__":
    app()
