"""A load generator of one thread: prepared requests over connections that stay open, timed one by one."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from experiments.benchmarks.errors import BenchmarkError


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    sent_at: float = 0.0
    received: bytearray = field(default_factory=bytearray)
    wanted: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """What one stretch of load measured."""

    requests_per_second: float
    p50: float
    p99: float
    """Latencies in seconds."""


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
    selector = selectors.DefaultSelector()
    opened = []
    for _ in range(connections):
        connected = socket.create_connection(("127.0.0.1", port), timeout=60)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.append(_Connection(connected))
        selector.register(connected, selectors.EVENT_READ, opened[-1])
    latencies: list[float] = []
    turn = 0
    begun = time.perf_counter()
    until = begun + seconds
    for connection in opened:
        connection.sent_at = time.perf_counter()
        connection.socket.sendall(requests[turn % len(requests)])
        turn += 1
    busy = len(opened)
    while busy:
        for key, _ in selector.select(60):
            connection = key.data
            if not _complete(connection):
                continue
            now = time.perf_counter()
            latencies.append(now - connection.sent_at)
            if now >= until:
                busy -= 1
                selector.unregister(connection.socket)
                continue
            connection.sent_at = time.perf_counter()
            connection.socket.sendall(requests[turn % len(requests)])
            turn += 1
    took = time.perf_counter() - begun
    for connection in opened:
        connection.socket.close()
    p50, p99 = np.quantile(latencies, [0.5, 0.99])
    return Load(len(latencies) / took, float(p50), float(p99))


def _complete(connection: _Connection) -> bool:
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
        if not head.startswith(b"http/1.1 200"):
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
