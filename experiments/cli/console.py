"""What the commands share: how a mistake ends one, lists of names, and what is shown while they work."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from typer.core import TyperGroup

from features.errors import FeaturesError
from features.mistakes import ending
from features.words import shown


@contextlib.contextmanager
def exit_on_error(*mistakes: type[Exception]) -> Iterator[None]:
    """End with exit code 2 and what one of `mistakes` says, or what the system says of a file."""
    with ending(_exit, *mistakes):
        yield


def _exit(sentence: str, _: Exception) -> NoReturn:
    Console(stderr=True).print(sentence, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(2)


class Commands(TyperGroup):
    """Commands of which none ends with a traceback where a setting, or a file to read or to write, is not as it should be."""

    def invoke(self, ctx: Any) -> Any:
        with exit_on_error(FeaturesError), quiet():
            return super().invoke(ctx)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries' notes to programmers to themselves."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda *_, **__: None
        yield


def names_in(chosen: str, known: Iterable[str], what: str) -> list[str]:
    """The names in a list with commas between.

    Raises:
        ValueError: one is not known.
    """
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ValueError(f"There is no {what} {shown(name)}: choose from {', '.join(known)}.")
    return names


def saying(console: Console) -> Callable[[str], None]:
    """What says on a console which step begins."""
    return lambda step: console.print(step, style="dim", highlight=False)


class ProgressBars:
    """Turns shares of work into progress bars on a console, one a kind of work."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description:<18}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, what: str, share: float) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=1.0)
        self._progress.advance(self._tasks[what], share)
