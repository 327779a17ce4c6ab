"""Reference: what the effects of actions are measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from models.decisions.actions import NO_ACTION

NOTHING_DONE: Final = "nothing"
ACTION: Final = "action"
LOGGING: Final = "logging"
LOGGING_POLICY: Final = "logging policy"
"""What the policy that made a log is called in reports."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What code 0 of a log stands for: doing nothing, one named action, or the policy that made the log."""

    kind: Literal["nothing", "action", "logging"]
    name: str
    """What the source calls it."""

    @property
    def is_choice(self) -> bool:
        """Whether a decision may fall on it; nobody can choose the policy that made the log."""
        return self.kind != LOGGING

    @property
    def served(self) -> str:
        """Its name to whoever serves: doing nothing is `no_action`, whatever the source calls it."""
        return NO_ACTION if self.kind == NOTHING_DONE else self.name

    def __str__(self) -> str:
        return {NOTHING_DONE: "doing nothing", LOGGING: "the policy that made the log"}.get(self.kind, f"'{self.name}'")


DOING_NOTHING = Reference(NOTHING_DONE, NO_ACTION)
