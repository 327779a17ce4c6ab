"""The commands of a home, as a user runs them: processes of their own, which may be killed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from features.config.environment import inherited

_PATIENCE = 900.0
TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and all that it said."""

    code: int
    said: str

    @property
    def last(self) -> str:
        """What it said last."""
        return next((line for line in reversed(self.said.splitlines()) if line.strip()), "nothing")


def start(home: Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    """`python -m command…` on a home, which goes on by itself."""
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env=inherited(KEEPWELL_HOME=str(home), **environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(home: Path, *command: str, **environment: str) -> Ended:
    """`python -m command…` on a home, to its end."""
    process = start(home, *command, **environment)
    try:
        said, _ = process.communicate(timeout=_PATIENCE)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return Ended(process.returncode, said)
