"""A Redis that lost rows: emptied under a server, evicting under one, and evicting while it is filled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from experiments.benchmarks.errors import BenchmarkError
from experiments.benchmarks.faults.business import Ground
from experiments.benchmarks.faults.commands import run
from experiments.benchmarks.faults.seen import Seen, counted
from experiments.benchmarks.faults.servers import Server, attacked, eventually, score_of
from experiments.benchmarks.faults.stores import Redis, redis_server
from features.home import Home


def lost_rows(ground: Ground) -> Iterator[Seen]:
    """Customers whose rows are gone are never taken for unknown, and no build goes live with some of them missing."""
    home = ground.home("lost-rows")
    with redis_server(home.parent) as store:
        empty = store.used
        _build(ground, home, store)
        filled = store.used
        with attacked(home, KEEPWELL_ONLINE_STORE=store.url) as server:
            if set(server.scores(ground.customers[:20])) != {200}:
                raise BenchmarkError("Scores are not answered from Redis to begin with.")
            store.kill()
            store.start()
            yield from _emptied(ground, server)
            _build(ground, home, store)
            recovered = server.becomes_ready() and eventually(
                lambda: set(server.scores(ground.customers[:50])) == {200}
            )
            yield Seen(
                "a build into the emptied Redis",
                "the running server answers scores again",
                "it does" if recovered else "it does not",
                recovered,
            )
            _evict(store, empty + (store.used - empty) // 2)
            statuses = server.scores(ground.customers)
            yield Seen(
                f"allkeys-lru at half the memory, {store.evicted:,} keys evicted",
                "no customer is 404",
                counted(statuses),
                404 not in statuses and 503 in statuses and set(statuses) <= {200, 503},
            )
        store.kill()
        store.start("--maxmemory", str(empty + (filled - empty) * 2 // 3), "--maxmemory-policy", "allkeys-lru")
        before = Home(home).live
        ended = run(home, "features", "build", str(ground.config), KEEPWELL_ONLINE_STORE=store.url)
        yield Seen(
            f"a build while Redis evicts ({store.evicted:,} keys)",
            "it fails in a sentence, and nothing new goes live",
            f"exit code {ended.code}: {ended.last}",
            ended.code == 2 and Home(home).live == before and store.evicted > 0,
        )


def _emptied(ground: Ground, server: Server) -> Iterator[Seen]:
    statuses = server.scores(ground.customers)
    yield Seen(
        "Redis killed (-9) and restarted empty under a server",
        "every known customer's score is 503, none 404",
        counted(statuses),
        set(statuses) == {503},
    )
    unready = eventually(lambda: server.ready() == 503, 10)
    yield Seen("the same", "/readyz is 503", "503" if unready else "200", unready)
    many = server.ask("/v1/scores", method="POST", json={"customer_ids": list(ground.customers[:1000])})
    yield Seen("the same", "a request for 1,000 customers is 503", str(many.status), many.status == 503)
    hint = server.ask(score_of(ground.customers[0])).headers.get("retry-after")
    yield Seen("the same", "the 503 says Retry-After", hint or "nothing", hint is not None)


def _build(ground: Ground, home: Path, store: Redis) -> None:
    ended = run(home, "features", "build", str(ground.config), KEEPWELL_ONLINE_STORE=store.url)
    if ended.code:
        raise BenchmarkError(f"A build into Redis failed: {ended.last}")


def _evict(store: Redis, limit: int) -> None:
    store.told("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    store.told("CONFIG", "SET", "maxmemory", str(limit))
    # It throws away only as much at a time as does not delay others.
    eventually(lambda: store.used <= limit, 10)
