"""Which version served since when, and why: one line of JSON for every promotion and rollback of a home."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from features.home import Home
from training.errors import TrainingError


def promotion_log(home: Home) -> Path:
    """Where the lines stand."""
    return home.path / "promotions.jsonl"


def note(
    home: Home,
    what: str,
    version: str,
    previous: str | None,
    *,
    forced: str | None = None,
    overruled: Sequence[str] = (),
) -> None:
    """Append a line, on disk when this returns.

    Args:
        what: "promote" or "rollback".
        forced: the reason that was given for overruling gates.
        overruled: what the gates said.

    Raises:
        TrainingError: the disk refuses.
    """
    line = {
        "at": datetime.now(UTC).isoformat(),
        "by": _who(),
        "what": what,
        "version": version,
        "previous": previous,
        "forced": forced,
        "overruled": list(overruled),
    }
    path = promotion_log(home)
    try:
        with path.open("a") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise TrainingError(f"The promotion cannot be noted in {path}: {error.strerror}.") from error


def _who() -> str | None:
    """The account that runs this; None where the system has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
