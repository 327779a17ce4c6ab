"""What tests of several parts share: servers that they start for themselves, and no deadline on a machine that is busy."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import prometheus_client  # noqa: F401 - before Feast is, or all servers of a process would count in one place
import pytest

from models.registry import mlflow_store

hypothesis.settings.register_profile("keepwell", deadline=None)
hypothesis.settings.load_profile("keepwell")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--full`: what `make test FULL=1` gives."""
    parser.addoption("--full", action="store_true", help="the slowest tests at their full size")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest in one file goes first, so that at the end no worker waits for another."""
    items.sort(key=lambda item: item.path.name != "test_docs.py")


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the slowest tests run at their full size, rather than at one that all of them have time for."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session", autouse=True)
def one_layout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLflow's new database is copied for each home: it is laid out in a hundred migrations, which take seconds."""
    lay_out, known = mlflow_store._lay_out, tmp_path_factory.mktemp("mlflow") / "mlflow.db"

    def copied(database: Path, artifacts: Path) -> None:
        if not known.exists():
            lay_out(known, known.parent)
        shutil.copyfile(known, database)
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            connection.execute(
                "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)",
                (str(known.parent), str(artifacts)),
            )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow_store, "_lay_out", copied)
        yield


def wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    """Wait until the condition holds; how long is no claim, only what a machine that is busy may need.

    Raises:
        TimeoutError: it does not, for `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come true")
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Whether anybody listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Start a Redis of this test's own, with further options, and give its port on 127.0.0.1; it ends with the test."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server is not installed: apt install redis-server")
    with contextlib.ExitStack() as stack:

        def start(*options: str) -> int:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = int(free.getsockname()[1])
            command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", *options]
            server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
            stack.callback(server.wait, timeout=30)
            stack.callback(server.terminate)
            wait_for(lambda: listens(port))
            return port

        yield start
