"""Threads for what waits, apart by what it waits for: where one store stalls, the routes of the others go on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from serving.errors import Overloaded

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 40
_MOST_WAITING = 100


class Pool(StrEnum):
    """What is waited for; the pages have the event loop's own threads."""

    SCORES = "scores"
    """The feature store."""
    DATABASE = "database"
    KEYS = "keys"
    """The database, for keys that are not known yet."""
    EVENTS = "events"
    """The log of live events."""
    READINESS = "readiness"
    FIGURES = "figures"


_limiters: RunVar[dict[Pool, CapacityLimiter]] = RunVar("thread_pools")


async def run_in(pool: Pool, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `function` gives, run in a thread of the pool.

    Raises:
        Overloaded: too many wait for its threads already.
    """
    try:
        limiters = _limiters.get()
    except LookupError:
        limiters = {}
        _limiters.set(limiters)
    limiter = limiters.get(pool)
    if limiter is None:
        limiter = limiters[pool] = CapacityLimiter(_THREADS)
    if limiter.statistics().tasks_waiting >= _MOST_WAITING:
        raise Overloaded
    return await to_thread.run_sync(functools.partial(function, *args, **kwargs), limiter=limiter)


def within(pool: Pool) -> Callable[[Callable[P, T]], Callable[P, Coroutine[Any, Any, T]]]:
    """Let a route's function, which waits, run in threads of the pool."""

    def decorate(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
        @functools.wraps(function)
        async def run(*args: P.args, **kwargs: P.kwargs) -> T:
            return await run_in(pool, function, *args, **kwargs)

        return run

    return decorate
