"""A terminal for one page: its commands run as they stand, on files and in a home of their own."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template

import httpx

from .pages import PACKAGES, ROOT

SERVER = ("serving", "run")
DEMO = ("experiments", "demo")
_SECONDS = 300.0
_OWN = ("KEEPWELL_", "MLFLOW_", "HOST", "PORT")


class PreloadedPython:
    """`python -m …` of this repository, without the seconds that its imports take each time."""

    def __init__(self, log: Path) -> None:
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("preloaded_python.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                bufsize=1,
                env={**os.environ, "PYTHONWARNINGS": "ignore"},
            )
        self._log = log

    def run(self, argv: Sequence[str], cwd: Path, environment: dict[str, str], output: Path) -> int:
        """Run a command whose output goes to a file; its exit code, or minus the signal that ended it."""
        order = {"argv": list(argv), "cwd": str(cwd), "environment": environment, "output": str(output)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._log.read_text()[-2000:]
        return int(json.loads(line))

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


class Terminal:
    """A folder with `.venv` and `var`, in which commands are typed one after another."""

    def __init__(self, folder: Path, python: PreloadedPython) -> None:
        self.folder = folder
        self._python = python
        (folder / ".venv").symlink_to(Path(sys.prefix))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
        self._environment = {
            **inherited, "PWD": str(folder), "PORT": str(self._port), "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        self._servers: list[subprocess.Popen[bytes]] = []

    @classmethod
    @contextlib.contextmanager
    def of(cls, folder: Path, python: PreloadedPython) -> Iterator[Terminal]:
        """A terminal in a folder, whose servers are stopped at the end."""
        terminal = cls(folder, python)
        try:
            yield terminal
        finally:
            terminal.close()

    def type(self, command: str, exits: Sequence[int] = (0,)) -> str:
        """Run a command, which must end with one of the codes; a server goes on, once it is ready. Its output."""
        command = command.replace("127.0.0.1:8000", f"127.0.0.1:{self._port}")
        words = shlex.split(command, comments=True)
        if words[0] == "export":
            for word in words[1:]:
                name, _, value = word.partition("=")
                self._environment[name] = Template(value).substitute(self._environment)
            self._environment["PORT"] = str(self._port)
            return ""
        module = module_of(words)
        if module is None:
            ran = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command.replace("curl ", "curl -f -sS ", 1)],
                cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False, timeout=_SECONDS,
            )  # fmt: skip
            assert ran.returncode in exits, f"{command}\n{ran.stdout}{ran.stderr}"
            return ran.stdout
        argv = [Template(word).safe_substitute(self._environment) for word in words[2:]]
        said = self.folder / f"output-{time.monotonic_ns()}"
        if ">" in argv:
            at = argv.index(">")
            said, argv = self.folder / argv[at + 1], argv[:at]
        if tuple(argv[:2]) in (SERVER, DEMO):
            # A server is a process of its own: it imports little, and what others import before it changes how it counts.
            with said.open("wb") as output:
                server = subprocess.Popen(
                    [sys.executable, "-m", *argv], cwd=self.folder, env=self._environment, stdout=output, stderr=output
                )
            self._servers.append(server)
            self._wait_until_ready(server, said)
        else:
            code = self._python.run(argv, self.folder, self._environment, said)
            assert code in exits, f"{command}\nended with {code}\n{said.read_text()}"
        return said.read_text()

    def _wait_until_ready(self, server: subprocess.Popen[bytes], said: Path) -> None:
        deadline = time.monotonic() + _SECONDS
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{self._port}/readyz").status_code == 200:
                    return
            assert server.poll() is None, f"the server ended: {said.read_text()}"
            assert time.monotonic() < deadline, f"the server is not ready: {said.read_text()}"
            time.sleep(0.05)

    def close(self) -> None:
        """Stop the servers that were started here."""
        for server in self._servers:
            server.terminate()
            server.wait(timeout=60)
        self._servers.clear()


def module_of(words: Sequence[str]) -> str | None:
    """The package that `python -m PACKAGE …` runs, if that is what a command is, and nothing for a shell to work out."""
    is_ours = len(words) > 2 and words[0] == ".venv/bin/python" and words[1] == "-m" and words[2] in PACKAGES
    return words[2] if is_ours and not any("$(" in word for word in words) else None


def copy_home(home: Path, folder: Path) -> None:
    """A home of its own, as the default one of a folder."""
    shutil.copytree(home, folder / "var")
