"""API keys: who may call, in which role. A secret is shown once and kept only as its hash."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import structlog
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from serving.errors import KeyNameTaken, UnknownKey
from serving.platform.database import Database
from serving.platform.tables import api_keys

PREFIX = "kw_"
_CACHE_SECONDS = 3.0
_CONFIRM_SECONDS = 1.0
_OUTLIVE_SECONDS = 600.0
_KEYS_PER_QUERY = 500

_log = structlog.get_logger(__name__)
_CACHE_SIZE = 10_000


class Role(StrEnum):
    """What a key may do: `ingest` sends events, and reads nothing; a lead may do what a manager may, for the accounts of a
    team, and an admin everything."""

    SCORER = "scorer"
    MANAGER = "manager"
    LEAD = "lead"
    INGEST = "ingest"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, in which role."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept: everything but its secret."""

    name: str
    role: Role
    created_at: datetime
    revoked_at: datetime | None
    owners: tuple[str, ...]
    """Whose accounts the pages show to it; empty is the key's own name, and everybody's for an admin."""


class ApiKeys:
    """The keys of one database.

    A secret holds 256 random bits, so that one unsalted SHA-256 is enough to keep it by, and to find it by: there is
    nothing to guess, and nothing to compare byte by byte.

    Keys are remembered for 3 seconds. Between `start` and `stop`, a thread asks the database every second which of them
    still stand: no request waits for that, and where the database does not answer, who was let in before is let in for ten
    minutes more, since scores need no database.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._cache: dict[str, tuple[float, Principal]] = {}
        self._lock = threading.Lock()
        self._lasts = _CACHE_SECONDS
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="keys", daemon=True)

    def start(self) -> None:
        """Begin to confirm keys aside."""
        self._lasts = _OUTLIVE_SECONDS
        self._thread.start()

    def stop(self) -> None:
        """End that, without waiting for a database that does not answer."""
        self._lasts = _CACHE_SECONDS
        self._stop.set()

    def confirm(self) -> None:
        """Ask which of the remembered keys still stand, and forget the others.

        Raises:
            DatabaseUnavailable: the keys can't be read; all stay remembered.
        """
        remembered = list(self._cache)
        for start in range(0, len(remembered), _KEYS_PER_QUERY):
            asked = remembered[start : start + _KEYS_PER_QUERY]
            now = self._clock()
            with self._database.read() as connection:
                standing = set(
                    connection.scalars(
                        select(api_keys.c.digest).where(api_keys.c.digest.in_(asked), api_keys.c.revoked_at.is_(None))
                    )
                )
            with self._lock:
                for digest in asked:
                    known = self._cache.pop(digest, None)
                    if known is not None and digest in standing:
                        self._cache[digest] = (now, known[1])

    def _follow(self) -> None:
        failed = False
        while not self._stop.wait(_CONFIRM_SECONDS):
            try:
                self.confirm()
                failed = False
            except Exception as error:
                # The thread must outlive whatever it ran into; the log has each silence once.
                if not failed:
                    _log.warning("keys could not be confirmed", reason=str(error))
                failed = True

    def add(self, name: str, role: Role, owners: Sequence[str] = ()) -> str:
        """A new key's secret, which no one can show again; on the pages it sees the accounts of `owners`.

        Raises:
            KeyNameTaken: a live key has that name.
        """
        secret = PREFIX + secrets.token_urlsafe(32)
        try:
            with self._database.begin() as connection:
                connection.execute(
                    insert(api_keys).values(
                        digest=digest_of(secret),
                        name=name,
                        role=role.value,
                        created_at=datetime.now(UTC),
                        owners=list(owners) or None,
                    )
                )
        except IntegrityError:
            raise KeyNameTaken(name) from None
        return secret

    def authenticate(self, secret: str) -> Principal | None:
        """Whose key this is, or None; a revoked key is refused at most 3 seconds later, while the database answers.

        Raises:
            DatabaseUnavailable: the keys can't be read.
        """
        remembered = self.remembered(secret)
        if remembered is not None:
            return remembered
        digest = digest_of(secret)
        now = self._clock()
        with self._database.read() as connection:
            row = connection.execute(
                select(api_keys.c.name, api_keys.c.role).where(
                    api_keys.c.digest == digest, api_keys.c.revoked_at.is_(None)
                )
            ).one_or_none()
        with self._lock:
            if row is None:
                self._cache.pop(digest, None)
                return None
            if len(self._cache) >= _CACHE_SIZE:
                self._cache.clear()
            principal = Principal(row.name, Role(row.role))
            self._cache[digest] = (now, principal)
        return principal

    def remembered(self, secret: str) -> Principal | None:
        """Whose key this is if that is remembered; it never waits, so that it may be asked anywhere."""
        known = self._cache.get(digest_of(secret))
        return known[1] if known is not None and self._clock() - known[0] < self._lasts else None

    def list(self) -> tuple[ApiKey, ...]:
        """All keys, revoked ones too, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(
                    api_keys.c.name,
                    api_keys.c.role,
                    api_keys.c.created_at,
                    api_keys.c.revoked_at,
                    api_keys.c.owners,
                ).order_by(api_keys.c.created_at, api_keys.c.name)
            ).all()
        return tuple(
            ApiKey(row.name, Role(row.role), row.created_at, row.revoked_at, tuple(row.owners or ())) for row in rows
        )

    def revoke(self, name: str) -> None:
        """Refuse the key `name` from now on.

        Raises:
            UnknownKey: no live key has that name.
        """
        with self._database.begin() as connection:
            revoked = connection.execute(
                update(api_keys)
                .where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
                .values(revoked_at=datetime.now(UTC))
            ).rowcount
        if not revoked:
            raise UnknownKey(name)
        with self._lock:
            self._cache.clear()


def digest_of(secret: str) -> str:
    """What a secret is kept by, and found by."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
