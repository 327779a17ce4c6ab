"""A server that is told to stop answers all that it was asked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading

import httpx
import pytest

from ..conftest import Shop, wait_for


@pytest.mark.load
@pytest.mark.parametrize("workers", [1, 2])
def test_stopping_under_load_drops_nothing(shop: Shop, workers: int) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPWELL_", "MLFLOW_"))}
    own = {"KEEPWELL_HOME": str(shop.home.path), "PORT": "0", "MLFLOW_TRACKING_URI": shop.settings.registry}
    server = subprocess.Popen(
        [sys.executable, "-m", "serving", "run", "--workers", str(workers)],
        env=inherited | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
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

        wait_for(ready, 120)
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
        server.communicate()
    assert set(answered) <= {200, 503}
    assert dropped == []
