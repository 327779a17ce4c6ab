"""The champion that a registry's SQLite file named when it was last asked, good for as long as the file is the same.

MLflow takes seconds to import, and a server that polls it would ask it every second for what hardly ever changes.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from models.atomic_write import write_atomically

T = TypeVar("T")

_SETTLED = 0.1
"""Seconds after which a further write shows in a file's time, whose clock ticks some hundred times a second."""


class ChampionCache(Generic[T]):
    """What is known of the champion of one model, kept beside the database and checked against it at every question.

    Args:
        database: the registry's SQLite file; None is a registry whose changes cannot be seen, of which nothing is kept.
        name: of the registered model.
        to_json, from_json: a version as plain JSON, and back.
    """

    def __init__(
        self,
        database: Path | None,
        name: str,
        to_json: Callable[[T], dict[str, Any]],
        from_json: Callable[[dict[str, Any]], T],
    ) -> None:
        self._database = database
        self._to_json = to_json
        self._from_json = from_json
        self._file = None if database is None else database.with_name(f"{database.name}.{name}.champion")

    def champion(self, ask: Callable[[], T | None]) -> T | None:
        """The champion, or None if there is none; `ask` is called where that is not known for certain."""
        stamp = self._stamp()
        if self._file is not None and stamp is not None:
            # A file that cannot be read, or was written by another version of this code, is written anew.
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                kept = json.loads(self._file.read_text())
                if kept["stamp"] == stamp:
                    return None if kept["champion"] is None else self._from_json(kept["champion"])
        found = ask()
        if stamp is not None and stamp == self._stamp():
            self._keep(stamp, None if found is None else self._to_json(found))
        return found

    def settle(self) -> None:
        """Wait until what was just written to the database can be told from what will be."""
        if self._database is not None:
            time.sleep(_SETTLED)

    def _stamp(self) -> list[int] | None:
        """What changes with every commit; None where a change could go unseen."""
        if self._database is None:
            return None
        try:
            # A journal is a commit under way, or one that was killed; a log (WAL) holds commits that the file does not show.
            if any(self._database.with_name(self._database.name + tail).exists() for tail in ("-journal", "-wal")):
                return None
            found = self._database.stat()
        except OSError:
            return None
        if abs(time.time() - found.st_mtime) < _SETTLED:
            return None
        return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]

    def _keep(self, stamp: list[int], champion: dict[str, Any] | None) -> None:
        assert self._file is not None
        # A registry that may only be read is asked every time.
        with contextlib.suppress(OSError):
            write_atomically(self._file, json.dumps({"stamp": stamp, "champion": champion}).encode(), durable=False)
