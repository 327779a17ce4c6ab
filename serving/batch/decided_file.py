"""The decisions about one file's customers, kept with the log until the file of scores is whole: who starts again goes on.

A run that is killed has logged decisions, and written no file. The next run of the same file finds them, and decides about
the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from sqlalchemy import Connection, delete, insert, or_, select, update

from serving.errors import CommandError
from serving.platform.database import Database
from serving.platform.tables import batch_chunks, batch_files

KEPT_FOR = timedelta(hours=24)
"""How long a file that was decided about gives the same decisions again."""
_GIVEN_UP_AFTER = timedelta(days=30)


class DecidedFile:
    """What was decided about the rows of one file, by the first row of each chunk.

    Args:
        digest: of the file, see `digest_of`.
    """

    def __init__(
        self, database: Database, digest: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._digest = digest
        self._clock = clock
        self.repeated = 0
        """Rows that were decided about by an earlier run."""

    def begin(self, *, anew: bool) -> None:
        """Go on with what an earlier run of the file left, and forget files that are done; `anew` forgets this one too."""
        now = self._clock()
        files, chunks = batch_files.c, batch_chunks.c
        done = or_(files.completed_at <= now - KEPT_FOR, files.begun_at <= now - _GIVEN_UP_AFTER)
        if anew:
            done = or_(done, files.digest == self._digest)
        with self._database.begin() as connection:
            self._database.lock(connection, "batch")
            gone = list(connection.scalars(select(files.digest).where(done)))
            connection.execute(delete(batch_chunks).where(chunks.digest.in_(gone)))
            connection.execute(delete(batch_files).where(files.digest.in_(gone)))
            if connection.scalar(select(files.digest).where(files.digest == self._digest)) is None:
                connection.execute(insert(batch_files).values(digest=self._digest, begun_at=now))

    def find(self, first: int) -> pa.Table | None:
        """The rows from `first` on, as they were decided about; None where they are still to be."""
        with self._database.read() as connection:
            return self._rows(connection, first)

    def claim(self, connection: Connection, first: int) -> pa.Table | None:
        """As `find`, for who decides about them in this transaction: nobody else does meanwhile."""
        self._database.lock(connection, "batch", [self._digest])
        return self._rows(connection, first)

    def keep(self, connection: Connection, first: int, table: pa.Table) -> None:
        """Keep the rows from `first` on, which the transaction decides about."""
        connection.execute(insert(batch_chunks).values(digest=self._digest, first_row=first, rows=_packed(table)))

    def complete(self) -> None:
        """The file of scores is in its place."""
        with self._database.begin() as connection:
            connection.execute(
                update(batch_files)
                .where(batch_files.c.digest == self._digest, batch_files.c.completed_at.is_(None))
                .values(completed_at=self._clock())
            )

    def _rows(self, connection: Connection, first: int) -> pa.Table | None:
        kept = batch_chunks.c
        packed = connection.scalar(select(kept.rows).where(kept.digest == self._digest, kept.first_row == first))
        if packed is None:
            return None
        with pa.ipc.open_stream(packed) as stream:
            table = stream.read_all()
        self.repeated += table.num_rows
        return table


def digest_of(path: Path, business: str, chunk: int) -> str:
    """What tells a file from others: its content, whose customers it names, and by how many rows it is decided about.

    Raises:
        CommandError: it cannot be read.
    """
    digest = hashlib.sha256(f"{business}\n{chunk}\n".encode())
    try:
        with path.open("rb") as file:
            while part := file.read(2**20):
                digest.update(part)
    except OSError as error:
        raise CommandError(f"{path}: the file cannot be read ({error.strerror}).") from None
    return digest.hexdigest()


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]
