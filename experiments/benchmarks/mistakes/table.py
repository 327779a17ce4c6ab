"""The benchmark of mistakes: homes are made, cases judged, and each distinct failure is shown with a case that shows it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.benchmarks.errors import BenchmarkError
from experiments.benchmarks.mistakes import business, workers
from experiments.benchmarks.mistakes.case import Case, Verdict
from experiments.benchmarks.mistakes.homes import STAGES
from experiments.benchmarks.mistakes.judge import run, standing_in
from features.atomic_write import write_atomically


@contextmanager
def homes(stages: Sequence[str]) -> Iterator[tuple[Path, Path]]:
    """A folder with a home of each of these stages, and one for cases; both go afterwards.

    Raises:
        BenchmarkError: a home cannot be made even where nothing is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="keepwell-mistakes-", ignore_cleanup_errors=True) as folder:
        stood, under = Path(folder, "stood"), Path(folder, "cases")
        stood.mkdir()
        under.mkdir()
        for stage in stages:
            _make(Path(folder, stage), STAGES[stage])
            made = Path(folder, stage, "home")
            made.mkdir(exist_ok=True)
            made.rename(stood / stage)
        yield stood, under


def _make(folder: Path, lines: Sequence[tuple[str, ...]]) -> None:
    folder.mkdir()
    business.write(folder, Case("toml", 0, 0).draws(), 400)
    with standing_in(folder):
        for line in lines:
            code, _, said, error = run(line)
            if code != 0:
                raise BenchmarkError(f"'python -m {' '.join(line)}' ends with {code}: {said}{error or ''}") from error


def judged(
    cases: Sequence[Case],
    cores: int,
    kept: Path | None,
    heard: Callable[[Verdict], None],
) -> list[Verdict]:
    """The verdicts on cases, on so many processes side by side."""
    with homes(tuple(STAGES)) as (stood, under):
        return workers.judged(cases, cores, stood, under, kept, heard)


def failures(verdicts: Sequence[Verdict]) -> Mapping[str, list[Verdict]]:
    """Verdicts on cases that failed by what is wrong, most frequent first."""
    grouped: dict[str, list[Verdict]] = {}
    for one in verdicts:
        if one.failure is not None:
            grouped.setdefault(one.failure, []).append(one)
    return dict(sorted(grouped.items(), key=lambda item: -len(item[1])))


def show(console: Console, verdicts: Sequence[Verdict]) -> None:
    """Print how cases ended and, for each distinct failure, how to see one again."""
    shown = Table(title=f"{len(verdicts):,} mistakes", title_justify="left")
    for column in ("kind", "cases", "went well", "were told why not", "failed"):
        shown.add_column(column, justify="left" if column == "kind" else "right")
    by_kind: dict[str, list[Verdict]] = {}
    for one in verdicts:
        by_kind.setdefault(one.case.kind, []).append(one)
    for kind, each in by_kind.items():
        failed = sum(one.failure is not None for one in each)
        well = sum(one.failure is None and one.code == 0 for one in each)
        shown.add_row(kind, *(f"{count:,}" for count in (len(each), well, len(each) - well - failed, failed)))
    console.print(shown)
    for failure, each in failures(verdicts).items():
        line = " ".join(each[0].line)[:100]
        console.print(Text(f"{len(each):,} × {failure}\n    {line!r}: {each[0].case}"))


def write(path: Path, verdicts: Sequence[Verdict]) -> None:
    """All verdicts as JSON."""
    write_atomically(path, json.dumps([asdict(one) for one in verdicts], indent=1) + "\n")
