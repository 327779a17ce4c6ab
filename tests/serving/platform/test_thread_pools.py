"""A store that is stopped, frozen or empty delays nobody for long, and those who do not need it not at all."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import redis

from experiments.benchmarks.faults.stores import PostgreSQL
from serving.auth.api_keys import ApiKeys, Role
from serving.platform.database import Database
from serving.platform.settings import Settings

from ..conftest import Running, Shop, build, make_keys, serving, settings_of, wait_for

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

SCORE = "/v1/customers/C00001/score"
SLACK = 2.0
"""Seconds that a machine that is busy may add."""


def timed(client: httpx.Client, path: str) -> tuple[int, float, httpx.Headers]:
    begun = time.monotonic()
    answer = client.get(path)
    return answer.status_code, time.monotonic() - begun, answer.headers


@contextlib.contextmanager
def calling(server: Running, keys: dict[Role, str]) -> Iterator[httpx.Client]:
    """A caller whose key the server knows."""
    headers = {"Authorization": f"Bearer {keys[Role.SCORER]}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        assert client.get(SCORE).status_code == 200
        assert client.get("/v1/scores").status_code == 200
        yield client


def refused(client: httpx.Client, path: str, within: float) -> None:
    """It is a 503 that says when to try again, in time."""
    status, seconds, headers = timed(client, path)
    assert status == 503
    assert int(headers["retry-after"]) >= 1
    assert seconds < within + SLACK


def test_scores_outlive_a_database_that_is_frozen_or_stopped(shop: Shop, postgresql: PostgreSQL) -> None:
    settings = settings_of(shop.home, database_url=postgresql.url, statement_seconds=1.0)
    keys = make_keys(settings)
    with serving(settings) as server, calling(server, keys) as client:
        with postgresql.frozen():
            frozen_at = time.monotonic()
            refused(client, "/v1/scores", within=2.0)
            # Whoever comes next is told at once.
            refused(client, "/readyz", within=2.0)
            while time.monotonic() - frozen_at < 8:
                for path in (SCORE, "/livez", "/metrics"):
                    status, seconds, _ = timed(client, path)
                    assert (path, status) == (path, 200)
                    assert seconds < SLACK
                time.sleep(0.5)
        wait_for(lambda: client.get("/v1/scores").status_code == 200, 60)
        wait_for(server.ready, 60)
        postgresql.stop()
        try:
            stopped_at = time.monotonic()
            refused(client, "/v1/scores", within=2.0)
            refused(client, "/readyz", within=2.0)
            while time.monotonic() - stopped_at < 6:
                assert client.get(SCORE).status_code == 200
                time.sleep(0.5)
            stranger = {"Authorization": "Bearer kw_nobody"}
            assert httpx.get(server.url + SCORE, headers=stranger, timeout=60).status_code == 503
        finally:
            postgresql.start()
        wait_for(lambda: client.get("/v1/scores").status_code == 200, 60)
        assert client.post("/v1/decisions", json={"customer_id": "C00001"}).status_code == 200


def test_of_many_who_meet_a_frozen_database_none_waits_for_the_others(shop: Shop, postgresql: PostgreSQL) -> None:
    settings = settings_of(shop.home, database_url=postgresql.url, statement_seconds=1.0)
    keys = {Role.SCORER: _again(settings)}
    with serving(settings) as server, calling(server, keys) as client, ThreadPoolExecutor(60) as pool:
        with postgresql.frozen():
            asked = [pool.submit(timed, client, "/v1/scores") for _ in range(60)]
            assert client.get(SCORE).status_code == 200
            answers = [one.result() for one in asked]
        assert {status for status, _, _ in answers} == {503}
        assert max(seconds for _, seconds, _ in answers) < 4 + SLACK
        wait_for(lambda: client.get("/v1/scores").status_code == 200, 60)


def _again(settings: Settings) -> str:
    """A key in a database that may have keys already."""
    database = Database(settings.database)
    database.migrate()
    secret = ApiKeys(database).add(f"again-{time.time_ns()}", Role.SCORER)
    database.close()
    return secret


@pytest.mark.redis
def test_what_needs_no_redis_does_not_wait_for_one_that_is_frozen(shop: Shop, start_redis: Callable[..., int]) -> None:
    url = f"redis://127.0.0.1:{start_redis()}/0"
    build(shop.home, online_store=url)
    with redis.Redis.from_url(url) as connection:
        pid = connection.info("server")["process_id"]
    with serving(shop.settings) as server, calling(server, shop.keys) as client, ThreadPoolExecutor(60) as pool:
        os.kill(pid, signal.SIGSTOP)
        try:
            asked = [pool.submit(timed, client, SCORE) for _ in range(60)]
            for path in ("/v1/scores", "/metrics", "/livez"):
                status, seconds, _ = timed(client, path)
                assert (path, status) == (path, 200)
                assert seconds < SLACK
            answers = [one.result() for one in asked]
            assert {status for status, _, _ in answers} == {503}
            assert all(int(headers["retry-after"]) >= 1 for _, _, headers in answers)
            assert max(seconds for _, seconds, _ in answers) < 2 + SLACK
            refused(client, "/readyz", within=2.0)
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: client.get(SCORE).status_code == 200, 60)
        wait_for(server.ready, 60)


@pytest.mark.redis
def test_a_redis_that_was_emptied_makes_nobody_unknown(shop: Shop, start_redis: Callable[..., int]) -> None:
    url = f"redis://127.0.0.1:{start_redis()}/0"
    build(shop.home, online_store=url)
    with serving(shop.settings) as server, calling(server, shop.keys) as client:
        assert client.get("/v1/customers/nobody/score").status_code == 404
        with redis.Redis.from_url(url) as connection:
            connection.flushall()
        assert {client.get(f"/v1/customers/C{n:05d}/score").status_code for n in range(1, 40)} == {503}
        refused(client, "/readyz", within=2.0)
        build(shop.home, online_store=url)
        wait_for(server.ready, 60)
        assert client.get(SCORE).status_code == 200
