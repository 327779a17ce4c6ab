"""How far a command is: named steps, each of some parts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """Where a run says how far it is."""

    def step(self, description: str, total: int = 1) -> AbstractContextManager[Callable[[], None]]:
        """Name a step of `total` parts; the context gives the function to call after each part."""
        ...
