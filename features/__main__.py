"""The command: `python -m features build|show|feast`."""

from __future__ import annotations

import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from features.errors import FeaturesError
from features.home import keep_private
from features.mistakes import ending
from features.words import print_any_name

if TYPE_CHECKING:
    from rich.console import Console

    from features.build import Built
    from features.config.environment import Environment
    from features.generation import Generation
    from features.snapshots.builder import Progress as _Tasks

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Features: what we know of a customer, at a moment.")

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The business's TOML.")]
AcceptLoss = Annotated[
    bool, typer.Option("--accept-loss", help="Go on, however many rows are set aside and few customers have events.")
]
CustomerId = Annotated[
    str | None, typer.Argument(metavar="[CUSTOMER]", help="A customer's id; all features without it.")
]


@contextmanager
def exit_on_error() -> Iterator[None]:
    """End with one sentence and exit code 2 at a user's mistake."""
    with ending(_exit, FeaturesError, otherwise="The build"):
        yield


def _exit(sentence: str, _: Exception) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(2)


@app.command()
@exit_on_error()
def build(config: Config, accept_loss: AcceptLoss = False) -> None:
    """Read a business's files, describe its customers, and make the result live."""
    from features.after_change import rewrite_current_scores
    from features.build import build as build_features
    from features.config.business import Business
    from features.config.environment import Environment

    # Feast switches every deprecation on when it is imported; this one is Ibis's to mend.
    warnings.filterwarnings("ignore", "fetch_arrow_table", DeprecationWarning)
    environment = Environment.from_environment()
    home = environment.state
    business = Business.load(config)
    with _progress() as progress:
        built = build_features(
            business,
            home,
            datetime.now(UTC),
            progress,
            environment.online_store,
            accept_loss=accept_loss,
            event_log=environment.event_log,
        )
    _summarise(built)
    notes = [*built.notes, *rewrite_current_scores(home)]
    for note in notes:
        typer.echo(f"Note: {note}", err=True)
    _next_step(config, environment)


@app.command()
@exit_on_error()
def show(customer: CustomerId = None) -> None:
    """What is known of one customer now, in sentences; without one, which features there are."""
    from features.config.environment import Environment
    from features.generation import Generation

    generation = Generation.current(Environment.from_environment().state)
    if customer is None:
        _show_declared(generation)
    else:
        _show_customer(generation, customer)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
@exit_on_error()
def feast(context: typer.Context) -> None:
    """Run Feast's own command on the live features, such as `feature-views list`; without one, print its environment."""
    from features.config.environment import Environment, inherited
    from features.generation import Generation
    from features.store.offline import feast_environment

    generation = Generation.current(Environment.from_environment().state)
    variables = feast_environment(generation)
    if not context.args:
        for name, value in variables.items():
            typer.echo(f"export {name}={shlex.quote(value)}")
        return
    repository = Path(__file__).parent / "feature_repo"
    command = [sys.executable, "-m", "feast.cli.cli", "-c", str(repository), *context.args]
    ended = subprocess.run(command, env=inherited(**variables), check=False)
    raise typer.Exit(ended.returncode)


@contextmanager
def _progress() -> Iterator[_Tasks]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    # Into a file or a pipe, bars would only bury the one sentence that says what went wrong.
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(task: str, share: float) -> None:
            if task not in tasks:
                tasks[task] = progress.add_task(task, total=1.0)
            progress.update(tasks[task], completed=share)

        yield tell


def _summarise(built: Built) -> None:
    generation, sources = built.generation, built.generation.sources
    lines = [
        ("Rows", f"{sources.rows_read:,} read, {sources.rows_accepted:,} accepted, {sources.rows_filtered:,} filtered"),
        *(("  set aside", f"{rows:,} × {why}") for why, rows in sorted(sources.rejected.items(), key=lambda x: -x[1])),
    ]
    if sources.rejected:
        lines.append(("  kept in", str(generation.quarantine)))
    lines.append(("Customers", f"{sources.customers:,}"))
    pillars = ", ".join(f"{pillar.name} {len(pillar.features)}" for pillar in generation.schema.pillars)
    lines.append(("Features", f"{len(generation.schema)}: {pillars}"))
    lines.append(("As of", f"{generation.as_of:%Y-%m-%d %H:%M} UTC"))
    if generation.cutoffs:
        first, last = generation.cutoffs[0], generation.cutoffs[-1]
        lines.append(("Cutoffs", f"{len(generation.cutoffs)}, {first:%Y-%m-%d} to {last:%Y-%m-%d}"))
    lines.append(("Written to", str(generation.path)))
    lines.append(("Online store", generation.online_name))
    for label, text in lines:
        typer.echo(f"{label:<14}{text}")


def _next_step(config: Path, environment: Environment) -> None:
    prefix = (
        f"KEEPWELL_HOME={shlex.quote(str(environment.state.path))} " if "home" in environment.model_fields_set else ""
    )
    typer.echo(f"Next: {prefix}python -m training run {shlex.quote(str(config))}")


def _console() -> Console:
    """A terminal as wide as it is; a file or a pipe as wide as the tables want."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=200)


def _show_declared(generation: Generation) -> None:
    from rich.table import Table

    table = Table("pillar", "feature", "kind", "unit", "used by", "sentence")
    for pillar in generation.schema.pillars:
        for feature in pillar.features:
            used_by = "models" if feature.predictive else "decisions"
            sentence = feature.sentence.replace("{value}", "…").replace("{s}", "s").replace("{name}", feature.name)
            table.add_row(pillar.name, feature.name, feature.dtype.value, feature.unit, used_by, sentence)
    _console().print(table)


def _show_customer(generation: Generation, customer: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from features.store.offline import OnlineStore

    row = OnlineStore(generation).read_one(customer).row(0)
    table = Table("pillar", "feature", "value", "in words")
    for pillar in generation.schema.pillars:
        for feature in pillar.features:
            value = row[feature.name]
            shown = "" if value is None else value if isinstance(value, str) else f"{value:.9g}"
            table.add_row(pillar.name, Text(feature.name), Text(shown), Text(feature.say(value)))
    console = _console()
    console.print(Text(f"{customer}, as of {generation.as_of:%Y-%m-%d %H:%M} UTC"))
    console.print(table)


def main() -> None:
    """Run the command."""
    keep_private()
    print_any_name()
    app()


if __name__ == "__main__":
    main()
