"""A server under attack, and who calls it."""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from experiments.benchmarks.speed.servers import free_port, server
from features.home import Home
from serving.auth.api_keys import ApiKeys, Role
from serving.platform.database import Database

_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller was answered, and after how many seconds."""

    status: int
    seconds: float
    headers: httpx.Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs, in a process of its own."""

    port: int
    process: psutil.Process | None
    keys: Mapping[Role, str]

    def ask(
        self, path: str, role: Role | None = Role.SCORER, method: str = "GET", json: object = None, **headers: str
    ) -> Answer:
        """One request over a connection of its own."""
        with self.calling(role) as client:
            return timed(client, path, method, json, headers)

    def calling(self, role: Role | None = Role.SCORER) -> httpx.Client:
        """Who calls over one connection, with a role's key or without one."""
        headers = {} if role is None else {"Authorization": f"Bearer {self.keys[role]}"}
        # To verify nobody's certificate: to read those of this machine takes longer than an answer.
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=_PATIENCE, verify=False, trust_env=False
        )

    def statuses(self, paths: list[str], role: Role | None = Role.SCORER) -> list[int]:
        """The status of each path, asked one after the other over one connection."""
        with self.calling(role) as client:
            return [client.get(path).status_code for path in paths]

    def scores(self, customers: tuple[str, ...]) -> list[int]:
        """The status of each customer's score, asked one after the other."""
        return self.statuses([score_of(customer) for customer in customers])

    def ready(self) -> int:
        """The status of `/readyz`."""
        return self.ask("/readyz", None).status

    def becomes_ready(self, seconds: float = _PATIENCE) -> bool:
        """Whether it is ready, or gets so in time."""
        return eventually(lambda: self.ready() == 200, seconds)

    def connected(self) -> socket.socket:
        """A connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE)

    def raw(self, request: bytes) -> bytes:
        """What it sends to these bytes until it hangs up, or is silent for a while."""
        with self.connected() as connection:
            with contextlib.suppress(OSError):
                connection.sendall(request)
            return until_closed(connection)

    @property
    def resident(self) -> int:
        """Bytes of memory that it holds."""
        assert self.process is not None
        return int(self.process.memory_info().rss)


def timed(
    client: httpx.Client, path: str, method: str = "GET", json: object = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One request of a client."""
    begun = time.monotonic()
    answer = client.request(method, path, json=json, headers=headers)
    return Answer(answer.status_code, time.monotonic() - begun, answer.headers, answer.content)


def score_of(customer: str) -> str:
    """Where a customer's score is."""
    return f"/v1/customers/{customer}/score"


@contextlib.contextmanager
def attacked(home: Path, *, files: int | None = None, log: Path | None = None, **environment: str) -> Iterator[Server]:
    """A server over a home from when it is ready, with a key a role.

    Args:
        files: how many descriptors it may have.
        log: where it writes; by default beside the home.

    Raises:
        BenchmarkError: it did not come up.
    """
    keys = add_keys(home, environment.get("KEEPWELL_DATABASE_URL", ""))
    port = free_port()
    prefix = () if files is None else ("sh", "-c", f'ulimit -n {files} && exec "$@"', "sh")
    variables = {"KEEPWELL_HOME": str(home), "PORT": str(port), "KEEPWELL_POLL_SECONDS": "0.5", **environment}
    written = log or home.parent / f"server-{port}.log"
    with server(["serving", "run"], port, "/readyz", variables, written, prefix) as process:
        yield Server(port, psutil.Process(process.pid), keys)


def add_keys(home: Path, url: str = "") -> dict[Role, str]:
    """A key of each role, in the home's database or the one by `url`."""
    database = Database(url or f"sqlite:///{Home(home).database}")
    try:
        database.migrate()
        keys, name = ApiKeys(database), secrets.token_hex(4)
        return {role: keys.add(f"{role.value}-{name}", role) for role in Role}
    finally:
        database.close()


def until_closed(connection: socket.socket) -> bytes:
    """What comes until the server hangs up, or is silent for the socket's timeout."""
    received = b""
    with contextlib.suppress(OSError):
        while part := connection.recv(65_536):
            received += part
    return received


def status_of(answer: bytes) -> int:
    """The status of a raw answer; 0 where there is none."""
    first = answer.split(b"\r\n", 1)[0].split(b" ")
    return int(first[1]) if len(first) > 1 and first[1].isdigit() else 0


def eventually(holds: Callable[[], bool], seconds: float = _PATIENCE) -> bool:
    """Whether something holds, or comes to hold in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
