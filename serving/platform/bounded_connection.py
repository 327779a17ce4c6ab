"""Connections within bounds: how many there are, how soon and how large a request's head comes, how slowly an answer is read.

uvicorn bounds nothing of that with httptools: a head of any length is kept, and waited for without end.
"""

from __future__ import annotations

import resource
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from dataclasses import dataclass, field

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LIMITS = "connection_limits"
"""The name in the lifespan's state under which an app leaves its `ConnectionLimits` to its connections."""

_MOST_HEAD_BYTES = 65_536
_MOST_HEADERS = 100
_MOST_PIPELINED = 100
_WRITE_SECONDS = 60.0
_SLACK = 1.0
"""Seconds that who reads a body has more than its reader, which says what went wrong."""
_MOST_DESCRIPTORS = 65_536


@dataclass(slots=True)
class ConnectionLimits:
    """What holds for all connections of one worker."""

    answer: Callable[[int], bytes]
    """What is sent, status line and all, to what is no request: 400, 408, 431, or 503 where there are too many."""

    read_seconds: float = 10.0
    """The time that a request's head may take, and then its body."""

    most: int = 768
    """Connections at a time; past it, whoever has kept us waiting for longest is hung up on."""

    waiting: dict[BoundedProtocol, None] = field(default_factory=dict)
    """Connections that we wait for, rather than they for us, the longest first."""


def descriptors() -> int:
    """How many files and sockets this process may have open: it takes what the system allows, to a bound."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return most
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def most_connections() -> int:
    """How many connections leave descriptors for files and stores."""
    return descriptors() * 3 // 4


def backlog() -> int:
    """How many may knock at a time: what is taken in at once, before any is hung up on, needs descriptors too."""
    return min(2048, descriptors() // 8)


class _TooLarge(Exception):
    """A head is larger than a request's may be."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's connection, with a time and a size for all that is waited for."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Somebody came."""
        self._limits: ConnectionLimits = self.app_state.get(LIMITS) or ConnectionLimits(_plain)
        self._timer: TimerHandle | None = None
        self._write_timer: TimerHandle | None = None
        self._is_open = False  # a request has begun to come, and not all of it is there
        self._in_head = True
        self._head_bytes = self._headers = self._parsed_bytes = 0
        super().connection_made(transport)
        self._limits.waiting[self] = None
        if len(self.connections) > self._limits.most:
            # The one that came last, if nobody else keeps us waiting.
            next(iter(self._limits.waiting))._hang_up(503)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Somebody went."""
        self._limits.waiting.pop(self, None)
        self._unwatch()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Something came: a part of a request, or several requests."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and self._head_bytes > _MOST_HEAD_BYTES:
            self._hang_up(431)
        elif self._timer is None and (self._is_open or self._is_unwatched()):
            self._watch()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """The parser refused what came: it is no request, or larger than one may be."""
        is_large = self._headers > _MOST_HEADERS or self._parsed_bytes > _MOST_HEAD_BYTES
        self._hang_up(431 if is_large else 400)

    def on_message_begin(self) -> None:
        """The first byte of a request is there."""
        super().on_message_begin()
        self._is_open = True

    def on_url(self, url: bytes) -> None:
        """A part of its address is there."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is there, or a trailer."""
        self._headers += 1
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._unwatch()
        self._in_head = False
        super().on_headers_complete()
        if len(self.pipeline) > _MOST_PIPELINED:
            raise _TooLarge

    def on_message_complete(self) -> None:
        """All of it is there: now it is the caller who waits."""
        self._unwatch()
        self._is_open, self._in_head = False, True
        self._head_bytes = self._headers = self._parsed_bytes = 0
        self._limits.waiting.pop(self, None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The caller was answered."""
        if not self.pipeline:
            self._limits.waiting[self] = None
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The caller does not read the answer."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(_WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The caller has read most of it."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def _count(self, size: int) -> None:
        self._parsed_bytes += size
        if self._headers > _MOST_HEADERS or self._parsed_bytes > _MOST_HEAD_BYTES:
            raise _TooLarge

    def _is_unwatched(self) -> bool:
        """Whether nothing would end this wait: whatever came ended uvicorn's timer, and no request is being answered."""
        return self.timeout_keep_alive_task is None and (self.cycle is None or self.cycle.response_complete)

    def _watch(self) -> None:
        slack = 0.0 if self._in_head else _SLACK
        self._timer = self.loop.call_later(self._limits.read_seconds + slack, self._too_late)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        # To whoever has sent nothing there is nothing to answer.
        self._hang_up(408 if self._is_open and self._in_head else None)

    def _hang_up(self, status: int | None) -> None:
        self._limits.waiting.pop(self, None)
        self._unwatch()
        if self.transport.is_closing():
            return
        if status is not None and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(self._limits.answer(status))
        self.transport.close()


def _plain(status: int) -> bytes:
    return b"HTTP/1.1 %d \r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % status
