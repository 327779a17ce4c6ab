"""A load generator of one thread: prepared requests over connections that stay open, timed one by one."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from experiments.benchmarks.errors import BenchmarkError


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: requests in turns, over so many connections at a time."""

    requests: Sequence[bytes]
    connections: int


@dataclass(slots=True)
class _Tally:
    """What one caller was answered."""

    caller: Caller
    turn: int = 0
    latencies: list[float] = field(default_factory=list)
    refused: int = 0

    def next(self) -> bytes:
        request = self.caller.requests[self.turn % len(self.caller.requests)]
        self.turn += 1
        return request

    def note(self, status: int, seconds: float) -> None:
        if status == 200:
            self.latencies.append(seconds)
        else:
            self.refused += 1


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    tally: _Tally
    sent_at: float = 0.0
    received: bytearray = field(default_factory=bytearray)
    wanted: int = 0
    status: int = 0
    answered: bool = False

    def ask(self) -> None:
        self.sent_at = time.perf_counter()
        self.socket.sendall(self.tally.next())


@dataclass(frozen=True, slots=True)
class Load:
    """What one stretch of load measured."""

    requests_per_second: float
    p50: float
    p99: float
    """Latencies in seconds, of what was answered 200."""
    answered: int
    refused: int


def get(path: str, headers: Sequence[str] = ()) -> bytes:
    """A GET request as bytes."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def post(path: str, body: bytes) -> bytes:
    """A POST request of JSON as bytes."""
    head = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


def load(port: int, requests: Sequence[bytes], seconds: float, connections: int) -> Load:
    """Keep each connection busy with one request at a time, in turns through `requests`.

    Raises:
        BenchmarkError: an answer is not 200.
    """
    (measured,) = loads(port, [Caller(requests, connections)], seconds)
    return measured


def loads(
    port: int, callers: Sequence[Caller], seconds: float, refusals: Collection[int] = (), settling: float = 0.0
) -> list[Load]:
    """Keep each connection of each caller busy with one request at a time.

    Args:
        refusals: statuses beside 200 that a server may answer; they are counted.
        settling: so many seconds come before those that are measured, and more until each connection was answered once.

    Raises:
        BenchmarkError: an answer is neither 200 nor a refusal.
    """
    selector = selectors.DefaultSelector()
    tallies = [_Tally(caller) for caller in callers]
    opened = []
    for tally in tallies:
        for _ in range(tally.caller.connections):
            connected = socket.create_connection(("127.0.0.1", port), timeout=60)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.append(_Connection(connected, tally))
            selector.register(connected, selectors.EVENT_READ, opened[-1])
    begun = time.perf_counter() + settling
    until = begun + seconds
    for connection in opened:
        connection.ask()
    busy = unanswered = len(opened)
    while busy:
        for key, _ in selector.select(60):
            connection = key.data
            if not _complete(connection, refusals):
                continue
            now = time.perf_counter()
            if settling and unanswered:
                unanswered -= not connection.answered
                connection.answered = True
                begun = max(begun, now)
                until = begun + seconds
            if not settling or connection.sent_at >= begun:
                connection.tally.note(connection.status, now - connection.sent_at)
            if now >= until:
                busy -= 1
                selector.unregister(connection.socket)
                continue
            connection.ask()
    took = time.perf_counter() - begun
    for connection in opened:
        connection.socket.close()
    return [_measured(tally, took) for tally in tallies]


def _measured(tally: _Tally, took: float) -> Load:
    p50, p99 = np.quantile(tally.latencies or [np.inf], [0.5, 0.99])
    answered = len(tally.latencies)
    return Load(answered / took, float(p50), float(p99), answered, tally.refused)


def _complete(connection: _Connection, refusals: Collection[int]) -> bool:
    """Read on; whether the answer is whole."""
    received = connection.received
    part = connection.socket.recv(65_536)
    if not part:
        raise BenchmarkError("A server hung up in the middle of an answer.")
    received += part
    if not connection.wanted:
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(received[:end]).lower()
        connection.status = int(head[9:12]) if head.startswith(b"http/1.1 ") else 0
        if connection.status != 200 and connection.status not in refusals:
            raise BenchmarkError(f"A server answered: {bytes(received[:400]).decode(errors='replace')}")
        length = head.find(b"content-length:")
        if length < 0:
            raise BenchmarkError("A server's answer does not state its length.")
        connection.wanted = end + 4 + int(head[length + 15 :].split(b"\r\n", 1)[0])
    if len(received) < connection.wanted:
        return False
    received.clear()
    connection.wanted = 0
    return True
