"""Where one business keeps its state: the layout of KEEPWELL_HOME."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from features.atomic_write import write_atomically
from features.errors import HomeError, SchemaMismatch, StorageFull

T = TypeVar("T")

_LEAST_ROOM = 4 * 2**20
_KEPT: Final = (
    *("generations", "mlflow", "bundles", "scores", "shadow", "business.json", "CURRENT", "tuning.journal"),
    *("promotions.jsonl", "demo.key", "keepwell.db", "keepwell.db-wal", "keepwell.db-shm"),
    *("events.db", "events.db-wal", "events.db-shm", "live-events"),
)
"""What lies in a home, whoever of keepwell's packages keeps it there."""


def keep_private() -> None:
    """Let files and folders that this process makes from now on be its user's alone; call once, from a command."""
    os.umask(0o077)


def has_room(folder: Path) -> bool:
    """Whether something can still be recorded on the disk that a folder lies on; what is left of a full one is nothing."""
    return shutil.disk_usage(folder).free >= _LEAST_ROOM


def check_room(folder: Path) -> None:
    """See whether something can still be recorded where a home lies.

    Raises:
        StorageFull: its disk is full, or as good as that.
    """
    if not has_room(folder):
        raise StorageFull


@dataclass(frozen=True, slots=True)
class Home:
    """One business's folder of state; it holds exactly one business, fixed by the first build."""

    path: Path
    """Absolute, whatever it was made from: what is written down here names files that are read from elsewhere."""

    registry: str | None = None
    """The URI of MLflow's tracking and registry; None is SQLite in this home."""
    online_store: str | None = field(default=None, repr=False)
    """The URL of the Redis with its password, as this process was given it: what builds leave in the home has none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", self.path.absolute())

    @property
    def business_file(self) -> Path:
        return self.path / "business.json"

    @property
    def current_file(self) -> Path:
        return self.path / "CURRENT"

    @property
    def live(self) -> str | None:
        """The id of the build that is live, None before the first."""
        try:
            return self.current_file.read_bytes().decode("utf-8", "replace").strip()
        except FileNotFoundError:
            return None

    @property
    def generations(self) -> Path:
        return self.path / "generations"

    @property
    def mlflow(self) -> Path:
        return self.path / "mlflow"

    @property
    def database(self) -> Path:
        return self.path / "keepwell.db"

    @property
    def event_log(self) -> Path:
        """The database of events that came in live, where no PostgreSQL keeps them."""
        return self.path / "events.db"

    @property
    def live_events(self) -> Path:
        """What builds took from the log of live events, as files that are added to and never changed."""
        return self.path / "live-events"

    @property
    def tracking_uri(self) -> str:
        """The URI of MLflow's tracking and registry."""
        return self.registry or f"sqlite:///{self.mlflow / 'mlflow.db'}"

    @property
    def business(self) -> str | None:
        """The name of the business that lives here, or None before the first build."""
        try:
            advice = "restore it from a backup, or build in an empty home"
            return read_json(self.business_file, lambda content: str(content["name"]), advice)
        except FileNotFoundError:
            return None

    def protect(self) -> None:
        """Close to others what keepwell keeps here, if it was made before homes were private.

        The folder itself may hold more than a home, and is left as it is; so is what another user owns.
        """
        for name in _KEPT:
            path = self.path / name
            with contextlib.suppress(PermissionError, FileNotFoundError):
                path.chmod(path.stat().st_mode & 0o700)

    def claim(self, name: str) -> None:
        """Fix this home to the business `name`.

        Raises:
            HomeError: another business lives here.
        """
        owner = self.business
        if owner is None:
            write_atomically(self.business_file, json.dumps({"name": name}) + "\n")
        elif owner != name:
            raise HomeError(
                f"{self.path} holds the business '{owner}', not '{name}': set KEEPWELL_HOME to another folder for '{name}'."
            )

    @contextlib.contextmanager
    def lock(self, name: str, *, wait: bool = False) -> Iterator[None]:
        """Hold the exclusive lock `<name>.lock`; the kernel frees it when the process dies.

        Raises:
            HomeError: another process holds it and `wait` is false.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / f"{name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HomeError(
                    f"Another {name} is running in {self.path}: wait for it to end, then try again."
                ) from None
            yield


def read_json(path: Path, of: Callable[[Any], T], advice: str) -> T:
    """What `of` makes of a JSON file that is kept in a home; `advice` says what to do where it is damaged.

    Raises:
        FileNotFoundError: there is none.
        HomeError: it is cut, or says something else than what belongs there.
    """
    try:
        return of(json.loads(path.read_bytes()))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, SchemaMismatch):
        raise HomeError(f"{path} is damaged: {advice}.") from None
