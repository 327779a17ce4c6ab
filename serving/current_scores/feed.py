"""The durable table of everybody's current score, and how others follow it without missing a change."""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Row,
    Select,
    Table,
    false,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from serving.current_scores.database_table import current_scores
from serving.current_scores.record import COLUMNS, BatchRow
from serving.errors import InvalidCursor
from serving.platform.database import Database
from serving.platform.tables import database_secrets, score_release, score_rewrites

CURSOR_LIFETIME = timedelta(days=7)
_CHUNK = 1000
_COMPARED = tuple(name for name in COLUMNS if name not in ("customer_id", "scored_at"))
_POSITION = struct.Struct(">QQ")
_SIGNATURE_BYTES = 16

_incoming = Table(
    "incoming_scores",
    MetaData(),
    *(Column(name, current_scores.c[name].type, primary_key=name == "customer_id") for name in COLUMNS),
    Column("position", BigInteger, nullable=False),
    prefixes=["TEMPORARY"],
)


@dataclass(frozen=True, slots=True)
class DeletedCustomer:
    """Somebody who was scored once and is no longer a customer."""

    customer_id: str


@dataclass(frozen=True, slots=True)
class ScorePage:
    """Changes in their order; `next_cursor` is None when there is nothing more for now."""

    rows: tuple[BatchRow | DeletedCustomer, ...]
    next_cursor: str | None


class CurrentScores:
    """The scores of the whole population under one release, in the order in which they changed."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._cursor_secret: bytes | None = None

    def is_current(self, release_key: str) -> bool:
        """Whether the table holds the scores of the release `release_key`."""
        with self.database.read() as connection:
            return connection.scalar(select(score_release.c.release)) == release_key

    def rewrite(self, release_key: str, rows: Iterable[BatchRow]) -> int:
        """Make the table that of `release_key`: all of it or, whatever happens on the way, nothing.

        `rows` (each customer once) are drawn into a temporary table first, so that scoring them keeps no writer waiting;
        one transaction then switches. A row moves to the end of the order when any column but `scored_at` changes, and
        whoever is not in `rows` is marked deleted.

        Returns:
            how many rows moved.
        """
        with self.database.connect() as connection:
            try:
                with connection.begin():
                    _incoming.create(connection)
                for chunk in _numbered(rows):
                    with connection.begin():
                        connection.execute(insert(_incoming), chunk)
                with self.database.writing(connection):
                    self.database.lock(connection, "scores")
                    changed = _switch(connection, release_key)
            finally:
                if not connection.invalidated:
                    with connection.begin():
                        _incoming.drop(connection, checkfirst=True)
            with self.database.writing(connection):
                self.database.lock(connection, "scores")
                _stamp_visible(connection)
        return changed

    def page(self, changed_since: datetime | None, cursor: str | None, limit: int) -> ScorePage:
        """The next `limit` changes after `cursor`, or else since the moment `changed_since`, or else all.

        A follower who comes back with the last cursor it got, or, once that was None, with the time at which it began its
        last round, sees every change at least once.

        Raises:
            InvalidCursor: the cursor is damaged, not from this database, or older than 7 days.
        """
        with self.database.read() as connection:
            secret = self._secret(connection)
            last = _last_sequence(connection)
            if cursor is not None:
                after = _opened(cursor, secret, last)
            elif changed_since is not None:
                after = _before(connection, changed_since, last)
            else:
                after = 0
            found = connection.execute(
                select(current_scores)
                .where(current_scores.c.sequence > after)
                .order_by(current_scores.c.sequence)
                .limit(limit + 1)
            ).all()
        shown = found[:limit]
        more = len(found) > limit
        return ScorePage(
            rows=tuple(_row(row) for row in shown),
            next_cursor=_sealed(shown[-1].sequence, secret) if more else None,
        )

    def probabilities(self, release_key: str) -> NDArray[np.float64] | None:
        """Everybody's churn probability, (n,) in rising order; None while the table is of another release."""
        with self.database.read() as connection:
            if connection.scalar(select(score_release.c.release)) != release_key:
                return None
            found = connection.scalars(
                select(current_scores.c.churn_probability).where(current_scores.c.deleted == false())
            )
            return np.sort(np.fromiter(found, dtype=np.float64))

    def _secret(self, connection: Connection) -> bytes:
        if self._cursor_secret is None:
            self._cursor_secret = connection.execute(
                select(database_secrets.c.secret).where(database_secrets.c.name == "cursor")
            ).scalar_one()
        return self._cursor_secret


def _numbered(rows: Iterable[BatchRow]) -> Iterator[list[dict[str, Any]]]:
    numbered = enumerate(rows)
    while chunk := list(islice(numbered, _CHUNK)):
        yield [{**{name: getattr(row, name) for name in COLUMNS}, "position": position} for position, row in chunk]


