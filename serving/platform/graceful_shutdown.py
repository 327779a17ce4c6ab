"""Connections that end politely: a caller who is about to ask when the server stops is still answered."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
import time

from uvicorn import Server
from uvicorn.supervisors import Multiprocess

from serving.platform.bounded_connection import BoundedProtocol

_TAKEN_IN_WITHIN = 0.2
"""Seconds in which those who have connected are taken in, and nobody else."""
_ANNOUNCED_AFTER = 0.3
"""Seconds in which all workers stop listening: who is sent away sooner might knock at one that is just closing."""
_CLOSED_AFTER = 3.0
"""Seconds after which a connection on which nothing was asked is closed: time to hear the announcement on a busy machine."""
_CLOSE = (b"connection", b"close")
_SO_ATTACH_FILTER = 26
"""Linux' number, which Python does not name (socket(7))."""


def refuse_newcomers(listener: socket.socket) -> None:
    """Drop whoever would connect from now on, in all processes that share the socket; who has connected stays queued.

    A caller whose connection is dropped tries again after a second, and finds either nobody or the next server. Where
    the system has no such filter, one who connects in the moment before the socket closes is cut off.
    """
    nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # one instruction: keep 0 bytes
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(nothing)))


class DrainingServer(Server):
    """uvicorn's server, which would reset the connections that were made and not yet taken in when it stops."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called once, when the server stops."""
        for listener in sockets or []:
            refuse_newcomers(listener)
        await asyncio.sleep(_TAKEN_IN_WITHIN)
        await super().shutdown(sockets)


class DrainingProtocol(BoundedProtocol):
    """uvicorn's connection, which it would close at once where no request has arrived, one that is on its way included.

    When the server stops, a connection stays open for a while: a request that comes is answered, soon with
    `Connection: close`, so that the caller knows to go elsewhere with the next (RFC 9112, section 9.6).
    """

    def shutdown(self) -> None:
        """Called once, when the server stops."""
        self.loop.call_later(_ANNOUNCED_AFTER, self._announce)
        self.loop.call_later(_CLOSED_AFTER, super().shutdown)

    def _announce(self) -> None:
        if _CLOSE not in self.server_state.default_headers:
            self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]


class DrainingSupervisor(Multiprocess):
    """uvicorn's supervisor, whose own listening socket would take callers in whom no worker answers any more."""

    def terminate_all(self) -> None:
        """Called once, when the server stops."""
        for listener in self.sockets:
            refuse_newcomers(listener)
            listener.close()
        time.sleep(_TAKEN_IN_WITHIN)
        super().terminate_all()
