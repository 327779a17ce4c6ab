"""The main job on a simulated business: each command that a user would run, in order, and none that is already done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from features.errors import NoGeneration
from features.generation import Generation
from features.home import Home, write_atomically
from models.registry.registry import Registry
from serving.auth.api_keys import ApiKeys, Role
from serving.platform.database import Database
from serving.platform.settings import Settings

KEY_NAME = "demo"


def prepare(settings: Settings) -> None:
    """Bring a simulated business to a champion; whatever stands from an earlier start is kept.

    Raises:
        subprocess.CalledProcessError: a command failed, and has said why.
        HomeError: the home holds another business.
    """
    home = settings.state
    home.claim("simulated")
    config = home.path / "simulation" / "business.toml"
    if not config.exists():
        _run("experiments", "simulate")
    if not _is_built(home):
        _run("features", "build", str(config))
    registry = Registry(home.tracking_uri, "simulated")
    if registry.champion() is None:
        if registry.challenger() is None:
            # A first look takes a minute; a search of its own length is one command away.
            _run("training", "run", str(config), "--budget", "3 trials")
        _run("training", "promote")


def api_key(settings: Settings) -> str:
    """The demo's API key, kept in `demo.key` for its owner alone; a new one where that is lost or was revoked."""
    path = settings.state.path / "demo.key"
    database = Database(settings.database)
    try:
        database.migrate()
        keys = ApiKeys(database)
        if path.exists():
            secret = path.read_text().strip()
            if keys.authenticate(secret) is not None:
                return secret
        if any(key.name == KEY_NAME and key.revoked_at is None for key in keys.list()):
            keys.revoke(KEY_NAME)
        secret = keys.add(KEY_NAME, Role.ADMIN)
        write_atomically(path, secret + "\n", mode=0o600)
        return secret
    finally:
        database.close()


def first_call(settings: Settings, secret: str) -> str:
    """A command that asks for one customer's score."""
    generation = Generation.current(settings.state)
    pillar = generation.schema.pillars[0].name
    snapshot = pq.read_table(
        generation.snapshot_file(pillar),
        columns=["customer_id"],
        filters=[("event_timestamp", "==", generation.as_of)],
    )
    customer = snapshot["customer_id"][0].as_py()
    return (
        f'curl -H "Authorization: Bearer {secret}" http://{settings.host}:{settings.port}/v1/customers/{customer}/score'
    )


def serve() -> None:
    """Become the server: it keeps the terminal, and Ctrl-C ends it."""
    os.execv(sys.executable, [sys.executable, "-m", "serving", "run"])


def _run(*command: str) -> None:
    shown = " ".join(_relative(part) for part in command)
    print(f"\n$ python -m {shown}", flush=True)
    subprocess.run([sys.executable, "-m", *command], check=True)


def _relative(part: str) -> str:
    path = Path(part)
    return os.path.relpath(path) if path.is_absolute() else part


def _is_built(home: Home) -> bool:
    try:
        Generation.current(home)
    except NoGeneration:
        return False
    return True


def failed(error: subprocess.CalledProcessError) -> tuple[str, int]:
    """What to say of a step that failed, and the exit code to end with."""
    command: Sequence[str] = error.cmd
    return f"'python {' '.join(command[1:])}' failed; what stands is kept: run 'make demo' again.", error.returncode