def _switch(connection: Connection, release_key: str) -> int:
    """Move the incoming rows into the table of current scores, within the caller's transaction."""
    now = datetime.now(UTC)
    last = _last_sequence(connection)
    new, old = _incoming.c, current_scores.c
    differs = or_(
        old.customer_id.is_(None), old.deleted == true(), *(old[name].is_distinct_from(new[name]) for name in _COMPARED)
    )
    moved = (
        select(
            *(new[name] for name in COLUMNS),
            (literal(last) + func.row_number().over(order_by=new.position)).label("sequence"),
            false().label("deleted"),
        )
        .select_from(_incoming.outerjoin(current_scores, old.customer_id == new.customer_id))
        .where(differs)
    )
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"ANALYZE {_incoming.name}")
    fresh = select(new.scored_at).where(new.customer_id == old.customer_id).scalar_subquery()
    _upsert(connection, moved)
    after_moved = connection.scalar(select(func.max(old.sequence))) or last
    connection.execute(
        update(current_scores)
        .where(old.sequence <= last, old.customer_id.in_(select(new.customer_id)))
        .values(scored_at=fresh)
    )
    gone = select(
        old.customer_id,
        *(null().label(name) for name in COLUMNS if name != "customer_id"),
        (literal(after_moved) + func.row_number().over(order_by=old.sequence)).label("sequence"),
        true().label("deleted"),
    ).where(old.deleted == false(), old.customer_id.not_in(select(new.customer_id)))
    _upsert(connection, gone)
    end = connection.scalar(select(func.max(old.sequence))) or last
    if end > last:
        connection.execute(insert(score_rewrites).values(first_sequence=last + 1, last_sequence=end, rewritten_at=now))
    connection.execute(score_release.delete())
    connection.execute(insert(score_release).values(id=1, release=release_key, rewritten_at=now))
    return end - last


def _upsert(connection: Connection, rows: Select[Any]) -> None:
    names = [column.name for column in rows.selected_columns]
    on_conflict: Any
    if connection.dialect.name == "postgresql":
        on_conflict = postgresql.insert(current_scores).from_select(names, rows)
    else:
        on_conflict = sqlite.insert(current_scores).from_select(names, rows)
    statement = on_conflict.on_conflict_do_update(
        index_elements=["customer_id"],
        set_={name: on_conflict.excluded[name] for name in names if name != "customer_id"},
    )
    connection.execute(statement)


def _stamp_visible(connection: Connection) -> None:
    """Say of committed rewrites that they are visible by now.

    The time is taken under the write lock: whoever looked before the commit did so before it, so that asking for the
    changes since then finds them. A rewrite that was killed before this counts as visible just now, to everybody.
    """
    connection.execute(
        update(score_rewrites).where(score_rewrites.c.visible_at.is_(None)).values(visible_at=datetime.now(UTC))
    )


def _last_sequence(connection: Connection) -> int:
    return connection.scalar(select(func.max(score_rewrites.c.last_sequence))) or 0


def _before(connection: Connection, moment: datetime, last: int) -> int:
    """The position before the first change that became visible at `moment` or later.

    Where a clock went back, later changes than that one have earlier times; they come with it.
    """
    visible: ColumnElement[bool] = or_(
        score_rewrites.c.visible_at.is_(None), score_rewrites.c.visible_at >= moment.astimezone(UTC)
    )
    first = connection.scalar(select(func.min(score_rewrites.c.first_sequence)).where(visible))
    return last if first is None else first - 1


def _row(row: Row[Any]) -> BatchRow | DeletedCustomer:
    if row.deleted:
        return DeletedCustomer(row.customer_id)
    return BatchRow(**{field.name: getattr(row, field.name) for field in fields(BatchRow)})


def _sealed(sequence: int, secret: bytes) -> str:
    position = _POSITION.pack(sequence, int(datetime.now(UTC).timestamp()))
    return base64.urlsafe_b64encode(position + _signature(position, secret)).rstrip(b"=").decode()


def _opened(cursor: str, secret: bytes, last: int) -> int:
    try:
        content = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        content = b""
    position, signature = content[: _POSITION.size], content[_POSITION.size :]
    if len(position) != _POSITION.size or not hmac.compare_digest(signature, _signature(position, secret)):
        raise InvalidCursor("The cursor is not one of this server's: start again without it, or with changed_since.")
    sequence, issued = cast(tuple[int, int], _POSITION.unpack(position))
    if datetime.now(UTC).timestamp() - issued > CURSOR_LIFETIME.total_seconds():
        raise InvalidCursor(
            f"The cursor is older than {CURSOR_LIFETIME.days} days: start again without it, or with changed_since."
        )
    if sequence > last:
        # A database that was restored from a backup starts its order again from there.
        raise InvalidCursor("The cursor is ahead of the table: start again without it, or with changed_since.")
    return sequence


def _signature(position: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, position, "sha256")[:_SIGNATURE_BYTES]
