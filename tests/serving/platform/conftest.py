"""A PostgreSQL of the tests' own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest


@dataclass(frozen=True, slots=True)
class PostgreSQL:
    """A server on a socket in a folder of its own."""

    programs: Path
    folder: Path
    user: str | None

    @property
    def url(self) -> str:
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
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off"
        self.run("pg_ctl", "-l", self.folder / "log", "-o", options, "-w", "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-m", "immediate", "stop")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It neither answers nor hangs up within the block."""
        postmaster = psutil.Process(int((self.folder / "data" / "postmaster.pid").read_text().split()[0]))
        processes = [postmaster, *postmaster.children(recursive=True)]
        try:
            for process in processes:
                process.send_signal(signal.SIGSTOP)
            yield
        finally:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """A server that runs."""
    server = PostgreSQL(_programs(), Path(tempfile.mkdtemp(prefix="kw")), _user())
    try:
        if server.user is not None:
            shutil.chown(server.folder, server.user)
        server.run("initdb", "-U", "keeper", "-A", "trust", "-E", "UTF8", "--no-sync")
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(server.folder)


def _programs() -> Path:
    pytest.importorskip("psycopg", reason="the extra 'postgresql' is not installed")
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("PostgreSQL's server is not installed")
    return found[-1]


def _user() -> str | None:
    """Whom the server runs as, if not as whoever runs the tests: it refuses to run as root."""
    if os.getuid():
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    pytest.skip("PostgreSQL does not run as root, and there is no other user to run it as")
