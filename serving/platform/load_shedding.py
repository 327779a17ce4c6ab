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

    Who is refused is who asks for more than their equal share: one caller's flood leaves the others their places, and
    their turns. So up to twice as many may be let in.

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
        self._waiting = _Shares()
        self._this_turn = _Shares()
        self._in_time: int | None = None
        """How many of this turn were let in within `max_wait`, once it is over."""

    def enter(self, caller: str = "") -> bool:
        """Whether a request of `caller` is admitted; `leave` ends it then."""
        now = self._clock()
        if self._turn is None:
            self._turn = now
            # Runs after all requests that are ready by now.
            asyncio.get_running_loop().call_soon(self._next_turn)
        waited = now - self._turn
        is_late = self._late_since is not None and now - self._late_since > PATIENCE_SECONDS
        if is_late and waited > self._max_wait:
            # Counted, not timed: refusals take time too, and those of a flood would use up everybody's.
            if self._in_time is None:
                self._in_time = self._this_turn.total
            if self._this_turn.total >= 2 * self._in_time or self._this_turn.is_spent(caller, self._in_time):
                return False
        if self._waiting.total >= self._max_waiting and (
            self._waiting.total >= 2 * self._max_waiting or self._waiting.is_spent(caller, self._max_waiting)
        ):
            return False
        self._waiting.add(caller)
        self._this_turn.add(caller)
        return True

    def leave(self, caller: str = "") -> None:
        """An admitted request of `caller` was answered."""
        self._waiting.remove(caller)

    def _next_turn(self) -> None:
        assert self._turn is not None
        if self._clock() - self._turn <= self._max_wait:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = self._turn
        self._turn = self._in_time = None
        self._this_turn = _Shares()


class _Shares:
    """How many places each caller has."""

    def __init__(self) -> None:
        self.total = 0
        self._counts: dict[str, int] = {}

    def add(self, caller: str) -> None:
        self.total += 1
        self._counts[caller] = self._counts.get(caller, 0) + 1

    def remove(self, caller: str) -> None:
        self.total -= 1
        left = self._counts[caller] - 1
        if left:
            self._counts[caller] = left
        else:
            del self._counts[caller]

    def is_spent(self, caller: str, among: int) -> bool:
        """Whether `caller` has an equal share of `among` places, or more."""
        mine = self._counts.get(caller, 0)
        return mine * (len(self._counts) + (not mine)) >= among
