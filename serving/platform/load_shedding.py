"""Refusing early what could only be answered late: a server that is asked for more than it can do stays quick for the rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PATIENCE_SECONDS = 1.0
"""How long all requests must have waited too long: a new champion that is being loaded is no reason to refuse anybody."""


class Shedder:
    """Admits requests as long as they do not wait; it is used from the event loop only.

    The event loop takes all requests that have come, and answers them in turn. Once every such turn has lasted longer than
    `max_wait` for a second, a queue stands that will not go away: from then on, those whose turn would come after
    `max_wait` are refused, which costs a fraction of an answer, until a turn is short again. Of those that wait for a
    thread, no more than `max_waiting` are let in. Source: Nichols and Jacobson (2012), Controlling queue delay.

    Args:
        max_wait: seconds; 0 never refuses for it.
        max_waiting: requests that are being answered at a time.
    """

    def __init__(self, max_wait: float, max_waiting: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._max_wait = max_wait or float("inf")
        self._max_waiting = max_waiting
        self._clock = clock
        self._turn: float | None = None
        self._late_since: float | None = None
        self._waiting = 0

    def enter(self) -> bool:
        """Whether a request is admitted; `leave` ends it then."""
        now = self._clock()
        if self._turn is None:
            self._turn = now
            # Runs after all requests that are ready by now.
            asyncio.get_running_loop().call_soon(self._next_turn)
        is_late = self._late_since is not None and now - self._late_since > PATIENCE_SECONDS
        if (is_late and now - self._turn > self._max_wait) or self._waiting >= self._max_waiting:
            return False
        self._waiting += 1
        return True

    def leave(self) -> None:
        """An admitted request was answered."""
        self._waiting -= 1

    def _next_turn(self) -> None:
        assert self._turn is not None
        if self._clock() - self._turn <= self._max_wait:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = self._turn
        self._turn = None
