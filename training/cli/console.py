"""What the commands share: progress bars, and how a mistake ends one."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from features.errors import FeaturesError
from features.mistakes import ending
from models.errors import ModelsError
from training.errors import GateRefused, TrainingError

MISTAKE = 2
REFUSED = 3


class ProgressBars:
    """A bar for each step of a command, on stderr: what `Progress` asks for."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )

    def __enter__(self) -> ProgressBars:
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
def exit_on_error() -> Iterator[None]:
    """End with one sentence: 3 for a refused gate, 2 for any other mistake."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    with ending(_exit, FeaturesError, ModelsError, TrainingError, otherwise="The training"), warnings.catch_warnings():
        # Libraries' notes to programmers; some switch them on again when imported, so they are not filtered but
        # not shown. What a user should know is in the report.
        warnings.showwarning = lambda *_, **__: None
        yield


def _exit(sentence: str, error: Exception) -> NoReturn:
    print(sentence, file=sys.stderr)
    raise typer.Exit(REFUSED if isinstance(error, GateRefused) else MISTAKE)
