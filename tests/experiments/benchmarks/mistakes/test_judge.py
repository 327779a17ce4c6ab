"""Mistakes of each kind are told in a sentence, and what is not told is found: the full number is `experiments benchmark mistakes`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from experiments.benchmarks.mistakes import commands, table
from experiments.benchmarks.mistakes.case import KINDS, Case, Verdict, cases
from experiments.benchmarks.mistakes.judge import judge
from experiments.benchmarks.mistakes.workers import no_server
from features.config.business import Business

# What libraries that were imported before say to programmers; `judge` lets through what users see.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A folder with an empty home, and one for cases; no case becomes a server or settles how this process logs."""
    monkeypatch.setattr("serving.platform.workers.serve", no_server)
    monkeypatch.setattr("serving.platform.logs.configure", lambda _: None)
    stood, under = tmp_path / "stood", tmp_path / "cases"
    (stood / "empty").mkdir(parents=True)
    under.mkdir()
    return stood, under


def test_mistakes_are_told_in_a_sentence(places: tuple[Path, Path]) -> None:
    verdicts = [judge(case, *places) for case in cases(KINDS, 48, 9, 0)]
    assert {failure: str(each[0].case) for failure, each in table.failures(verdicts).items()} == {}
    for kind in KINDS:  # they are mistakes: hardly any goes well
        codes = [verdict.code for verdict in verdicts if verdict.case.kind == kind]
        assert codes.count(2) > len(codes) / 3, kind
    assert not list(places[1].glob("*-*"))


def test_a_traceback_is_a_failure_that_can_be_seen_again(
    places: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> Business:
        raise KeyError(path)

    case = Case("toml", 4, 4)
    monkeypatch.setattr(Business, "load", broken)
    verdict = judge(case, *places, kept=tmp_path / "kept")
    assert verdict.failure is not None
    assert verdict.failure.startswith("KeyError at ")
    assert "KeyError" in verdict.traceback
    assert (tmp_path / "kept" / f"toml-4-{case.number}" / verdict.line[-1]).exists()
    console = Console(record=True, width=200)
    table.show(console, [verdict])
    assert f"--kinds toml --seed 4 --first {case.number} --cases 1" in console.export_text()


def test_a_case_is_the_same_whenever_it_is_drawn(places: tuple[Path, Path]) -> None:
    for kind in KINDS:
        case = Case(kind, 2, 5)
        once, again = judge(case, *places), judge(case, *places)
        assert (once.line, once.code, _without_folder(once)) == (again.line, again.code, _without_folder(again))


def _without_folder(verdict: Verdict) -> str:
    return verdict.said.partition("-5-")[2][8:] or verdict.said


def test_every_command_is_typed() -> None:
    typed = [" ".join(line) + " " for line in (*commands.LINES, *commands.REFUSED)]
    named = [
        name
        for package in ("features", "training", "serving", "experiments")
        for name in _names(typer.main.get_command(importlib.import_module(f"{package}.__main__").app), package)
    ]
    assert [name for name in named if not any(line.startswith(f"{name} ") for line in typed)] == sorted(
        set(commands.NOT_TYPED) - {"training run"}, key=named.index
    )


def _names(command: Any, said: str) -> Iterator[str]:
    if not hasattr(command, "commands"):
        yield said
        return
    for name, inner in command.commands.items():
        yield from _names(inner, f"{said} {name}")
