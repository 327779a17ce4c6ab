"""A server that is asked for too much refuses some, is quick for the others, and soon is as before."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx
import pytest

from serving.platform.load_shedding import Shedder
from serving.scores.scorer import Explain, Scorer

from ..conftest import Shop, serving, settings_of

T = TypeVar("T")


def in_a_loop(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives, run on a thread of its own: a browser's loop may run on this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def test_a_queue_that_stays_is_cut_off_and_one_that_passes_is_not() -> None:
    now = 0.0

    async def run() -> list[list[bool]]:
        nonlocal now
        shedder = Shedder(max_wait=0.025, max_waiting=1000, clock=lambda: now)

        async def request() -> bool:
            nonlocal now
            admitted = shedder.enter()
            if admitted:
                now += 0.01
                shedder.leave()
            return admitted

        turns = []
        for size in (40, 2, 40, 40, 40, 10, 2, 10):
            turns.append(await asyncio.gather(*(request() for _ in range(size))))
            await asyncio.sleep(0)
        return turns

    passing, short, first, second, third, cut, few, after = in_a_loop(run())
    # 0.4 s of a queue pass; after a second of late turns, only those within 25 ms are let in; a short turn ends it.
    assert all(passing + short + first + second)
    assert all(third[:20])
    assert not any(third[22:])
    assert cut == [True] * 3 + [False] * 7
    assert all(few)
    assert all(after)


def test_only_so_many_are_answered_at_a_time() -> None:
    async def run() -> list[bool]:
        shedder = Shedder(max_wait=0, max_waiting=2)
        admitted = [shedder.enter() for _ in range(3)]
        shedder.leave()
        return [*admitted, shedder.enter()]

    assert in_a_loop(run()) == [True, True, False, True]


def test_one_caller_s_flood_leaves_the_others_their_places() -> None:
    async def run() -> None:
        shedder = Shedder(max_wait=0, max_waiting=10)
        assert [shedder.enter("flood") for _ in range(12)] == [True] * 10 + [False] * 2
        # Two share ten places, and then three.
        assert [shedder.enter("quiet") for _ in range(7)] == [True] * 5 + [False] * 2
        assert [shedder.enter("third") for _ in range(5)] == [True] * 4 + [False]
        assert not shedder.enter("flood")
        for caller, places in (("flood", 10), ("quiet", 5), ("third", 4)):
            for _ in range(places):
                shedder.leave(caller)
        assert [shedder.enter("third") for _ in range(12)] == [True] * 10 + [False] * 2

    in_a_loop(run())


def test_one_caller_s_flood_leaves_the_others_their_turns() -> None:
    now = 0.0

    async def run() -> list[tuple[str, bool]]:
        nonlocal now
        shedder = Shedder(max_wait=0.1, max_waiting=1000, clock=lambda: now)

        async def request(caller: str) -> tuple[str, bool]:
            nonlocal now
            admitted = shedder.enter(caller)
            now += 0.02 if admitted else 0.005  # a refusal is not free: those of a flood fill most of a turn
            if admitted:
                shedder.leave(caller)
            return caller, admitted

        for _ in range(4):
            await asyncio.gather(*(request("flood") for _ in range(40)))
            await asyncio.sleep(0)
        found = await asyncio.gather(*(request("quiet" if n % 20 == 19 else "flood") for n in range(60)))
        return list(found)

    found = in_a_loop(run())
    assert [admitted for caller, admitted in found if caller == "quiet"] == [True] * 3
    assert sum(admitted for caller, admitted in found if caller == "flood") < 8


def test_a_flood_is_shed_and_passes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as may wait do, all at once; who comes then is refused, and when they have gone, nobody is."""
    path, waiting = "/v1/customers/C00001/score", 4
    arrived, released = threading.Semaphore(0), threading.Event()
    score = Scorer.score

    def held(scorer: Scorer, customer_ids: Sequence[str], explain: Explain = Explain.TOP) -> list[Any]:
        arrived.release()
        assert released.wait(120)
        return list(score(scorer, customer_ids, explain))

    with (
        serving(settings_of(shop.home, max_waiting=waiting, max_wait_ms=0)) as server,
        httpx.Client(base_url=server.url, headers=shop.headers(), timeout=120) as client,
        ThreadPoolExecutor(waiting) as pool,
    ):
        monkeypatch.setattr(Scorer, "score", held)
        many = {"customer_ids": ["C00001"]}
        try:
            asked = [pool.submit(client.post, "/v1/scores", json=many) for _ in range(waiting)]
            assert all(arrived.acquire(timeout=120) for _ in range(waiting))
            refusals = [client.get(path) for _ in range(5)]
            assert client.get("/livez").status_code == 200
        finally:
            released.set()
        for refusal in refusals:
            assert refusal.status_code == 503
            assert refusal.headers["retry-after"] == "1"
            assert refusal.headers["content-type"] == "application/problem+json"
            assert refusal.json()["type"].endswith("overloaded")
        assert [answer.result().status_code for answer in asked] == [200] * waiting
        assert [client.get(path).status_code for _ in range(20)] == [200] * 20
        assert "keepwell_requests_shed_total 5.0" in client.get("/metrics").text
