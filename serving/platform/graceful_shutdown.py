"""Connections that end politely: a caller who is about to ask when the server stops is still answered."""

from __future__ import annotations

from uvicorn.supervisors import Multiprocess

from serving.platform.bounded_connection import BoundedProtocol

_ANNOUNCED_AFTER = 0.3
"""Seconds in which all workers stop listening: who is sent away sooner might knock at one that is just closing."""
_CLOSED_AFTER = 1.0
_CLOSE = (b"connection", b"close")


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
            listener.close()
        super().terminate_all()
