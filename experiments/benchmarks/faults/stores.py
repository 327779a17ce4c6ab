"""Stores that are killed, emptied, stopped and frozen: a Redis and a PostgreSQL of an attack's own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import redis

from experiments.benchmarks.errors import BenchmarkError
from experiments.benchmarks.faults.seen import Skipped
from experiments.benchmarks.faults.servers import eventually
from experiments.benchmarks.speed.servers import free_port


@dataclass(slots=True)
class Redis:
    """A redis-server without persistence; where it is killed, all is lost."""

    folder: Path
    password: str = ""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, for `KEEPWELL_ONLINE_STORE`."""
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        """Start it, empty; wait until it answers."""
        given = ("--requirepass", self.password) if self.password else ()
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *given, *options],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
        )
        if not eventually(self._answers):
            raise BenchmarkError("A redis-server did not come up.")

    def kill(self) -> None:
        """Kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def told(self, *command: str) -> None:
        """Have it obey a command."""
        with redis.Redis.from_url(self.url) as client:
            client.execute_command(*command)

    @property
    def used(self) -> int:
        """Bytes of memory that it uses."""
        with redis.Redis.from_url(self.url) as client:
            return int(client.info("memory")["used_memory"])

    @property
    def evicted(self) -> int:
        """Keys that it threw away."""
        with redis.Redis.from_url(self.url) as client:
            return int(client.info("stats")["evicted_keys"])

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It neither answers nor hangs up within the block."""
        assert self.process is not None
        with _stopped([psutil.Process(self.process.pid)]):
            yield

    def _answers(self) -> bool:
        with contextlib.suppress(redis.RedisError):
            self.told("PING")
            return True
        return False


@contextlib.contextmanager
def redis_server(folder: Path, password: str = "") -> Iterator[Redis]:
    """A Redis that runs.

    Raises:
        Skipped: none is installed.
    """
    if shutil.which("redis-server") is None:
        raise Skipped("redis-server is not installed")
    server = Redis(folder, password)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@dataclass(frozen=True, slots=True)
class PostgreSQL:
    """A server on a socket in a folder of its own."""

    programs: Path
    folder: Path
    user: str | None

    @property
    def url(self) -> str:
        """Where it is, for `KEEPWELL_DATABASE_URL`."""
        return f"postgresql://keeper@/postgres?host={self.folder}"

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of its programs to its end."""
        subprocess.run(
            [self.programs / program, "-D", self.folder / "data", *arguments],
            check=True,
            user=self.user,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off"
        self.run("pg_ctl", "-l", self.folder / "log", "-o", options, "-w", "start")

    def stop(self) -> None:
        """End it at once."""
        self.run("pg_ctl", "-m", "immediate", "stop")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It neither answers nor hangs up within the block."""
        postmaster = psutil.Process(int((self.folder / "data" / "postmaster.pid").read_text().split()[0]))
        with _stopped([postmaster, *postmaster.children(recursive=True)]):
            yield


@contextlib.contextmanager
def postgresql_server() -> Iterator[PostgreSQL]:
    """A PostgreSQL that runs.

    Raises:
        Skipped: none is installed, or nobody is there who may run it.
    """
    # Short, because a socket's path may not be long.
    server = PostgreSQL(_programs(), Path(tempfile.mkdtemp(prefix="kw")), _user())
    try:
        if server.user is not None:
            shutil.chown(server.folder, server.user)
        server.run("initdb", "-U", "keeper", "-A", "trust", "-E", "UTF8", "--no-sync")
        server.start()
        try:
            yield server
        finally:
            if (server.folder / "data" / "postmaster.pid").exists():
                server.stop()
    finally:
        shutil.rmtree(server.folder)


@contextlib.contextmanager
def _stopped(processes: list[psutil.Process]) -> Iterator[None]:
    try:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def _programs() -> Path:
    if importlib.util.find_spec("psycopg") is None:
        raise Skipped("the extra 'postgresql' is not installed")
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        raise Skipped("PostgreSQL's server is not installed")
    return found[-1]


def _user() -> str | None:
    """Whom the server runs as, if not as ourselves: it refuses to run as root."""
    if os.getuid():
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise Skipped("PostgreSQL does not run as root, and there is no other user to run it as")
