"""What an attack saw: one claim, the figures, and whether it held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seen:
    """One row of the table."""

    attack: str
    holds: str
    """What should hold."""
    seen: str
    held: bool | None
    """None where the attack could not be made; `seen` says why."""


class Skipped(Exception):
    """An attack cannot be made on this machine; says what it lacks."""


def counted(statuses: Iterable[int]) -> str:
    """How often each status was answered, such as `200 × 48, 503 × 2`."""
    return ", ".join(f"{status} × {times:,}" for status, times in sorted(Counter(statuses).items())) or "nothing"
