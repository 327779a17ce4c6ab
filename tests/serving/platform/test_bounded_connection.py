"""Connections that are slow, endless, too large or too many cost their callers something, and nobody else."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from serving.platform import bounded_connection

from ..conftest import Running, Shop, serving, settings_of


@pytest.fixture(scope="module")
def impatient(template: Shop) -> Iterator[Running]:
    """A server that waits for a second."""
    with serving(settings_of(template.home, read_seconds=1.0)) as server:
        yield server


@contextlib.contextmanager
def connected(server: Running, count: int = 1) -> Iterator[list[socket.socket]]:
    """Connections of one's own."""
    parts = urlsplit(server.url)
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection((parts.hostname or "", parts.port or 0), 30))
            for _ in range(count)
        ]


def until_closed(connection: socket.socket) -> bytes:
    """What comes until the server hangs up."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


def problem(answer: bytes, status: int) -> str:
    """The type of the problem that a raw answer with this status holds."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    assert b"x-content-type-options: nosniff" in head
    content = json.loads(body)
    assert content["status"] == status
    return str(content["type"])


@pytest.mark.parametrize("begun", [b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: ", b"G", b"POST /v1/scores HTTP/1.1\r\n"])
def test_a_head_that_does_not_end_is_not_waited_for(impatient: Running, begun: bytes) -> None:
    with connected(impatient) as (connection,):
        connection.sendall(begun)
        assert problem(until_closed(connection), 408) == "/docs/problems#request-timeout"


def test_who_sends_a_byte_now_and_then_is_not_waited_for_either(impatient: Running) -> None:
    with connected(impatient) as (connection,):
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
        connection.settimeout(0.2)
        received = b""
        for _ in range(100):
            with contextlib.suppress(TimeoutError):
                received = connection.recv(65536)
                break
            connection.sendall(b"X-A: b\r\n")
        assert problem(received, 408) == "/docs/problems#request-timeout"


@pytest.mark.parametrize("said", [b"", b"\r\n"])
def test_who_says_nothing_is_hung_up_on(impatient: Running, said: bytes) -> None:
    with connected(impatient) as (connection,):
        connection.sendall(said)
        assert until_closed(connection) == b""


def test_blank_lines_between_requests_keep_no_connection(impatient: Running) -> None:
    with connected(impatient) as (connection,):
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"\r\n")
        assert until_closed(connection) == b""


def test_who_was_answered_before_all_was_sent_is_hung_up_on(impatient: Running) -> None:
    with connected(impatient) as (connection,):
        connection.sendall(b"POST /v1/scores HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        assert until_closed(connection).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 101 + b"\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 70_000,
        b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"a" * 70_000,
        b"GET /livez?" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n" + b"X: b\r\n" * 101,
    ],
    ids=["many headers", "a long one", "one without end", "a name without end", "a long address", "trailers"],
)
def test_a_head_that_is_too_large_is_refused(running: Running, request_: bytes) -> None:
    with connected(running) as (connection,):
        connection.sendall(request_)
        answer = until_closed(connection)
        if b"chunked" in request_:
            # Somebody waits for this body already.
            assert answer == b""
        else:
            assert problem(answer, 431) == "/docs/problems#head-too-large"


def test_a_head_as_large_as_may_be_is_read(running: Running) -> None:
    headers = {f"X-{n}": "a" * 600 for n in range(90)}
    assert httpx.get(f"{running.url}/livez", headers=headers).status_code == 200


@pytest.mark.parametrize("request_", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET /livez HTTP/9.9\r\n\r\n"])
def test_what_is_no_request_is_answered_a_problem(running: Running, request_: bytes) -> None:
    with connected(running) as (connection,):
        connection.sendall(request_)
        assert problem(until_closed(connection), 400) == "/docs/problems#malformed-request"


def test_requests_in_a_row_are_answered_in_order_and_not_kept_by_the_thousand(running: Running) -> None:
    one = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(running, 2) as (few, many):
        few.sendall(one * 20 + one.replace(b"Host", b"Connection: close\r\nHost"))
        assert until_closed(few).count(b"HTTP/1.1 200") == 21
        many.sendall(one * 1500)
        assert until_closed(many).count(b"HTTP/1.1 200") < 500


def test_idle_connections_make_room_for_those_that_ask(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.app.most_connections", lambda: 20)
    with serving(shop.settings) as server, connected(server, 60) as idle:
        for connection in idle[::2]:
            with contextlib.suppress(OSError):
                connection.sendall(b"GET /livez HTTP/1.1\r\n")
        for _ in range(30):
            assert httpx.get(f"{server.url}/livez", timeout=5).status_code == 200
        with httpx.Client(base_url=server.url, headers=shop.headers()) as client:
            assert [client.get("/v1/customers/C00001/score").status_code for _ in range(30)] == [200] * 30
        deadline = time.monotonic() + 30
        gone = 0
        while gone < 40 and time.monotonic() < deadline:
            gone = sum(_is_closed(connection) for connection in idle)
        assert gone >= 40


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while part := connection.recv(65536):
            assert b"503" in part
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def test_a_server_takes_what_descriptors_it_may_and_leaves_some(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [64, 1024]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limits[0], limits[1]))
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: limits.__setitem__(0, given[0]))
    assert bounded_connection.most_connections() == 768
    assert bounded_connection.backlog() == 128
    assert limits == [1024, 1024]
