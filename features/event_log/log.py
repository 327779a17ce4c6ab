"""The durable log of events that come in live: what it says it has taken is on disk, once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, insert, select

from features.database.database import Database
from features.errors import DatabaseUnavailable
from features.event_log.event import LiveEvent, Refusal, check, microseconds
from features.event_log.tables import VERSION_TABLE, live_events, refused_events
from features.reasons import Reason

_STEPS: Final = Path(__file__).with_name("migrations")
_AT_ONCE: Final = 500  # SQLite's parameters are counted
_SAID: Final = tuple(live_events.c[field.name] for field in fields(LiveEvent))


class EventStatus(StrEnum):
    """What became of an event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one event; `refusal` says why it was rejected."""

    status: EventStatus
    refusal: Refusal | None = None


class EventLog:
    """The log in one database; any number of threads, processes and servers may append to it.

    Args:
        patience: seconds to wait for one's turn to write, and for the database.
        clock: what time it is, aware.
    """

    def __init__(
        self, url: str, patience: float = 5.0, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = Database(url, patience, patience)
        self._patience = patience
        self._clock = clock
        # SQLite polls for its one writer, and a PostgreSQL's connections are few: threads of one process queue here.
        self._turn = threading.Lock()
        self._is_prepared = False

    def prepare(self) -> None:
        """Make the tables, or bring them to this version's shape.

        Raises:
            DatabaseUnavailable: the database does not answer, or was written by a newer version.
        """
        with self._in_turn():
            self._prepare()

    def append(self, said: Sequence[object]) -> tuple[Verdict, ...]:
        """Take events as JSON values have them; a verdict for each, in order, all of them durable.

        Of events with one `event_id` the first to be durable stays: the same again is a duplicate, another a conflict.

        Raises:
            DatabaseUnavailable: none of them was taken.
        """
        with self._write() as connection:
            now = self._clock()
            checked = [check(one, now) for one in said]
            known = self._known(connection, checked)
            verdicts: list[Verdict] = []
            new: list[LiveEvent] = []
            for event in checked:
                verdict = _verdict(event, known)
                verdicts.append(verdict)
                if isinstance(event, LiveEvent) and verdict.status is EventStatus.ACCEPTED:
                    new.append(event)
                    if event.event_id is not None:
                        known[event.event_id] = event
            received = microseconds(now)
            if new:
                connection.execute(insert(live_events), [{**asdict(event), "received": received} for event in new])
            _set_aside(connection, said, verdicts, received)
        return tuple(verdicts)

    def close(self) -> None:
        """Give back all connections."""
        self._database.close()

    @contextlib.contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._in_turn():
            self._prepare()
            with self._database.begin() as connection:
                # One writer at a time: sequences become visible in order, and nobody inserts what was just not found.
                self._database.lock(connection, "live events")
                yield connection

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=self._patience):
            raise DatabaseUnavailable("The log of events does not answer; try again later.")
        try:
            yield
        finally:
            self._turn.release()

    def _prepare(self) -> None:
        if not self._is_prepared:
            self._database.upgrade(_STEPS, VERSION_TABLE)
            self._is_prepared = True

    def _known(self, connection: Connection, events: Sequence[LiveEvent | Refusal]) -> dict[str, LiveEvent]:
        """Those of the events' ids that the log has, with what it has of them."""
        ids = sorted(
            {event.event_id for event in events if isinstance(event, LiveEvent) and event.event_id is not None}
        )
        known: dict[str, LiveEvent] = {}
        for start in range(0, len(ids), _AT_ONCE):
            found = select(*_SAID).where(live_events.c.event_id.in_(ids[start : start + _AT_ONCE]))
            known |= {row.event_id: LiveEvent(*row) for row in connection.execute(found)}
        return known


def _verdict(event: LiveEvent | Refusal, known: Mapping[str, LiveEvent]) -> Verdict:
    if isinstance(event, Refusal):
        return Verdict(EventStatus.REJECTED, event)
    former = None if event.event_id is None else known.get(event.event_id)
    if former is None:
        return Verdict(EventStatus.ACCEPTED)
    if former == event:
        return Verdict(EventStatus.DUPLICATE)
    return Verdict(EventStatus.REJECTED, Refusal("event_id", Reason.CONFLICT))


def _set_aside(connection: Connection, said: Sequence[object], verdicts: Sequence[Verdict], received: int) -> None:
    """Put what was rejected into quarantine, once, however often it is sent."""
    rows: dict[str, dict[str, object]] = {}
    for one, verdict in zip(said, verdicts, strict=True):
        if verdict.refusal is None:
            continue
        # Escaped, so that what no text can hold is there too.
        raw = json.dumps(one)
        field, reason = verdict.refusal.field, verdict.refusal.reason.value
        digest = hashlib.sha256("\n".join((field, reason, raw)).encode()).hexdigest()
        rows[digest] = {"digest": digest, "received": received, "field": field, "reason": reason, "raw": raw}
    digests = sorted(rows)
    for start in range(0, len(digests), _AT_ONCE):
        there = select(refused_events.c.digest).where(refused_events.c.digest.in_(digests[start : start + _AT_ONCE]))
        for digest in connection.scalars(there):
            del rows[digest]
    if rows:
        connection.execute(insert(refused_events), list(rows.values()))
