"""What every answer has, whatever was asked: no failure of ours, headers that keep it safe, and a body that arrived in time."""

from __future__ import annotations

import json
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest

from ..conftest import Running, Shop, serving, settings_of

LONG = "a" * 5000


def raw(url: str, request: bytes, timeout: float = 30) -> bytes:
    """What a server sends to these bytes until it hangs up."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    with socket.create_connection((parts.hostname, parts.port), timeout) as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", f"/static/{LONG}.js", {}),
        ("GET", "/static/%00.js", {}),
        ("GET", "/login?next=//[", {}),
        ("GET", "/login?next=/[::1", {}),
        ("GET", "/login", {"Host": "[::1"}),
        ("GET", "/portfolio", {"Host": "[::1", "Accept": "text/html"}),
        ("POST", "/login", {"Origin": "http://[::1"}),
        ("POST", "/login", {"Origin": "null"}),
        ("POST", "/login", {"Content-Type": "multipart/form-data"}),
        ("POST", "/login", {"Content-Type": "multipart/form-data; boundary=["}),
        ("POST", "/logout", {"Origin": "http://[::1", "Cookie": "keepwell_session=[;;="}),
    ],
)
def test_nothing_that_is_asked_is_a_failure_of_ours(
    running: Running, method: str, path: str, headers: dict[str, str]
) -> None:
    content = b"key=x" if method == "POST" else None
    if content is not None:
        headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    assert httpx.request(method, running.url + path, headers=headers, content=content).status_code < 500


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/v1/customers/C00001/score", "/v1/scores"]
)
def test_head_is_answered_where_get_is(client: httpx.Client, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"") == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert "content-length" in head.headers


def test_a_path_that_answers_get_says_that_it_answers_head(client: httpx.Client) -> None:
    wrong = client.post("/livez")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
    assert client.head("/v1/decisions").status_code == 405


@pytest.mark.parametrize("path", ["/livez", "/v1/customers/C00001/score", "/v1/nowhere", "/login", "/docs/problems"])
def test_no_cache_keeps_an_answer_and_no_browser_guesses_its_type(client: httpx.Client, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer kw_wrong"}):
        answer = client.get(path, headers=headers)
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert answer.headers.get_list("cache-control") == ["no-store"]
        assert answer.headers.get_list("content-security-policy") != []
        assert "strict-transport-security" not in answer.headers


def test_what_came_by_https_is_to_come_by_https_again(running: Running) -> None:
    # A proxy on this machine says so.
    answer = httpx.get(f"{running.url}/livez", headers={"X-Forwarded-Proto": "https"})
    assert answer.headers["strict-transport-security"].startswith("max-age=")


def test_a_page_that_is_static_may_be_kept(running: Running) -> None:
    assert "immutable" in httpx.get(f"{running.url}/static/keepwell.css").headers["cache-control"]


def test_a_body_that_does_not_arrive_takes_nobodys_place(shop: Shop) -> None:
    settings = settings_of(shop.home, max_waiting=3, read_seconds=2.0)
    key = shop.headers()["Authorization"]
    head = f"POST /v1/scores HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Length: 1000\r\n\r\n{{".encode()
    with serving(settings) as server:
        parts = urlsplit(server.url)
        held = [socket.create_connection((parts.hostname or "", parts.port or 0), 30) for _ in range(8)]
        try:
            for connection in held:
                connection.sendall(head)
            time.sleep(0.3)
            with httpx.Client(base_url=server.url, headers=shop.headers()) as client:
                assert [client.get("/v1/customers/C00001/score").status_code for _ in range(5)] == [200] * 5
                assert client.post("/v1/scores", json={"customer_ids": ["C00001"]}).status_code == 200
            answer = held[0].recv(65536)
            assert answer.startswith(b"HTTP/1.1 408")
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "/docs/problems#request-timeout"
        finally:
            for connection in held:
                connection.close()
