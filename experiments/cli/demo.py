"""The commands `python -m experiments demo` and `screenshots`: a simulated business, from nothing to its pages."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.console import exit_on_error

if TYPE_CHECKING:
    from features.home import Home

# A first look takes a minute; a search of its own length is one command away.
BUDGET = "3 trials"


def demo() -> None:
    """The main job from nothing: simulate a business, build its features, train, promote, and serve in the foreground."""
    from experiments.demo import api_key, first_call
    from features.errors import FeaturesError
    from models.errors import ModelsError
    from serving.errors import ServingError
    from serving.platform.settings import Settings

    with exit_on_error(FeaturesError, ModelsError, ServingError):
        settings = Settings.from_environment()
        prepare(settings.state)
        secret = api_key(settings)
        call = first_call(settings, secret)
    pages = f"http://{settings.host}:{settings.port}/"
    typer.echo(f"\nAPI key: {secret}\nOnce it serves: {call}\nThe pages: {pages} (sign in with the API key)\n")
    # Become the server: it keeps the terminal, and Ctrl-C ends it.
    os.execv(sys.executable, [sys.executable, "-m", "serving", "run"])


def prepare(home: Home) -> None:
    """Bring a simulated business to a champion, by the commands that a user would run; whatever stands is kept.

    Raises:
        typer.Exit: a command failed, and has said why.
        FeaturesError: the home holds another business, or its features cannot be built.
        ModelsError: the registry cannot be read.
    """
    from experiments.simulation.records.company import is_of_an_earlier_edition
    from models.registry.registry import Registry

    home.claim("simulated")
    config = home.path / "simulation" / "business.toml"
    if is_of_an_earlier_edition(config.parent):
        typer.echo(
            f"\n{os.path.relpath(config.parent)} was simulated by an earlier keepwell and stands: for today's business, run "
            "'make demo' in an empty home."
        )
    if not config.exists():
        from experiments.cli.simulate import simulate

        _step("experiments simulate", simulate)
    if not _is_built(home):
        from features.__main__ import build

        _step(f"features build {os.path.relpath(config)}", lambda: build(config))
    registry = Registry(home.tracking_uri, "simulated")
    if registry.champion() is None:
        if registry.challenger() is None:
            from training.cli.run import run

            _step(f"training run {os.path.relpath(config)} --budget {BUDGET}", lambda: run(config, budget=BUDGET))
        from training.cli.promotion import promote

        _step("training promote", promote)


def screenshots(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("serving/web/screenshots"),
) -> None:
    """Picture the pages of the demo's business, which must be built, for README and docs."""
    from experiments.demo import api_key
    from experiments.screenshots import take
    from features.errors import FeaturesError
    from features.generation import Generation
    from serving.errors import ServingError
    from serving.platform.settings import Settings

    with exit_on_error(FeaturesError, ServingError):
        settings = Settings.from_environment()
        Generation.current(settings.state)
        for path in take(settings, api_key(settings), out):
            typer.echo(f"{path.stat().st_size / 1000:6.0f} kB  {path}")


def _step(shown: str, command: Callable[[], None]) -> None:
    typer.echo(f"\n$ python -m {shown}")
    try:
        command()
    except typer.Exit:
        typer.echo(f"'python -m {shown}' failed; what stands is kept: run 'make demo' again.", err=True)
        raise


def _is_built(home: Home) -> bool:
    from features.errors import NoGeneration
    from features.generation import Generation

    try:
        Generation.current(home)
    except NoGeneration:
        return False
    return True
