"""The commands `python -m experiments benchmark quality`, `steadiness` and `worlds`: how good predictions are, how steady
health is, and how often the gates are right."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.cli.console import ProgressBars, exit_on_error, names_in, quiet, saying
from experiments.simulation.errors import SimulationError

# What the benchmarks that train share.
SearchBudget = Annotated[str, typer.Option(help='Of each search, such as "10 trials"; default as training has it.')]
QualityHome = Annotated[
    Path | None, typer.Option(help="Where features are built and kept; default $KEEPWELL_HOME/quality.")
]


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

    say, console = saying(Console(stderr=True)), Console(width=140)
    standings: list[table.Standing] = []
    with exit_on_error(BenchmarkError, FeaturesError, TrainingError, SimulationError, ValueError):
        allowed = Budget.parse(budget) if budget else None
        left_out = names_in(without, PEERS, "peer")
        peers = [peer for peer in PEERS if peer not in left_out]
        folder = home or _default_home()
        with quiet():
            for name in names_in(data, table.PROTOCOLS, "data set") or table.PROTOCOLS:
                found = table.measured(name, folder, allowed, peers, say)
                standings += found
                table.show(console, found)
                table.write(json, standings)


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
    from experiments.benchmarks.quality.steadiness import measured, show, write
    from experiments.benchmarks.quality.table import PROTOCOLS
    from features.config.search_budget import Budget
    from features.errors import FeaturesError
    from training.errors import TrainingError

    say = saying(Console(stderr=True))
    with exit_on_error(BenchmarkError, FeaturesError, TrainingError, SimulationError, ValueError):
        allowed = Budget.parse(budget) if budget else None
        folder = home or _default_home()
        with quiet():
            names = names_in(data, PROTOCOLS, "data set")
            found = [measured(name, folder, allowed, samples, say) for name in names]
    show(Console(), found)
    write(json, found)


def worlds(
    count: Annotated[
        int, typer.Option("--worlds", min=1, help="So many of each kind, with a signal and without.")
    ] = 200,
    kinds: Annotated[str, typer.Option(help="What is judged, with commas between; default both.")] = "model,policy",
    budget: Annotated[str, typer.Option(help="Of each search of a model.")] = "3 trials",
    seed: Annotated[int, typer.Option(help="Of the first world; the others follow.")] = 1,
    cores: Annotated[int, typer.Option(min=0, help="Processes side by side; 0 takes all cores.")] = 0,
    json: Annotated[Path, typer.Option(help="Where every verdict goes as JSON.")] = Path("worlds.json"),
) -> None:
    """How often the gates are right: small worlds of chance alone, which may not pass, and worlds with a modest signal."""
    from experiments.benchmarks.quality import worlds as benchmark
    from features.config.search_budget import Budget
    from features.errors import FeaturesError
    from training.errors import TrainingError

    with exit_on_error(FeaturesError, TrainingError, ValueError):
        drawn = benchmark.worlds(names_in(kinds, benchmark.KINDS, "kind"), count, seed)
        with quiet(), ProgressBars(Console(stderr=True)) as bars:
            found = benchmark.judged(
                drawn,
                Budget.parse(budget),
                cores or len(os.sched_getaffinity(0)),
                lambda verdict: bars(f"Judging a {verdict.world.kind}", 1.0 / (2 * count)),
            )
    benchmark.show(Console(width=140), found)
    benchmark.write(json, found)


def _default_home() -> Path:
    from features.config.environment import Environment

    return Environment.from_environment().home / "quality"
