"""A home's own registry says where it lies itself, wherever the home was moved, copied or restored to.

MLflow writes down absolute paths. Taken as they are, a home that was moved finds no model, and a copy writes into the home
that it was copied from.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

from models.errors import RegistryError
from models.registry.mlflow_store import sqlite_file

_FILE = "mlflow.db"
_FOLDER = "mlflow"
_HOME = "business.json"
"""What tells a home's own registry, `<home>/mlflow/mlflow.db`, from a file of others, whose paths are theirs."""

_ARTIFACTS = re.compile(rf"(?P<root>(?:file://)?/(?:.*/)?{_FOLDER})/artifacts(?:/[^/]*)?")
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_PATIENCE = 30.0


def follow_home(tracking_uri: str) -> None:
    """Let the registry of a home that was moved or copied name the files of this home; others are left as they are.

    It costs a look at the experiments, and so may be called before every use.

    Raises:
        RegistryError: the home was moved, and its registry cannot be written.
    """
    database = sqlite_file(tracking_uri)
    if database is None or (database.parent.name, database.name) != (_FOLDER, _FILE):
        return
    if not database.is_file() or not (database.parent.parent / _HOME).exists():
        return
    try:
        # Closed, not only committed: a connection that is left open would keep the file's locks.
        with contextlib.closing(sqlite3.connect(database, timeout=_PATIENCE, isolation_level=None)) as connection:
            if _strange_roots(connection, database.parent):
                connection.execute("BEGIN IMMEDIATE")
                for root in _strange_roots(connection, database.parent):
                    _rename(connection, root, database.parent)
                connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise RegistryError(f"The registry {database} cannot be told where its home is now: {error}.") from error


def _strange_roots(connection: sqlite3.Connection, folder: Path) -> set[str]:
    """The roots, as they are written down, of artifacts that should lie in `folder`, and lie elsewhere."""
    try:
        found = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    except sqlite3.OperationalError:
        return set()  # it is not MLflow's, or not yet
    roots = {match["root"] for (location,) in found if (match := _ARTIFACTS.fullmatch(location or ""))}
    return {root for root in roots if root != _written(root, folder) and not _is_same(root, folder)}


def _rename(connection: sqlite3.Connection, root: str, folder: Path) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    old, new = f"{root}/artifacts", f"{_written(root, folder)}/artifacts"
    for table, column in _PLACES:
        if table in tables:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (new, len(old) + 1, len(old), old),
            )


def _written(root: str, folder: Path) -> str:
    """The folder, as `root` is written: as a URI, or as a path."""
    return folder.as_uri() if root.startswith("file://") else str(folder)


def _is_same(root: str, folder: Path) -> bool:
    """Whether `root` is the folder by another name, such as a link to it."""
    path = unquote(urlsplit(root).path) if root.startswith("file://") else root
    with contextlib.suppress(OSError):
        return Path(path).samefile(folder)
    return False
