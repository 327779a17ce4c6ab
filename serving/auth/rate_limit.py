"""How often a key may call, and how often an address may name a key that nobody has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import TTLCache

from serving.errors import TooManyRequests, TooManySignIns

_BURST_SECONDS = 5.0
_BURST = 60.0
_FAILURES = 10
_FAILURE_SECONDS = 60.0
_MOST_ADDRESSES = 10_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class RateLimiter:
    """A token bucket per key: `rate` requests a second, in bursts; a rate of 0 never refuses.

    A burst is five seconds' worth; where that is less than sixty requests, it is these, but not more than a minute's worth.

    Each worker counts by itself. Not locked: it is used from the event loop only.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = max(1.0, min(rate * 60.0, max(rate * _BURST_SECONDS, _BURST)))
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, name: str) -> None:
        """Count one request of the key `name`.

        Raises:
            TooManyRequests: its bucket is empty; says in how many seconds one request is free again.
        """
        if self._rate == 0:
            return
        now = self._clock()
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(self._burst, now)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled_at) * self._rate)
        bucket.filled_at = now
        if bucket.tokens < 1.0:
            raise TooManyRequests((1.0 - bucket.tokens) / self._rate)
        bucket.tokens -= 1.0


class FailedSignIns:
    """Counts the sign-ins that failed, by address: ten a minute are mistakes, more are guesses. Each worker counts by itself."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        # A count is changed in place, and so goes a minute after the first failure.
        self._counts: TTLCache[str, list[int]] = TTLCache(_MOST_ADDRESSES, _FAILURE_SECONDS, clock)

    def check(self, address: str) -> None:
        """Let an address try.

        Raises:
            TooManySignIns: it failed too often.
        """
        with self._lock:
            if self._counts.get(address, [0])[0] >= _FAILURES:
                raise TooManySignIns(_FAILURE_SECONDS)

    def note(self, address: str) -> None:
        """A sign-in failed."""
        with self._lock:
            self._counts.setdefault(address, [0])[0] += 1
