"""Packed rows in Redis: one hash for a project's customer, with one field a view, read in one round trip."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import redis
from hiredis import pack_command
from redis.exceptions import RedisError, ResponseError

from features.breaker import Breaker
from features.errors import StoreUnavailable
from features.store.rows import Item

_ROWS_PER_ROUND_TRIP = 2_000
_KEYS_PER_SCAN = 10_000
_FIELDS = tuple(b"%d" % number for number in range(256))

_SILENT = (redis.ConnectionError, redis.TimeoutError, OSError)
"""What says that Redis does not answer, rather than that it answers no."""

Command = tuple[bytes, ...]
"""A command of Redis with its arguments."""


class PackedRedis:
    """Rows in a Redis, which several projects and generations share; their keys begin with the project's name."""

    def __init__(self, url: str, patience: float = 10.0) -> None:
        # A Redis that is down is to be known at once: its client would try again for seconds.
        self._pool = redis.ConnectionPool.from_url(
            url,
            **{"socket_connect_timeout": min(2.0, patience), "socket_timeout": patience, "retry": None, **_told(url)},
        )
        self._breaker = Breaker(lambda error: isinstance(error, _SILENT), _silent)

    def catalog(self, project: str) -> bytes | None:
        return self._one((b"GET", _catalog_key(project)))  # type: ignore[no-any-return]

    def declare(self, project: str, catalog: bytes) -> None:
        self._one((b"SET", _catalog_key(project), catalog))

    def get(self, project: str, numbers: Sequence[int], keys: Sequence[bytes]) -> list[bytes | None]:
        prefix, fields = _prefix(project), [_FIELDS[number] for number in numbers]
        found: list[list[bytes | None]] = []
        for start in range(0, len(keys), _ROWS_PER_ROUND_TRIP):
            part = keys[start : start + _ROWS_PER_ROUND_TRIP]
            found += self._all([(b"HMGET", prefix + key, *fields) for key in part])
        if len(found) == 1:
            return found[0]
        return [rows[n] for n in range(len(numbers)) for rows in found]

    def get_entity(self, places: Sequence[tuple[str, int]], key: bytes) -> list[bytes | None]:
        numbers: dict[str, list[int]] = {}
        for project, number in places:
            numbers.setdefault(project, []).append(number)
        replies = self._all(
            [(b"HMGET", _prefix(project) + key, *(_FIELDS[n] for n in of)) for project, of in numbers.items()]
        )
        found = {
            (project, number): row
            for (project, of), rows in zip(numbers.items(), replies, strict=True)
            for number, row in zip(of, rows, strict=True)
        }
        return [found[place] for place in places]

    def put(self, project: str, number: int, items: Sequence[Item]) -> None:
        prefix, field = _prefix(project), _FIELDS[number]
        for start in range(0, len(items), _ROWS_PER_ROUND_TRIP):
            part = items[start : start + _ROWS_PER_ROUND_TRIP]
            self._all([(b"HSET", prefix + key, field, row) for key, row in part])

    def drop(self, project: str, numbers: Sequence[int] | None = None) -> None:
        cursor = b"0"
        while True:
            cursor, keys = self._one(
                (b"SCAN", cursor, b"MATCH", _prefix(project) + b"*", b"COUNT", b"%d" % _KEYS_PER_SCAN)
            )
            if keys and numbers is None:
                self._one((b"UNLINK", *keys))
            elif keys:
                self._all([(b"HDEL", key, *(_FIELDS[number] for number in numbers or ())) for key in keys])
            if cursor == b"0":
                break
        if numbers is None:
            self._one((b"UNLINK", _catalog_key(project)))

    def close(self) -> None:
        self._pool.disconnect()

    def _one(self, command: Command) -> Any:
        return self._all([command])[0]

    def _all(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands, packed and sent at once: redis-py's own pipeline costs more than the answer."""
        with _answering(), self._breaker.guard():
            connection = self._pool.get_connection()
            try:
                # Its stub knows commands of one part.
                packed = b"".join(pack_command(command) for command in commands)  # type: ignore[arg-type]
                connection.send_packed_command([packed])  # type: ignore[no-untyped-call]
                replies: list[Any] = []
                failure: ResponseError | None = None
                for _ in commands:
                    # Each reply is read, or the next caller would be answered with the rest.
                    try:
                        replies.append(connection.read_response())  # type: ignore[no-untyped-call]
                    except ResponseError as error:
                        failure = error
                if failure is not None:
                    raise failure
                return replies
            except BaseException as error:
                if not isinstance(error, ResponseError):
                    connection.disconnect()  # type: ignore[no-untyped-call]
                raise
            finally:
                self._pool.release(connection)


def _prefix(project: str) -> bytes:
    return project.encode() + b":"


def _catalog_key(project: str) -> bytes:
    return project.encode() + b"#views"


def _told(url: str) -> dict[str, Any]:
    """The timeouts that the URL itself sets stand."""
    return {
        name: value
        for name, value in redis.connection.parse_url(url).items()  # type: ignore[no-untyped-call]
        if name in ("socket_connect_timeout", "socket_timeout")
    }


def _silent() -> Exception:
    return StoreUnavailable("The online store (Redis) does not answer: it did not a moment ago.")


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"The online store (Redis) does not answer: {str(error).rstrip('.')}.") from error
