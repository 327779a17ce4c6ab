"""Which file of a home is damaged: asked when a command meets an error that it does not know, and never before."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from features.config.environment import Environment
from features.errors import FeaturesError
from features.generation import BUILD_AGAIN, Generation
from features.home import Home


def damage_behind(error: Exception) -> str | None:
    """What to tell a user instead of the traceback of `error`, if the home holds what cannot be read; else None."""
    if type(error).__module__.partition(".")[0] in ("click", "typer"):
        return None  # how commands end
    try:
        return damage(Environment.from_environment().state)
    except FeaturesError as found:
        return str(found)


def damage(home: Home) -> str | None:
    """The first file of a home that is not what it should be, and what to do; None where all of them can be read.

    Raises:
        FeaturesError: what says so itself: there is no build, or its manifest cannot be read.
    """
    checked: list[tuple[str | None, str]] = [
        (_reason(path), "restore it from a backup") for path in (home.database, home.mlflow / "mlflow.db")
    ]
    if home.business is not None:
        checked.append((damage_in(Generation.current(home).path), BUILD_AGAIN))
    checked.append((damage_in(home.mlflow / "artifacts"), "restore it from a backup, or train again"))
    checked.append((damage_in(home.path / "scores"), "take it away"))
    return next((f"{reason}: {advice}." for reason, advice in checked if reason is not None), None)


def damage_in(folder: Path) -> str | None:
    """The first file within a folder that is not what its name says, and why."""
    reasons = (_reason(path) for path in sorted(folder.rglob("*")) if path.is_file())
    return next((reason for reason in reasons if reason is not None), None)


def _reason(path: Path) -> str | None:
    check = _CHECKS.get(path.suffix)
    if check is None or not path.exists():
        return None
    try:
        check(path)
    except (OSError, ValueError, sqlite3.Error, pa.ArrowException) as error:
        why = str(error).strip().partition("\n")[0][:200].rstrip(".") or type(error).__name__
        return f"{path} is damaged ({why})"
    return None


def _read_parquet(path: Path) -> None:
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            file.read_row_group(group)


def _read_json(path: Path) -> None:
    json.loads(path.read_bytes())


def _read_database(path: Path) -> None:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise ValueError(said)


_CHECKS: Final[dict[str, Callable[[Path], None]]] = {
    ".parquet": _read_parquet,
    ".json": _read_json,
    ".db": _read_database,
}
