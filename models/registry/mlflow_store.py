"""Where MLflow keeps runs and versions: a SQLite file, another database, or a server."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

import sqlalchemy

from models.atomic_write import put
from models.errors import RegistryError


def quiet_mlflow(tracking_uri: str) -> None:
    """Settle, before MLflow is first imported, what it would otherwise do unasked; what the environment says, stands.

    It sends no usage data, draws no progress bars for small artifacts, gives up on a dead server in seconds rather than
    minutes, and does not print errors that are raised as well.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    if over_http(tracking_uri):
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def store_exists(tracking_uri: str) -> bool:
    """Whether there can be anything at `tracking_uri`: False only for a SQLite file that is not there yet."""
    database = sqlite_file(tracking_uri)
    return database is None or database.exists()


def prepare_store(tracking_uri: str) -> None:
    """Create MLflow's SQLite database if it is not there; other stores are left as they are.

    MLflow migrates a new database in a hundred steps that do not survive a kill, and that another process would see half
    done: so it is made aside, and switched into place whole.

    Raises:
        RegistryError: it cannot be written there.
    """
    database = sqlite_file(tracking_uri)
    if database is None or database.exists():
        return
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with database.with_name(f"{database.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not database.exists():
                _create_store(database, tracking_uri)
    except OSError as error:
        raise RegistryError(f"MLflow's database {database} cannot be made: {error.strerror or error}.") from error


def _create_store(database: Path, tracking_uri: str) -> None:
    quiet_mlflow(tracking_uri)
    aside = database.with_name(f".{database.name}.new")
    # What a killed run left; the lock is held, so nobody writes there.
    for left in database.parent.glob(f"{aside.name}*"):
        left.unlink()
    _lay_out(aside, database.parent / "artifacts")
    put(aside, database)


def _lay_out(database: Path, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(f"sqlite:///{database}", str(artifacts))
    store.engine.dispose()


def sqlite_file(tracking_uri: str) -> Path | None:
    """The file of a SQLite URL, None for any other store."""
    if not tracking_uri.startswith("sqlite"):
        return None
    database = sqlalchemy.engine.make_url(tracking_uri).database
    return Path(database) if database and database != ":memory:" else None


def over_http(tracking_uri: str) -> bool:
    """Whether it is a server that is asked over HTTP."""
    return tracking_uri.startswith(("http://", "https://"))


def without_password(tracking_uri: str) -> str:
    """The URI, as it may be printed."""
    if "@" not in tracking_uri:
        return tracking_uri
    return sqlalchemy.engine.make_url(tracking_uri).render_as_string(hide_password=True)


def reason_of(error: BaseException) -> str:
    """What an error of MLflow says, in a line: SQLAlchemy puts a note to programmers before what a database said."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if not line.startswith("(raised as a result of")), lines[0])
