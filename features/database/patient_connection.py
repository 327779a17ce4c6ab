"""Connections to PostgreSQL that wait for so long and no longer, whatever has become of the server.

A server that was stopped hangs up, and one that is asked too much may be told to end a statement; but of one that is frozen,
or behind a network that swallows everything, nothing is ever heard: there the client must look at its own clock.
"""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Engine, event

T = TypeVar("T")


def limit(engine: Engine, seconds: float) -> None:
    """Let connections of `engine` take at most `seconds` to connect, and for each statement."""

    class Bounded(_BoundedConnection):
        patience = seconds

    def connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> psycopg.Connection[Any]:
        return Bounded.connect(*arguments, **{"connect_timeout": max(1, round(seconds)), **options})

    def tell_server(connection: psycopg.Connection[Any], _record: Any) -> None:
        was, connection.autocommit = connection.autocommit, True
        connection.execute(f"SET statement_timeout = {round(seconds * 1000)}")
        connection.autocommit = was

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", tell_server)


class _BoundedConnection(psycopg.Connection[Any]):
    patience: float

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """What `gen` gives, once the server has answered.

        Raises:
            psycopg.OperationalError: it has not within `patience`; the connection is closed.
        """
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.errors._WaitTimeout:
            if timeout is not None:
                raise
            # Not `close`: that would say goodbye to a server that does not listen.
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {self.patience:g} s") from None
