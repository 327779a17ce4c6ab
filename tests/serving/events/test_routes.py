"""Events over HTTP: a verdict for each, and nothing acknowledged that is not on disk."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import random
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from features.generation import Generation
from serving.app import create_app
from serving.auth.api_keys import Role
from serving.events.schemas import MAX_EVENTS
from serving.platform.settings import Settings

from ..conftest import Running, Shop, serving, settings_of, wait_for

SPAWN = multiprocessing.get_context("spawn")


def event(event_id: str | None = None, **more: Any) -> dict[str, Any]:
    said = {"customer_id": "C00042", "type": "ticket_opened", "occurred_at": "2026-01-27T10:00:00Z", **more}
    return said if event_id is None else {"event_id": event_id, **said}


def post(url: str, headers: dict[str, str], *events: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/events", json={"events": list(events)}, headers=headers, timeout=60)


def logged(shop: Shop) -> list[tuple[str, int]]:
    """Every id in the log, and how often it is there."""
    with contextlib.closing(sqlite3.connect(shop.home.event_log)) as connection:
        return connection.execute("SELECT event_id, count(*) FROM live_events GROUP BY 1 ORDER BY 1").fetchall()


@pytest.fixture
def server(shop: Shop) -> Iterator[Running]:
    with serving(shop.settings) as running:
        yield running


def test_each_event_has_its_verdict_in_order(server: Running, shop: Shop) -> None:
    ahead = (datetime.now(UTC) + timedelta(minutes=10)).isoformat()
    answer = post(
        server.url,
        shop.headers(Role.INGEST),
        event("e-1", value=None, channel="chat", text="the invoice is wrong again", properties={"topic": "billing"}),
        event("e-1", value=None, channel="chat", text="the invoice is wrong again", properties={"topic": "billing"}),
        event("e-1", text="other words"),
        event("e-2", occurred_at="2026-01-27T10:00:00"),
        event("e-3", occurred_at=ahead),
        event(),
        "no event",
    )
    assert answer.status_code == 202
    assert answer.json() == {
        "accepted": 2,
        "duplicates": 1,
        "rejected": 4,
        "results": [
            {"index": 0, "status": "accepted"},
            {"index": 1, "status": "duplicate"},
            {"index": 2, "status": "rejected", "field": "event_id", "reason": "conflict"},
            {"index": 3, "status": "rejected", "field": "occurred_at", "reason": "no zone"},
            {"index": 4, "status": "rejected", "field": "occurred_at", "reason": "future"},
            {"index": 5, "status": "accepted"},
            {"index": 6, "status": "rejected", "field": "", "reason": "no JSON object"},
        ],
    }
    figures = httpx.get(f"{server.url}/metrics").text
    for status, count in (("accepted", 2), ("duplicate", 1), ("rejected", 4)):
        assert f'keepwell_events_total{{status="{status}"}} {count}.0' in figures
    assert logged(shop) == [(None, 1), ("e-1", 1)]


def test_only_who_may_send_events_does_and_reads_nothing(server: Running, shop: Shop) -> None:
    for role in Role:
        status = post(server.url, shop.headers(role), event(role.value)).status_code
        assert status == (202 if role in (Role.INGEST, Role.ADMIN) else 403), role
    assert httpx.post(f"{server.url}/v1/events", json={"events": [event()]}).status_code == 401
    for path in ("/v1/customers/C00001/score", "/v1/scores", "/v1/models/champion", "/v1/experiments"):
        assert httpx.get(server.url + path, headers=shop.headers(Role.INGEST)).status_code == 403, path
    assert [id for id, _ in logged(shop)] == ["admin", "ingest"]


@pytest.mark.parametrize(
    "body",
    [{}, {"events": []}, {"events": [event()] * (MAX_EVENTS + 1)}, {"events": event()}, {"events": [event()], "x": 1}],
)
def test_another_number_of_events_is_no_request(server: Running, shop: Shop, body: Any) -> None:
    answer = httpx.post(f"{server.url}/v1/events", json=body, headers=shop.headers(Role.INGEST))
    assert (answer.status_code, answer.json()["type"]) == (422, "/docs/problems#invalid-request")
    assert logged(shop) == []


def test_a_thousand_are_taken_and_a_body_beyond_the_limit_is_not(server: Running, shop: Shop) -> None:
    headers = shop.headers(Role.INGEST)
    assert (
        post(server.url, headers, *(event(f"e{number}") for number in range(MAX_EVENTS))).json()["accepted"]
        == MAX_EVENTS
    )
    large = post(server.url, headers, event("large", text="x" * shop.settings.max_body_bytes))
    assert (large.status_code, large.json()["type"]) == (413, "/docs/problems#body-too-large")
    assert len(logged(shop)) == MAX_EVENTS


@pytest.mark.parametrize(
    "content",
    [
        b'{"events": [{"customer_id": "C1", "type": "a", "occurred_at": "2026-01-27T10:00:00Z", "value": NaN}]}',
        b'{"events": [{"customer_id": "C1", "type": "a", "occurred_at": "2026-01-27T10:00:00Z", "value": 1e999}]}',
        b'{"events": [{"customer_id": "\\ud800", "type": "a", "occurred_at": "2026-01-27T10:00:00Z"}]}',
        b'{"events": [{"customer_id": "C\\u0000", "type": "a", "occurred_at": "2026-01-27T10:00:00Z"}]}',
        b'{"events": [' + b"[" * 5000 + b"]" * 5000 + b"]}",
        b'{"events": [{"value": ' + b"9" * 5000 + b"}]}",
        b"{",
        b"\xff",
    ],
)
def test_what_only_looks_like_json_is_never_an_error_of_ours(server: Running, shop: Shop, content: bytes) -> None:
    headers = {**shop.headers(Role.INGEST), "Content-Type": "application/json"}
    answer = httpx.post(f"{server.url}/v1/events", content=content, headers=headers)
    assert answer.status_code in (202, 422), answer.text
    if answer.status_code == 202:
        assert answer.json()["rejected"] == 1
    assert logged(shop) == []


def test_a_table_has_no_log(shop: Shop) -> None:
    manifest = Generation.current(shop.home).path / "generation.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "kind": "table"}))
    with serving(shop.settings) as running:
        answer = post(running.url, shop.headers(Role.INGEST), event("e"))
    assert (answer.status_code, answer.json()["type"]) == (409, "/docs/problems#no-event-log")
    assert logged(shop) == []


def test_a_home_without_a_build_has_none_yet(server: Running, shop: Shop) -> None:
    headers = shop.headers(Role.INGEST)
    live = shop.home.current_file.read_text()
    shop.home.current_file.write_text("")
    answer = post(server.url, headers, event("e"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert str(shop.home.path) not in answer.text
    shop.home.current_file.write_text(live)
    assert post(server.url, headers, event("e")).status_code == 202


def test_where_they_cannot_be_kept_they_are_refused_and_scores_go_on(shop: Shop) -> None:
    settings = settings_of(shop.home, statement_seconds=0.2)
    with serving(settings) as running:
        headers = shop.headers(Role.INGEST)
        assert post(running.url, headers, event("before")).status_code == 202
        with contextlib.closing(sqlite3.connect(shop.home.event_log, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = post(running.url, headers, event("meanwhile"))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.json()["type"] == "/docs/problems#database-unavailable"
            score = httpx.get(f"{running.url}/v1/customers/C00001/score", headers=shop.headers())
            assert score.status_code == 200
            other.execute("ROLLBACK")
        assert post(running.url, headers, event("meanwhile")).json()["accepted"] == 1
    assert logged(shop) == [("before", 1), ("meanwhile", 1)]


def test_two_servers_share_one_log(shop: Shop) -> None:
    with serving(shop.settings) as one, serving(shop.settings) as other:
        told: list[list[str]] = [[], []]

        def send(position: int, url: str) -> None:
            for number in range(15):
                answer = post(url, shop.headers(Role.INGEST), event(f"e{number}"), event(f"own{position}-{number}"))
                told[position] += [result["status"] for result in answer.json()["results"]]

        threads = [threading.Thread(target=send, args=(n, s.url)) for n, s in enumerate((one, other))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert Counter(told[0] + told[1]) == {"accepted": 45, "duplicate": 15}
    assert Counter(count for _, count in logged(shop)) == {1: 45}


def _serve(home: Path, port: int) -> None:
    settings = Settings.model_validate({"home": home, "rate_limit": 0, "log_level": "error"})
    uvicorn.run(create_app(settings), host="127.0.0.1", port=port, log_level="error")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/livez", timeout=5).status_code == 200
    return False


def test_killed_amid_posts_it_has_every_event_that_it_acknowledged_once(shop: Shop, full: bool) -> None:
    rng = random.Random(7)
    headers = shop.headers(Role.INGEST)
    sent: list[dict[str, Any]] = []
    acknowledged: set[str] = set()
    for kill in range(10 if full else 1):
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        server = SPAWN.Process(target=_serve, args=(shop.home.path, port), daemon=True)
        server.start()
        wait_for(lambda url=url: _answers(url))  # type: ignore[misc]
        enough = len(acknowledged) + rng.randint(20, 60)

        def send(sender: int, kill: int = kill, url: str = url) -> None:
            with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
                for number in range(10_000):
                    events = [event(f"{kill}-{sender}-{number}-{one}") for one in range(1 + number % 4)]
                    sent.extend(events)
                    try:
                        answer = client.post("/v1/events", json={"events": events})
                    except httpx.TransportError:
                        return
                    assert answer.json()["accepted"] == len(events), answer.text
                    acknowledged.update(one["event_id"] for one in events)

        senders = [threading.Thread(target=send, args=(sender,)) for sender in range(3)]
        for sender in senders:
            sender.start()
        wait_for(lambda enough=enough: len(acknowledged) >= enough)  # type: ignore[misc]
        time.sleep(rng.random() / 50)
        server.kill()
        server.join()
        for sender in senders:
            sender.join()
    kept = dict(logged(shop))
    assert acknowledged <= set(kept) <= {one["event_id"] for one in sent}
    assert set(kept.values()) == {1}
    # Who repeats all that was sent has it all there once, and is told what was there.
    with serving(settings_of(shop.home, rate_limit=0)) as running:
        told: Counter[str] = Counter()
        for start in range(0, len(sent), MAX_EVENTS):
            results = post(running.url, headers, *sent[start : start + MAX_EVENTS]).json()["results"]
            told.update(result["status"] for result in results)
    assert (told["accepted"], told["duplicate"]) == (len(sent) - len(kept), len(kept))
    assert [id for id, _ in logged(shop)] == sorted(one["event_id"] for one in sent)
