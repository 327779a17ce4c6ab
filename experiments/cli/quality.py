"""The commands `python -m experiments benchmark quality` and `steadiness`: how good predictions are, and how steady health is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.cli.console import exit_on_error, names_in, quiet, saying
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


def _default_home() -> Path:
    from features.config.environment import Environment

    return Environment.from_environment().home / "quality"
