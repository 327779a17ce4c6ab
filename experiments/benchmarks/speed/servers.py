"""Servers under test: processes of their own, on a core of their own, on a free port."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from experiments.benchmarks.errors import BenchmarkError
from features.config.environment import inherited

_PATIENCE = 180.0


def cores() -> tuple[set[int], set[int]]:
    """The server's core and the load generator's: two different ones, where the machine has two."""
    available = sorted(os.sched_getaffinity(0))
    return {available[0]}, {available[-1]}


@contextlib.contextmanager
def on(cpus: set[int]) -> Iterator[None]:
    """Keep this thread, and what it starts, on these cores for as long as the block runs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def server(
    command: Sequence[str],
    port: int,
    ready: str,
    environment: Mapping[str, str],
    log: Path,
    within: Sequence[str] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m command…` on the server's core, from the moment at which `ready` answers 200 until the block ends.

    Args:
        within: a program that runs the command as its arguments, such as one that sets limits.

    Raises:
        BenchmarkError: it ended, or did not answer in time; says what it wrote last.
    """
    # MLflow starts `uvicorn` by that name.
    path = os.pathsep.join([str(Path(sys.executable).parent), inherited().get("PATH", "")])
    with log.open("wb") as output, on(cores()[0]):
        process = subprocess.Popen(
            [*within, sys.executable, "-m", *command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=inherited(PATH=path, OMP_NUM_THREADS="1", **environment),
        )
    try:
        _await(process, f"http://127.0.0.1:{port}{ready}", log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    """The URL of a redis-server without persistence, on the server's core.

    Raises:
        FileNotFoundError: there is no redis-server.
    """
    port = free_port()
    with on(cores()[0]):
        process = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
            stdout=subprocess.DEVNULL,
        )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(30)


def _await(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    last = " ".join(log.read_text(errors="replace").splitlines()[-3:])
    raise BenchmarkError(f"A server did not come up: {last}")
