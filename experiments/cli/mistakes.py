"""The command `python -m experiments benchmark mistakes`: what users are told who got something wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console

from experiments.cli.console import ProgressBars, exit_on_error, names_in


def mistakes(
    count: Annotated[int, typer.Option("--cases", min=1, help="So many, by turns of each kind.")] = 400,
    kinds: Annotated[str, typer.Option(help="Of mistakes, with commas between; default all four.")] = "",
    seed: Annotated[int, typer.Option(help="That all cases are drawn from.")] = 1,
    first: Annotated[int, typer.Option(min=0, help="The number of the first case; the others follow.")] = 0,
    cores: Annotated[int, typer.Option(min=0, help="Processes side by side; 0 takes all cores.")] = 0,
    keep: Annotated[Path | None, typer.Option(help="Folder for the files of each case that failed.")] = None,
    json: Annotated[Path, typer.Option(help="Where every verdict goes as JSON.")] = Path("mistakes.json"),
) -> None:
    """Get TOMLs, files, environments and commands wrong: each mistake must be told in a sentence, none by a traceback."""
    from experiments.benchmarks.errors import BenchmarkError
    from experiments.benchmarks.mistakes import table
    from experiments.benchmarks.mistakes.case import KINDS, Kind, Verdict, cases

    with exit_on_error(BenchmarkError, ValueError):
        chosen = names_in(kinds, KINDS, "kind") or KINDS
        drawn = cases(tuple(cast("Kind", kind) for kind in chosen), count, seed, first)
        errors, told = Console(stderr=True), set[str | None]({None})
        with ProgressBars(errors) as bars:

            def heard(verdict: Verdict) -> None:
                bars("Getting it wrong", 1.0 / len(drawn))
                if verdict.failure not in told:
                    told.add(verdict.failure)
                    errors.print(f"{verdict.failure}: {verdict.case}", markup=False, highlight=False, soft_wrap=True)

            processes = min(len(drawn), cores or len(os.sched_getaffinity(0)))
            found = table.judged(drawn, processes, None if keep is None else keep.absolute(), heard)
    table.show(Console(width=140), found)
    table.write(json, found)
    if len(drawn) == 1:
        print(f"{' '.join(found[0].line)!r} ends with {found[0].code}:\n{found[0].said}{found[0].traceback}")
    if any(one.failure is not None for one in found):
        raise typer.Exit(1)
