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

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from serving.errors import KeyNameTaken, UnknownKey
from serving.platform.database import Database
from serving.platform.tables import api_keys

PREFIX = "kw_"
_CACHE_SECONDS = 3.0
_CACHE_SIZE = 10_000


class Role(StrEnum):
    """What a key may do; a lead may do what a manager may, for the accounts of a team, and an admin everything."""

    SCORER = "scorer"
    MANAGER = "manager"
    LEAD = "lead"
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
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._cache: dict[str, tuple[float, Principal]] = {}
        self._lock = threading.Lock()

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
        """Whose key this is, or None; a revoked key is refused at most 3 seconds later.

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
            self._cache[digest] = (now + _CACHE_SECONDS, principal)
        return principal

    def remembered(self, secret: str) -> Principal | None:
        """Whose key this is if that was read within the last 3 seconds; it never waits, so that it may be asked anywhere."""
        known = self._cache.get(digest_of(secret))
        return known[1] if known is not None and known[0] > self._clock() else None

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
