"""A server that is told to stop answers all that it was asked."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest
import uvicorn
from fastapi import Response

from serving.platform.graceful_shutdown import DrainingProtocol, DrainingServer, refuse_newcomers

from ..conftest import Shop, wait_for


@pytest.mark.load
@pytest.mark.parametrize("workers", [1, 2])
def test_run_serves_until_it_is_stopped_and_drops_nothing(shop: Shop, workers: int) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPWELL_", "MLFLOW_"))}
    own = {"KEEPWELL_HOME": str(shop.home.path), "PORT": "0", "MLFLOW_TRACKING_URI": shop.settings.registry}
    server = subprocess.Popen(
        [sys.executable, "-m", "serving", "run", "--workers", str(workers)],
        env=inherited | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    answered: list[int] = []
    dropped: list[str] = []
    stop = threading.Event()
    try:
        assert server.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
        assert found is not None
        url = found[0]

        def ready() -> bool:
            try:
                return all(httpx.get(f"{url}/readyz", timeout=5).status_code == 200 for _ in range(10 * workers))
            except httpx.TransportError:
                return False

        def ask() -> None:
            with httpx.Client(base_url=url, headers=shop.headers(), timeout=30) as client:
                while not stop.is_set():
                    try:
                        answered.append(client.get("/v1/customers/C00001/score").status_code)
                    except httpx.ConnectError:
                        return  # nobody listens any more
                    except httpx.TransportError as error:
                        dropped.append(repr(error))
                        return

        wait_for(ready, 300)
        with httpx.Client(base_url=url, headers=shop.headers(), timeout=30) as client:
            assert all(client.get("/v1/customers/C00001/score").status_code == 200 for _ in range(20))
        counted = re.findall(
            r'keepwell_http_requests_total\{method="GET",route="/v1/customers/\{customer_id\}/score",status="200"\} (\S+)',
            httpx.get(f"{url}/metrics").text,
        )
        assert counted == ["20.0"], "whichever worker counted"
        callers = [threading.Thread(target=ask) for _ in range(8)]
        for caller in callers:
            caller.start()
        wait_for(lambda: len(answered) > 20)
        server.terminate()
        server.wait(120)
        for caller in callers:
            caller.join(120)
            assert not caller.is_alive()
    finally:
        stop.set()
        server.kill()
        _, errors = server.communicate()
    assert server.returncode in (0, -signal.SIGTERM)
    assert "Traceback" not in errors
    assert set(answered) <= {200, 503}
    assert dropped == []


def test_whoever_has_connected_when_it_stops_is_answered() -> None:
    async def stopped(listener: socket.socket) -> list[socket.socket]:
        config = uvicorn.Config(
            Response(status_code=204), http=DrainingProtocol, ws="none", lifespan="off", log_config=None
        )
        server = DrainingServer(config)
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup([listener])
        # None of these can be taken in before the loop has its turn.
        callers = [socket.create_connection(listener.getsockname(), timeout=30) for _ in range(20)]
        for caller in callers:
            caller.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await server.shutdown([listener])
        return callers

    callers = asyncio.run(stopped(socket.create_server(("127.0.0.1", 0), backlog=64)))
    answers = [caller.recv(12) for caller in callers]
    for caller in callers:
        caller.close()
    assert answers == [b"HTTP/1.1 204"] * 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux refuses newcomers on a socket that still listens")
def test_newcomers_are_refused_and_who_came_before_is_kept() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), timeout=30) as early,
        socket.socket() as late,
    ):
        refuse_newcomers(listener)
        late.settimeout(0.1)
        with pytest.raises(TimeoutError):
            late.connect(listener.getsockname())
        taken, peer = listener.accept()
        taken.close()
        assert peer == early.getsockname()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
