"""The command `python -m experiments`: how we find out."""

from __future__ import annotations

import typer

from experiments.cli import compare, decisions, demo, faults, foretold, mistakes, quality, simulate, speed
from experiments.cli.console import Commands
from features.words import print_any_name

app = typer.Typer(
    cls=Commands,
    help="A simulated business, models side by side, speed and quality.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def experiments() -> None:
    """How we find out: a simulated business, models side by side, speed and quality."""


app.command()(simulate.simulate)
app.command()(demo.demo)
app.command()(demo.screenshots)
app.command()(compare.compare)
app.command()(compare.card)

benchmark = typer.Typer(
    no_args_is_help=True, help="Speed, quality and decisions, beside what a user would pick instead; attacks."
)
app.add_typer(benchmark, name="benchmark")


@benchmark.callback()
def benchmarks() -> None:
    """How fast and how good, every figure beside its peer's, in one run; and what holds under attack."""


benchmark.command()(speed.speed)
benchmark.command()(decisions.decisions)
benchmark.command()(foretold.horizons)
benchmark.command()(foretold.reasons)
benchmark.command()(decisions.recommendations)
benchmark.command()(foretold.value)
benchmark.command()(quality.quality)
benchmark.command()(quality.steadiness)
benchmark.command()(quality.worlds)
benchmark.command()(faults.faults)
benchmark.command()(mistakes.mistakes)


def main() -> None:
    """Run the command."""
    print_any_name()
    app()


if __name__ == "__main__":
    main()
