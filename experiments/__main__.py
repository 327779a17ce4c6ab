"""The command `python -m experiments`: how we find out."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from experiments.simulation.errors import SimulationError
from experiments.simulation.records.company import write
from experiments.simulation.scenario import Scenario

# What the benchmarks that train share.
SearchBudget = Annotated[str, typer.Option(help='Of each search, such as "10 trials"; default as training has it.')]
QualityHome = Annotated[
    Path | None, typer.Option(help="Where features are built and kept; default $KEEPWELL_HOME/quality.")
]

app = typer.Typer(
    help="A simulated business, models side by side, speed and quality.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def experiments() -> None:
    """How we find out: a simulated business, models side by side, speed and quality."""


@app.command()
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
    folder = out or _in_home("simulation")
    errors = Console(stderr=True)
    with _one_sentence(SimulationError):
        scenario = Scenario(customers, seed, _midnight(end), effect_spread)
        with _bars(errors) as bars:
            summary = write(scenario, folder, _Report(bars))
    for name, rows in summary.rows.items():
        typer.echo(f"{rows:>9,}  {name}")
    typer.echo(f"{summary.folder / 'business.toml'}")


@app.command()
def demo() -> None:
    """The main job from nothing: simulate a business, build its features, train, promote, and serve in the foreground."""
    import subprocess

    from experiments import demo as walk
    from features.errors import FeaturesError
    from models.errors import ModelsError
    from serving.errors import ServingError
    from serving.platform.settings import Settings

    try:
        settings = Settings.from_environment()
        walk.prepare(settings)
        secret = walk.api_key(settings)
        call = walk.first_call(settings, secret)
    except subprocess.CalledProcessError as error:
        message, code = walk.failed(error)
        typer.echo(message, err=True)
        raise typer.Exit(code) from None
    except (FeaturesError, ModelsError, ServingError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    pages = f"http://{settings.host}:{settings.port}/"
    typer.echo(f"\nAPI key: {secret}\nOnce it serves: {call}\nThe pages: {pages} (sign in with the API key)\n")
    walk.serve()


@app.command()
def screenshots(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("serving/web/screenshots"),
) -> None:
    """Picture the pages of the demo's business, which must be built, for README and docs."""
    from experiments import demo as walk
    from experiments.screenshots import take
    from features.errors import FeaturesError
    from features.generation import Generation
    from serving.errors import ServingError
    from serving.platform.settings import Settings

    try:
        settings = Settings.from_environment()
        Generation.current(settings.state)
        for path in take(settings, walk.api_key(settings), out):
            typer.echo(f"{path.stat().st_size / 1000:6.0f} kB  {path}")
    except (FeaturesError, ServingError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


@app.command()
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
    from experiments import compare as beside
    from features.config.environment import Environment
    from features.errors import FeaturesError
    from models.errors import ModelsError
    from training.errors import TrainingError

    try:
        with _quiet():
            compared = beside.compare_runs(Environment.from_environment().state, runs or (), share)
            beside.write(compared, html, json)
    except (FeaturesError, ModelsError, TrainingError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    beside.show(compared, Console())
    typer.echo(f"{html}\n{json}")


@app.command()
def card(
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="A version, champion, challenger or run id.")
    ] = "champion",
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path(),
) -> None:
    """Write a version's model card, as its run made it: model_card.md and model_card.html."""
    from experiments import compare as beside
    from features.config.environment import Environment
    from features.errors import FeaturesError
    from models.errors import ModelsError
    from training.errors import TrainingError

    try:
        for path in beside.fetch_card(Environment.from_environment().state, run, out):
            typer.echo(path)
    except (FeaturesError, ModelsError, TrainingError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


benchmark = typer.Typer(no_args_is_help=True, help="Speed, side by side with what a user would pick instead.")
app.add_typer(benchmark, name="benchmark")


@benchmark.callback()
def benchmarks() -> None:
    """How fast: every figure beside its peer's, in one run."""


@benchmark.command()
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

    errors = Console(stderr=True)
    scale = table.Scale(rounds, seconds, customers, explained, materialized, events, joined)
    wanted = [row.strip() for row in rows.split(",") if row.strip()] or list(table.ROWS)
    with _one_sentence(BenchmarkError):
        measured, conditions = table.measure(wanted, scale, lambda what: errors.print(what, style="dim"))
    table.write(json, measured, conditions)
    table.show(Console(), measured, conditions)


@benchmark.command()
def decisions(
    trial: Annotated[str, typer.Option(help="TOML of a trial; empty for none.")] = "experiments/hillstrom.toml",
    peers: Annotated[bool, typer.Option(help="Beside econml and causalml, where they are installed.")] = True,
    seeds: Annotated[int, typer.Option(min=0, help="Simulated businesses at each spread; about two minutes each.")] = 3,
    spreads: Annotated[str, typer.Option(help="How much effects differ between customers.")] = "0.5,1,2",
    customers: Annotated[int, typer.Option(min=1000, help="Of a simulated business.")] = 8_500,
    few: Annotated[int, typer.Option(min=500, help="So many decisions, to learn from little.")] = 2_000,
    json: Annotated[Path, typer.Option(help="Where the figures go as JSON.")] = Path("decisions.json"),
) -> None:
    """How good decisions are: effects and policies on a public trial, and in simulated businesses whose truth is known."""
    from experiments.benchmarks.decisions import table
    from experiments.benchmarks.decisions.simulated import Earned, measure
    from experiments.benchmarks.errors import BenchmarkError
    from features.errors import FeaturesError
    from training.errors import TrainingError

    errors, console = Console(stderr=True), Console()
    with _one_sentence(BenchmarkError, FeaturesError, TrainingError, SimulationError, ValueError), _quiet():
        result = None
        if trial:
            result = table.trial(Path(trial), peers=peers, told=lambda what: errors.print(what, style="dim"))
            table.show_trial(result, console)

        def told(one: Earned) -> None:
            errors.print(
                f"seed {one.seed}, spread {one.spread:g}, {one.decisions:,} decisions: {one.of_oracle:.3f}",
                style="dim",
            )

        chosen = tuple(float(spread) for spread in spreads.split(",") if spread.strip())
        found = measure(seeds, chosen, customers, few, told)
    if found:
        table.show_earned(found, console)
    table.write(json, result, found)


@benchmark.command()
def horizons(
    seeds: Annotated[int, typer.Option(min=1, help="Simulated businesses, with seeds from 1 on.")] = 3,
    customers: Annotated[int, typer.Option(min=500, help="Of a simulated business.")] = 5_000,
    json: Annotated[Path, typer.Option(help="Where the figures go as JSON.")] = Path("horizons.json"),
) -> None:
    """Measure intervals and churn by horizon in simulated businesses, beside the truth: about two minutes a seed."""
    from experiments.benchmarks.quality import horizons as table

    errors = Console(stderr=True)
    found = []
    with _quiet():
        for seed in range(1, seeds + 1):
            errors.print(f"seed {seed}", style="dim")
            found.append(table.measure(seed, customers))
    table.show(Console(), found)
    table.write(json, found)


@benchmark.command()
def recommendations(
    configs: Annotated[
        list[Path] | None, typer.Argument(help="TOMLs of event businesses; default the two public ones.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="Days at the end that are recommended for.")] = 30,
    json: Annotated[Path | None, typer.Option(help="Where the figures go as JSON.")] = None,
) -> None:
    """Measure recommendations beside popularity and last purchases, on a split in time, with intervals."""
    from experiments.benchmarks.decisions import recommendations as table
    from experiments.benchmarks.errors import BenchmarkError
    from features.errors import FeaturesError

    here = Path(__file__).parent
    with _one_sentence(BenchmarkError, FeaturesError):
        measured = [
            table.measure(config, days)
            for config in configs or [here / "online_retail.toml", here / "complete_journey.toml"]
        ]
    for one in measured:
        table.show(Console(), one)
    if json is not None:
        table.write(json, measured)


@benchmark.command()
def value(
    configs: Annotated[list[Path] | None, typer.Argument(help="TOMLs of purchase logs; default cdnow.")] = None,
    json: Annotated[Path | None, typer.Option(help="Where the figures go as JSON.")] = None,
) -> None:
    """How well spend is foretold in a window that nothing was fitted on: what serves, the other candidates, and BG/NBD."""
    from experiments.benchmarks.errors import BenchmarkError
    from experiments.benchmarks.quality import spend as table
    from features.errors import FeaturesError
    from training.errors import TrainingError

    with _one_sentence(BenchmarkError, FeaturesError, TrainingError), _quiet():
        measured = [table.measure(config) for config in configs or [Path(__file__).parent / "cdnow.toml"]]
    for one in measured:
        table.show(Console(), one)
    if json is not None:
        table.write(json, measured)


@benchmark.command()
def quality(
    data: Annotated[str, typer.Option(help="Data sets, with commas between; default all.")] = "",
    budget: SearchBudget = "",
    without: Annotated[str, typer.Option(help="Peers to leave out, with commas between.")] = "",
    home: QualityHome = None,
    json: Annotated[Path, typer.Option(help="Where the figures go as JSON.")] = Path("quality.json"),
) -> None:
    """How good predictions are: public data and a simulated business, beside peers on the same folds, with intervals."""
    from experiments.benchmarks.errors import BenchmarkError
    from experiments.benchmarks.peers.classifiers import PEERS
    from experiments.benchmarks.quality import table
    from features.config.search_budget import Budget
    from features.errors import FeaturesError
    from training.errors import TrainingError

    errors, console = Console(stderr=True), Console(width=140)
    standings: list[table.Standing] = []
    with _one_sentence(BenchmarkError, FeaturesError, TrainingError, SimulationError, ValueError):
        allowed = Budget.parse(budget) if budget else None
        left_out = _named(without, PEERS, "peer")
        peers = [peer for peer in PEERS if peer not in left_out]
        folder = home or _in_home("quality")
        with _quiet():
            for name in _named(data, table.PROTOCOLS, "data set") or table.PROTOCOLS:
                standings += (
                    found := table.measured(
                        name, folder, allowed, peers, lambda what: errors.print(what, style="dim", highlight=False)
                    )
                )
                table.show(console, found)
                table.write(json, standings)


@benchmark.command()
def steadiness(
    data: Annotated[str, typer.Option(help="Data sets of the quality benchmark, with commas between.")] = (
        "telco_ibm,simulated"
    ),
    samples: Annotated[int, typer.Option(min=1, help="Bootstrap samples to train on again.")] = 5,
    budget: SearchBudget = "",
    home: QualityHome = None,
    json: Annotated[Path, typer.Option(help="Where the figures go as JSON.")] = Path("steadiness.json"),
) -> None:
    """How little health hops, and how few change band, when a model is trained again on other samples of customers."""
    from experiments.benchmarks.errors import BenchmarkError
    from experiments.benchmarks.quality import steadiness as table
    from experiments.benchmarks.quality.table import PROTOCOLS
    from features.config.search_budget import Budget
    from features.errors import FeaturesError
    from training.errors import TrainingError

    errors = Console(stderr=True)

    def told(what: str) -> None:
        errors.print(what, style="dim", highlight=False)

    with _one_sentence(BenchmarkError, FeaturesError, TrainingError, SimulationError, ValueError):
        allowed = Budget.parse(budget) if budget else None
        folder = home or _in_home("quality")
        with _quiet():
            names = _named(data, PROTOCOLS, "data set")
            found = [table.measured(name, folder, allowed, samples, told) for name in names]
    table.show(Console(), found)
    table.write(json, found)


def _in_home(name: str) -> Path:
    from features.config.environment import Environment

    return Environment.from_environment().home / name


@contextlib.contextmanager
def _one_sentence(*mistakes: type[Exception]) -> Iterator[None]:
    """End with exit code 2 and what one of `mistakes` says."""
    try:
        yield
    except mistakes as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep libraries' notes to programmers to themselves."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda *_, **__: None
        yield


def _named(chosen: str, known: Iterable[str], what: str) -> list[str]:
    """The names in a list with commas between.

    Raises:
        ValueError: one is not known.
    """
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ValueError(f"There is no {what} {name!r}: choose from {', '.join(known)}.")
    return names


class _Report:
    """Turns told shares of work into progress bars, one a kind of work."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, share: float) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=1.0)
        self._bars.advance(self._tasks[what], share)


def _bars(console: Console) -> Progress:
    return Progress(TextColumn("{task.description:<18}"), BarColumn(), TimeElapsedColumn(), console=console)


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


if __name__ == "__main__":
    app()
