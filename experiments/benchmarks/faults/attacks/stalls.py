"""Stores that stop or freeze while a server is asked: who does not need them goes on, and nobody waits for long."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from experiments.benchmarks.faults.business import Ground
from experiments.benchmarks.faults.commands import run
from experiments.benchmarks.faults.seen import Seen, counted
from experiments.benchmarks.faults.servers import Answer, Server, attacked, score_of, timed
from experiments.benchmarks.faults.stores import postgresql_server, redis_server

STOPPED_SECONDS, FROZEN_SECONDS, REDIS_SECONDS = 20.0, 40.0, 20.0
CALLERS = 60
_SLOW = 15.0
"""Seconds within which whoever needs PostgreSQL is refused: it may take five for a statement, and five to connect anew."""
_SLOW_REDIS = 5.0
_QUICK = 2.0
"""Seconds within which everybody else is answered, on a machine that is busy."""


def postgresql_stalls(ground: Ground) -> Iterator[Seen]:
    """Scores outlive the database."""
    with postgresql_server() as database:
        home = ground.home("postgresql")
        with attacked(home, KEEPWELL_DATABASE_URL=database.url) as server:
            yield from _warmed(ground, server)
            database.stop()
            try:
                yield from _outlived(f"PostgreSQL stopped for {STOPPED_SECONDS:g} s", ground, server, STOPPED_SECONDS)
            finally:
                database.start()
            yield _recovers("PostgreSQL started again", server)
            with database.frozen():
                yield from _outlived(f"PostgreSQL frozen for {FROZEN_SECONDS:g} s", ground, server, FROZEN_SECONDS)
            yield _recovers("PostgreSQL thawed", server)


def redis_stalls(ground: Ground) -> Iterator[Seen]:
    """What needs no Redis does not wait for one that is frozen, and what needs it is refused soon."""
    home = ground.home("redis-stalls")
    with redis_server(home.parent) as store:
        run(home, "features", "build", str(ground.config), KEEPWELL_ONLINE_STORE=store.url)
        with attacked(home, KEEPWELL_ONLINE_STORE=store.url) as server, ThreadPoolExecutor(CALLERS) as pool:
            yield from _warmed(ground, server)
            attack = f"Redis frozen for {REDIS_SECONDS:g} s, {CALLERS} callers"
            with store.frozen():
                until = time.monotonic() + REDIS_SECONDS
                calling = [pool.submit(_calls, server, score_of(one), until, 0.5) for one in ground.customers[:CALLERS]]
                time.sleep(0.2)
                others = _calls(server, "/metrics", until, 0.5, "/v1/scores?limit=10", "/livez")
                refused = [answer for caller in calling for answer in caller.result()]
            yield _refused(attack, "every score is", refused, _SLOW_REDIS)
            yield _quick(attack, "/metrics, /livez and /v1/scores", others)
            yield _recovers("Redis thawed", server)


def _warmed(ground: Ground, server: Server) -> Iterator[Seen]:
    statuses = [*server.scores(ground.customers[:20]), server.ask("/v1/scores?limit=10").status]
    yield Seen("before", "scores are 200", counted(statuses), set(statuses) == {200})


def _outlived(attack: str, ground: Ground, server: Server, seconds: float) -> Iterator[Seen]:
    until = time.monotonic() + seconds
    with ThreadPoolExecutor(3) as pool:
        scores = pool.submit(_calls, server, score_of(ground.customers[0]), until, 0.25, score_of(ground.customers[1]))
        ready = pool.submit(_calls, server, "/readyz", until, 1.0)
        pages = pool.submit(_calls, server, "/v1/scores?limit=10", until, 1.0)
        others = _calls(server, "/livez", until, 0.5, "/metrics")
    yield _quick(attack, "scores with a known key", scores.result())
    yield _quick(attack, "/livez and /metrics", others)
    yield _refused(attack, "/readyz and /v1/scores are", [*ready.result(), *pages.result()], _SLOW)


def _recovers(attack: str, server: Server) -> Seen:
    ready = server.becomes_ready()
    status = server.ask("/v1/scores?limit=10").status
    return Seen(
        attack, "ready again within a minute", f"{'ready' if ready else 'not ready'}, {status}", ready and status == 200
    )


def _quick(attack: str, who: str, answers: Sequence[Answer]) -> Seen:
    slowest = max(answer.seconds for answer in answers)
    return Seen(
        attack,
        f"{who}: 200 within {_QUICK:g} s",
        f"{counted(answer.status for answer in answers)}, slowest after {slowest:.2f} s",
        {answer.status for answer in answers} == {200} and slowest < _QUICK,
    )


def _refused(attack: str, who: str, answers: Sequence[Answer], within: float) -> Seen:
    slowest = max(answer.seconds for answer in answers)
    return Seen(
        attack,
        f"{who} 503 with Retry-After, within {within:g} s",
        f"{counted(answer.status for answer in answers)}, slowest after {slowest:.1f} s",
        {answer.status for answer in answers} == {503}
        and all("retry-after" in answer.headers for answer in answers)
        and slowest < within,
    )


def _calls(server: Server, path: str, until: float, pause: float, *others: str) -> list[Answer]:
    """What is answered to a path, and to others in turn with it, asked again and again over one connection."""
    answers: list[Answer] = []
    with server.calling() as client:
        while time.monotonic() < until:
            answers += [timed(client, one) for one in (path, *others)]
            time.sleep(pause)
    return answers
