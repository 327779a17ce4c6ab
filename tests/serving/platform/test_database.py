"""The service's database: its shape, its transactions, and what it says when it does not answer."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from features.errors import DatabaseUnavailable, StorageFull
from serving.current_scores import database_table  # noqa: F401
from serving.platform.database import Database
from serving.platform.tables import database_secrets, metadata

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'new folder' / 'keepwell.db'}")
    yield database
    database.close()


def test_migration_makes_the_tables_that_the_code_declares(database: Database) -> None:
    database.migrate()
    with database.read() as connection:
        context = MigrationContext.configure(connection)
        assert [step for step in compare_metadata(context, metadata) if "alembic_version" not in str(step)] == []


def test_migrating_again_changes_nothing(database: Database) -> None:
    database.migrate()
    with database.read() as connection:
        before = connection.scalar(select(database_secrets.c.secret))
    database.migrate()
    with database.read() as connection:
        assert connection.scalar(select(database_secrets.c.secret)) == before


def _migrate(url: str, start: Barrier) -> None:
    database = Database(url)
    start.wait(60)
    database.migrate()
    os._exit(0 if database.engine.dialect.has_table(database.engine.connect(), "decisions") else 1)


def test_processes_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    start = SPAWN.Barrier(3)
    processes = [
        SPAWN.Process(target=_migrate, args=(f"sqlite:///{tmp_path / 'keepwell.db'}", start)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]


def test_every_connection_is_durable_and_waits(database: Database) -> None:
    database.migrate()
    with database.read() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def test_a_write_takes_the_lock_before_it_reads(database: Database) -> None:
    database.migrate()
    with database.begin() as connection:
        connection.execute(select(database_secrets)).all()
        other = sqlite3.connect(str(database.url.database), timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("DELETE FROM database_secrets")
        other.close()


def test_a_write_that_raises_is_undone(database: Database) -> None:
    database.migrate()
    with pytest.raises(IntegrityError), database.begin() as connection:  # noqa: PT012 - both belong to the transaction
        connection.execute(insert(database_secrets).values(name="n", secret=b"s"))
        connection.execute(insert(database_secrets).values(name="n", secret=b"s"))
    with database.read() as connection:
        assert connection.scalars(select(database_secrets.c.name)).all() == ["cursor"]


def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    database.migrate()
    with database.begin() as connection:
        connection.execute(insert(database_secrets).values(name="n", secret=b"s"))
        with database.read() as reader:
            assert reader.scalars(select(database_secrets.c.name)).all() == ["cursor"]


def test_a_newer_database_is_refused(database: Database) -> None:
    database.migrate()
    with database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseUnavailable, match="written by a newer keepwell"):
        database.migrate()


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    file = tmp_path / "keepwell.db"
    file.write_text("This is a letter, and it is long enough to be read as a header of a database file, or so.\n" * 20)
    database = Database(f"sqlite:///{file}")
    with pytest.raises(DatabaseUnavailable, match=r"keepwell\.db does not answer: file is not a database\."):
        database.migrate()
    with pytest.raises(DatabaseUnavailable):
        database.ping()
    database.close()


@pytest.mark.parametrize(("room", "kind"), [(False, StorageFull), (True, DatabaseUnavailable)])
def test_a_disk_error_where_there_is_no_room_is_a_full_disk(
    database: Database, monkeypatch: pytest.MonkeyPatch, room: bool, kind: type[DatabaseUnavailable]
) -> None:
    monkeypatch.setattr("features.database.database.has_room", lambda _: room)

    def refuse(*_: object) -> None:
        raise OperationalError("INSERT", {}, sqlite3.OperationalError("disk I/O error"))

    monkeypatch.setattr("alembic.command.upgrade", refuse)
    for write in (database.migrate, lambda: _writes(database, refuse)):
        with pytest.raises(DatabaseUnavailable) as raised:
            write()
        assert raised.type is kind


def _writes(database: Database, write: Callable[[], None]) -> None:
    with database.begin():
        write()


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseUnavailable, match="can't be made"):
        Database(f"sqlite:///{tmp_path / 'file' / 'folder' / 'keepwell.db'}").migrate()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("no url", "is no URL"),
        ("postgresql://host:port/name", "is no URL"),
        ("mysql://host/name", "names 'mysql'"),
        ("sqlite://", "names 'sqlite'"),
        ("sqlite:///:memory:", "names 'sqlite'"),
    ],
)
def test_an_unusable_url_is_refused_in_one_sentence(url: str, sentence: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=sentence):
        Database(url)


def test_an_absent_server_is_unavailable_and_keeps_its_password() -> None:
    pytest.importorskip("psycopg")
    database = Database("postgresql://keeper:hush@127.0.0.1:1/keepwell")
    with pytest.raises(DatabaseUnavailable):
        database.ping()
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1") as caught:
        database.migrate()
    assert "hush" not in str(caught.value)
