"""A case: what a user got wrong, drawn from a seed and a number, and what came of it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["toml", "file", "environment", "command"]
KINDS: tuple[Kind, ...] = ("toml", "file", "environment", "command")
Line = tuple[str, ...]
"""A command as it is typed after `python -m`: the package, then its arguments; `READ` and a TOML is half a build."""
READ = "features.ingestion"
"""Reads the files of a TOML and stops there: most of what can be wrong with files shows in a tenth of the time."""


@dataclass(frozen=True, slots=True)
class Case:
    """One user's mistake, which is the same whenever it is drawn again."""

    kind: Kind
    seed: int
    number: int

    def __str__(self) -> str:
        return f"--kinds {self.kind} --seed {self.seed} --first {self.number} --cases 1"

    def draws(self) -> random.Random:
        """The case's own source of chance."""
        return random.Random(f"{self.kind} {self.seed} {self.number}")


@dataclass(frozen=True, slots=True)
class Typed:
    """What is typed in a case's folder: lines, until one fails, and the environment that they are typed in."""

    lines: tuple[Line, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a case ended: the last line that ran, its exit code, what it said on stderr; `failure` is None where that is an answer."""

    case: Case
    line: Line
    code: int | None
    said: str
    failure: str | None = None
    """What is wrong, alike in all cases of one cause: the exception and our innermost line, or what the output holds."""
    traceback: str = ""
    seconds: float = 0.0


def cases(kinds: tuple[Kind, ...], count: int, seed: int, first: int) -> list[Case]:
    """So many cases, from number `first` on, by turns of each kind."""
    return [Case(kinds[number % len(kinds)], seed, number) for number in range(first, first + count)]
