"""A server in the tests' process, which ends with the test."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import uvicorn

from serving.app import create_app
from serving.auth.api_keys import ApiKeys, Role
from serving.platform.database import Database
from serving.platform.settings import Settings

from ..conftest import wait_for


@contextlib.contextmanager
def served(settings: Settings, role: Role) -> Iterator[tuple[str, str]]:
    """The address of a server that has started, and a new key of that role."""
    database = Database(settings.database)
    database.migrate()
    key = ApiKeys(database).add(f"test-{role.value}", role)
    database.close()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="error"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", key
    finally:
        server.should_exit = True
        thread.join()
