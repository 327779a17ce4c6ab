"""The processes that answer: where they listen, and where they count."""

from __future__ import annotations

import os
import socket
import tempfile
from typing import TYPE_CHECKING

from serving.errors import PortTaken

if TYPE_CHECKING:
    from serving.platform.settings import Settings

SHARED_FIGURES = "KEEPWELL_METRICS_DIR"
"""Set by `serve` for several workers: the folder in which each keeps its figures for all."""

# Prometheus' client reads the first when it is imported; Feast, when it is imported, sets both to a folder of its own.
_CLIENTS = ("PROMETHEUS_MULTIPROC_DIR", "PROMETHEUS_MULTIPROCESS_DIR")


def listen(settings: Settings) -> socket.socket:
    """A socket on HOST:PORT, taken before anything slow is loaded.

    Raises:
        PortTaken: another process has it, or the host is not ours.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        raise PortTaken(settings.host, settings.port, error.strerror or str(error)) from None
    listener.set_inheritable(True)
    return listener


def serve(listener: socket.socket, settings: Settings, workers: int) -> None:
    """Answer on `listener` until the process is told to stop; to be called before Feast is imported."""
    import uvicorn

    from serving.platform.bounded_connection import backlog
    from serving.platform.graceful_shutdown import DrainingProtocol, DrainingServer, DrainingSupervisor

    config = uvicorn.Config(
        "serving.app:from_environment",
        factory=True,
        http=DrainingProtocol,
        ws="none",
        backlog=backlog(),
        workers=workers,
        access_log=False,
        log_config=None,
        log_level=settings.log_level,
        server_header=False,
        timeout_graceful_shutdown=30,
        # Workers load for seconds without a breath to answer their supervisor, who would kill and start them for ever.
        timeout_worker_healthcheck=120,
    )
    for name in (*_CLIENTS, SHARED_FIGURES):
        os.environ.pop(name, None)
    if workers == 1:
        import prometheus_client  # noqa: F401 - now, while it still chooses to count in memory

        DrainingServer(config).run(sockets=[listener])
        return
    with tempfile.TemporaryDirectory(prefix="keepwell-metrics-") as folder:
        os.environ.update(dict.fromkeys((*_CLIENTS, SHARED_FIGURES), folder))
        DrainingSupervisor(config, sockets=[listener]).run()
