"""How often a key may call."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from serving.errors import TooManyRequests

_BURST_SECONDS = 60.0


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class RateLimiter:
    """A token bucket per key: `rate` requests a second, in bursts of up to a minute's worth; a rate of 0 never refuses.

    Each worker counts by itself. Not locked: it is used from the event loop only.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = max(1.0, rate * _BURST_SECONDS)
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
