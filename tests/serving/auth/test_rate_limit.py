"""A bucket of requests for each key: it empties, fills again, and is never fuller than a burst."""

from __future__ import annotations

import pytest

from serving.auth.rate_limit import RateLimiter
from serving.errors import TooManyRequests


def test_a_bucket_fills_again() -> None:
    now = 100.0
    limiter = RateLimiter(2.0, clock=lambda: now)
    for _ in range(60):
        limiter.take("one")
    with pytest.raises(TooManyRequests) as refused:
        limiter.take("one")
    assert refused.value.retry_after == pytest.approx(0.5)
    limiter.take("another")
    now += 0.5
    limiter.take("one")
    with pytest.raises(TooManyRequests):
        limiter.take("one")
    now += 1e6
    for _ in range(60):
        limiter.take("one")
    with pytest.raises(TooManyRequests):
        limiter.take("one")


@pytest.mark.parametrize(("rate", "burst"), [(0.001, 1), (0.05, 3), (5.0, 60), (20.0, 100), (10_000.0, 50_000)])
def test_a_burst_is_seconds_of_much_and_a_minute_of_little(rate: float, burst: int) -> None:
    limiter = RateLimiter(rate, clock=lambda: 0.0)
    for _ in range(burst):
        limiter.take("one")
    with pytest.raises(TooManyRequests):
        limiter.take("one")


def test_a_rate_of_zero_never_refuses() -> None:
    limiter = RateLimiter(0.0)
    for _ in range(1000):
        limiter.take("one")
