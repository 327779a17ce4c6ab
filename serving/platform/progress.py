"""A progress bar that appears only for what takes its time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

PATIENCE_SECONDS = 2.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} rows/s")


class Bar:
    """A bar that shows itself once its work has taken two seconds, where somebody looks."""

    def __init__(self, what: str, total: int | None, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task(what, total=total)
        self._begun = time.monotonic()
        self._shown = False

    def advance(self, rows: int) -> None:
        """So many more rows are done."""
        self._progress.advance(self._task, rows)
        if not self._shown and self._console.is_terminal and time.monotonic() - self._begun > PATIENCE_SECONDS:
            self._shown = True
            self._progress.start()

    def expect(self, rows: int) -> None:
        """There will be about so many rows in all."""
        self._progress.update(self._task, total=rows)

    def close(self) -> None:
        """Take the bar away."""
        if self._shown:
            self._progress.stop()


@contextlib.contextmanager
def progress(what: str, total: int | None, *, quiet: bool = False) -> Iterator[Bar]:
    """A bar on stderr for as long as the block runs; `total` is in rows, None where it is not known; `quiet` is none."""
    bar = Bar(what, total, quiet)
    try:
        yield bar
    finally:
        bar.close()
