"""Connections that hold on to a server: bodies and heads that do not end, heads without measure, more of them than descriptors."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator

from experiments.benchmarks.faults.business import Ground
from experiments.benchmarks.faults.seen import Seen, Skipped, counted
from experiments.benchmarks.faults.servers import Server, attacked, score_of, status_of, until_closed
from serving.auth.api_keys import Role

BODIES = 220
HEADS, HEAD_BYTES = 10, 40_000_000
HEADERS = 1_000_000
IDLE, DESCRIPTORS = 1_300, 1_024
_MOST_GROWTH = 60_000_000
"""Bytes of memory that unfinished heads may cost: they come to 400 MB."""
_READ_SECONDS = 10.0


def connections(ground: Ground) -> Iterator[Seen]:
    """What callers leave unfinished costs themselves something, and nobody else."""
    home = ground.home("connections")
    with attacked(home) as server:
        yield from _bodies(ground, server)
        yield _forms(ground, server)
        yield from _heads(server)
        yield from _headers(server)
    with _room_for(IDLE + 200), attacked(home, files=DESCRIPTORS) as server:
        yield from _idle(ground, server)


def _bodies(ground: Ground, server: Server) -> Iterator[Seen]:
    head = (
        "POST /v1/scores HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {server.keys[Role.SCORER]}\r\nContent-Length: 1000\r\n\r\n{{"
    ).encode()
    attack = f"{BODIES} sockets with a key state a body of 1,000 bytes and stop after one"
    with _opened(server, BODIES) as held:
        for connection in held:
            connection.sendall(head)
        time.sleep(0.5)
        begun = time.monotonic()
        ready = server.ready()
        many = {"customer_ids": list(ground.customers[:10])}
        own = [server.ask("/v1/scores", method="POST", json=many).status]
        others = [server.ask("/v1/scores", Role.ADMIN, "POST", many).status]
        with server.calling() as same, server.calling(Role.MANAGER) as another:
            # Before the first body is given up: until then all of them stand.
            for customer in ground.customers[:100]:
                if time.monotonic() - begun > _READ_SECONDS - 3:
                    break
                own.append(same.get(score_of(customer)).status_code)
                others.append(another.get(score_of(customer)).status_code)
        yield Seen(attack, "other keys' scores are 200 meanwhile", counted(others), set(others) == {200})
        yield Seen(attack, "so are the same key's", counted(own), set(own) == {200})
        yield Seen(attack, "/readyz is 200", str(ready), ready == 200)
        answers = [status_of(until_closed(connection)) for connection in held]
        waited = time.monotonic() - begun
        yield Seen(
            attack,
            "each is answered 408, or 503 at once, and hung up on within 20 s",
            f"{counted(answers)}, after {waited:.0f} s",
            set(answers) <= {408, 503} and 408 in answers and waited < 2 * _READ_SECONDS,
        )


def _forms(ground: Ground, server: Server) -> Seen:
    form = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\nk"
    with _opened(server, BODIES) as held:
        for connection in held:
            connection.sendall(form)
        time.sleep(0.5)
        statuses = [*server.statuses(["/login"] * 20, None), *server.scores(ground.customers[:50])]
    return Seen(
        f"{BODIES} sockets without a key state a form of 1,000 bytes and stop after one",
        "the sign-in page and scores are 200 meanwhile",
        counted(statuses),
        set(statuses) == {200},
    )


def _heads(server: Server) -> Iterator[Seen]:
    before = server.resident
    part = b"a" * 1_000_000
    sent = 0
    with _opened(server, HEADS) as held:
        for connection in held:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: ")
        going = list(held)
        most = before
        for _ in range(HEAD_BYTES // len(part)):
            for connection in list(going):
                try:
                    connection.sendall(part)
                    sent += len(part)
                except OSError:
                    going.remove(connection)
            most = max(most, server.resident)
        status = server.ask("/livez", None).status
        grown = most - before
    yield Seen(
        f"{HEADS} heads of {HEAD_BYTES // 1_000_000} MB without key and end",
        "memory grows by less than 60 MB, they are hung up on, /livez is 200",
        f"{grown / 1e6:.0f} MB after {sent / 1e6:.0f} MB sent, {len(going)} still open, /livez {status}",
        grown < _MOST_GROWTH and not going and status == 200,
    )


def _headers(server: Server) -> Iterator[Seen]:
    before = server.resident
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * HEADERS + b"\r\n"
    with server.connected() as connection:
        with contextlib.suppress(OSError):
            connection.sendall(request)
        status = status_of(until_closed(connection))
    grown = server.resident - before
    # Whoever still sends when it is hung up on may never see the answer.
    yield Seen(
        f"{HEADERS:,} headers on one request",
        "it is refused (431, or hung up on), memory grows by less than 60 MB",
        f"{status or 'hung up'}, {grown / 1e6:.0f} MB",
        status in (0, 431) and grown < _MOST_GROWTH and server.ask("/livez", None).status == 200,
    )


def _idle(ground: Ground, server: Server) -> Iterator[Seen]:
    with _opened(server, IDLE):
        time.sleep(1)
        alive = server.statuses(["/livez"] * 50, None)
        fresh = [server.ask("/livez", None).status for _ in range(20)]
        scores = server.scores(ground.customers[:50])
        ready = server.ready()
    yield Seen(
        f"{IDLE:,} idle connections to a server with {DESCRIPTORS:,} descriptors",
        "/livez, /readyz and scores are 200",
        f"{counted([*alive, *fresh, ready, *scores])}",
        {*alive, *fresh, ready, *scores} == {200},
    )


@contextlib.contextmanager
def _opened(server: Server, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server.connected()) for _ in range(count)]


@contextlib.contextmanager
def _room_for(files: int) -> Iterator[None]:
    """So many descriptors of our own, or more, within the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        if hard != resource.RLIM_INFINITY and hard < files:
            raise Skipped(f"only {hard} descriptors: ulimit -n {files}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
