"""A database that keepwell keeps things in: a file of SQLite in the home by default, PostgreSQL by URL."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import sqlite3
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, bindparam, create_engine, event, func, make_url, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError, TimeoutError
from sqlalchemy.types import Integer

from features.breaker import Breaker
from features.errors import DatabaseUnavailable, StorageFull
from features.home import has_room

_BUSY_SECONDS = 30.0
_LOCK_BUCKETS = 256
_SILENT = "The service's database does not answer; try again later."


class Database:
    """A database, by its SQLAlchemy URL; nothing is opened before first use.

    A write is one `begin()`: on SQLite it takes the write lock at once, so that what it read stays true until it commits;
    on PostgreSQL it calls `lock` for what it needs to itself.
    """

    def __init__(self, url: str, patience: float | None = None, busy_seconds: float = _BUSY_SECONDS) -> None:
        """Point at the database `url` (`sqlite:///FILE`, `postgresql://…`).

        Args:
            patience: seconds that a PostgreSQL may take to connect, for each statement, and until a connection is free;
                after a silence nobody asks again for a second. None waits, for work that may take long.
            busy_seconds: how long a write waits for SQLite's one writer.

        Raises:
            DatabaseUnavailable: the URL is no database that this service can use.
        """
        self.url = _parse(url)
        if self.url.get_backend_name() == "sqlite":
            self.engine = create_engine(self.url, pool_size=10, max_overflow=50)
            event.listen(self.engine, "connect", partial(_configure_sqlite, busy_seconds))
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            try:
                self.engine = create_engine(
                    self.url, pool_size=10, max_overflow=50, pool_pre_ping=True, pool_timeout=patience or _BUSY_SECONDS
                )
                if patience is not None:
                    from features.database.patient_connection import limit

                    limit(self.engine, patience)
            except ModuleNotFoundError as error:
                raise DatabaseUnavailable(
                    f"KEEPWELL_DATABASE_URL needs the package '{error.name}': install keepwell[postgresql]."
                ) from None
        self._breaker: Breaker | None = None
        if patience is not None and self.url.get_backend_name() != "sqlite":
            self._breaker = Breaker(_is_silence, lambda: DatabaseUnavailable(_SILENT))
        self._writer: Engine = self.engine.execution_options(sqlite_begin="IMMEDIATE")

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that writes: committed at the end of the block, undone if the block raises.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        with self._answering(), self._writer.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads, of one moment throughout.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        with self._answering(), self.engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def connect(self) -> Iterator[Connection]:
        """One connection for several transactions, which share its temporary tables; each is `writing(connection)` or
        `connection.begin()`.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        with self._answering(), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self, connection: Connection) -> Iterator[None]:
        """A transaction that writes, on a connection of `connect`."""
        connection.execution_options(sqlite_begin="IMMEDIATE")
        try:
            with connection.begin():
                yield
        finally:
            connection.execution_options(sqlite_begin="DEFERRED")

    def lock(self, connection: Connection, kind: str, names: Iterable[str] = ("",)) -> None:
        """Hold (`kind`, name) for every name until the transaction of `connection` ends; deadlock-free within a kind.

        SQLite has one writer at a time, and `begin` made this one it. Names share buckets, because PostgreSQL's lock
        table is small.
        """
        if connection.dialect.name != "postgresql":
            return
        buckets = sorted({int.from_bytes(_digest(name)[:4], "big") % _LOCK_BUCKETS for name in names})
        keys = select(func.unnest(bindparam("buckets", buckets, ARRAY(Integer))).label("bucket")).subquery()
        space = int.from_bytes(_digest(kind)[:4], "big", signed=True)
        connection.execute(select(func.pg_advisory_xact_lock(space, keys.c.bucket))).all()

    def upgrade(self, steps: Path, version_table: str) -> None:
        """Bring the tables that Alembic's `steps` make to their newest shape, in one transaction; of two processes, one waits.

        Raises:
            DatabaseUnavailable: the database does not answer, or was written by a newer version.
        """
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        if self.url.get_backend_name() == "sqlite" and self.url.database:
            self._make_folder(Path(self.url.database))
        config = Config()
        config.set_main_option("script_location", str(steps).replace("%", "%%"))
        try:
            with self.begin() as connection:
                self.lock(connection, "migrate")
                config.attributes.update(connection=connection, version_table=version_table)
                command.upgrade(config, "head")
        except CommandError:
            raise DatabaseUnavailable(
                f"The database {self} was written by a newer keepwell: run that version, or restore a backup."
            ) from None
        except StorageFull:
            raise
        except DatabaseUnavailable as error:
            # Only here, where whoever runs the service reads it, does the message say where the database is.
            reason = str(getattr(error.__cause__, "orig", "")).strip().splitlines() or ["no reason given"]
            raise DatabaseUnavailable(f"The database {self} does not answer: {reason[0].rstrip('.')}.") from error

    def ping(self) -> None:
        """Ask the database for an answer.

        Raises:
            DatabaseUnavailable: there is none.
        """
        with self.read() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    def _make_folder(self, file: Path) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseUnavailable(f"The database {self} can't be made: {error.strerror}.") from None

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        with contextlib.nullcontext() if self._breaker is None else self._breaker.guard(), self._translated():
            yield

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError, TimeoutError) as error:
            if self._is_full(error):
                raise StorageFull from error
            raise DatabaseUnavailable(_SILENT) from error
        except DatabaseError as error:
            # Of a file that is none of its own SQLite says "file is not a database", as a plain DatabaseError.
            if type(error) is not DatabaseError:
                raise
            raise DatabaseUnavailable("The service's database can't be read.") from error

    def _is_full(self, error: Exception) -> bool:
        """Whether SQLite or PostgreSQL found no room on its disk."""
        cause = getattr(error, "orig", None)
        if self.url.get_backend_name() == "sqlite" and "disk I/O error" in str(cause):
            # So SQLite calls it where a file beside the database cannot grow.
            return not has_room(Path(self.url.database or "").absolute().parent)
        return "disk is full" in str(cause) or getattr(cause, "sqlstate", None) == "53100" or _has_no_room(cause)


def _is_silence(error: Exception) -> bool:
    return isinstance(error, DatabaseUnavailable) and not isinstance(error, StorageFull)


def _has_no_room(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the port may be no number
        raise DatabaseUnavailable(
            "KEEPWELL_DATABASE_URL is no URL: give one like postgresql://user@host/name or sqlite:////path/keepwell.db."
        ) from None
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in ("sqlite", "sqlite+pysqlite") and parsed.database not in (None, "", ":memory:"):
        return parsed
    raise DatabaseUnavailable(
        f"KEEPWELL_DATABASE_URL names '{parsed.drivername}': keepwell uses postgresql:// or a file of sqlite:///."
    )


def _configure_sqlite(busy_seconds: float, connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late: `_begin_sqlite` sends ours
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {round(busy_seconds * 1000)}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = FULL")
    deadline = time.monotonic() + busy_seconds
    while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        # Going over to WAL needs the file for itself, and SQLite does not wait for that by itself.
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('sqlite_begin', 'DEFERRED')}")


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()
