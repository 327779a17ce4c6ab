"""Which scores were served to whom and when: scores over HTTP, kept aside in Parquet parts, so that they can be held to what came."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from features.atomic_write import replacing
from models.inference_log import ServedScore

_log = structlog.get_logger(__name__)

MOST_WAITING: Final = 100_000
"""Scores that wait to be written, at most: some 20 MB; more are dropped, and counted."""
_EVERY_SECONDS = 60.0
_PART = 20_000


class ScoreHistory:
    """Takes scores without waiting, and writes them in a thread of its own; it may be told from any thread.

    Nothing waits for it and nothing depends on it: what a killed process had not written yet, at most a minute's worth, is
    lost; what cannot be held or written is counted by `dropped`.

    Args:
        folder: where the days' folders go.
        days: after so many, a day's folder is deleted; 0 keeps no history at all.
        dropped: told of how many rows were given up.
    """

    def __init__(
        self,
        folder: Path,
        days: int,
        dropped: Callable[[int], None],
        *,
        clock: Callable[[], float] = time.time,
        most: int = MOST_WAITING,
    ) -> None:
        self._folder = folder
        self._days = days
        self._dropped = dropped
        self._clock = clock
        self._most = most
        self._waiting: deque[ServedScore] = deque()
        self._parts = itertools.count()
        self._wake, self._stopped = threading.Event(), False
        self._thread = threading.Thread(target=self._write, name="score history", daemon=True)

    def note(
        self, customer_id: str, probability: float, score: float, model_version: str, scorecard_version: str
    ) -> None:
        """A caller was told this score."""
        if not self._days:
            return
        if len(self._waiting) >= self._most:
            self._dropped(1)
            return
        self._waiting.append(
            ServedScore(self._clock(), customer_id, probability, score, model_version, scorecard_version)
        )
        if len(self._waiting) == _PART:
            self._wake.set()

    def start(self) -> None:
        """Begin to write."""
        if self._days:
            self._thread.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def flush(self) -> int:
        """Write all that waits now, a part a day; returns how many rows."""
        rows = [self._waiting.popleft() for _ in range(len(self._waiting))]
        written = 0
        for day, of_day in itertools.groupby(rows, key=lambda row: datetime.fromtimestamp(row.scored_at, UTC).date()):
            part = list(of_day)
            try:
                self._write_part(day, part)
                written += len(part)
            except OSError as error:
                self._dropped(len(part))
                _log.warning("scores could not be kept", rows=len(part), reason=str(error))
        return written

    def prune(self) -> None:
        """Delete the folders of days that are too old."""
        oldest = datetime.fromtimestamp(self._clock(), UTC).date() - timedelta(days=self._days)
        for folder in self._folder.glob("????-??-??"):
            if folder.name < oldest.isoformat():
                shutil.rmtree(folder, ignore_errors=True)

    def _write(self) -> None:
        pruned: date | None = None
        while not self._stopped:
            self._wake.wait(_EVERY_SECONDS)
            self._wake.clear()
            try:
                self.flush()
                today = datetime.fromtimestamp(self._clock(), UTC).date()
                if today != pruned:
                    self.prune()
                    pruned = today
            except Exception:
                # The thread must outlive whatever a single part ran into.
                _log.exception("scores could not be kept")

    def _write_part(self, day: date, rows: list[ServedScore]) -> None:
        import pyarrow as pa  # a server needs it for nothing else at its start
        import pyarrow.parquet as pq

        scored_at, *others = zip(*rows, strict=True)
        moments = pa.array([round(moment * 1e6) for moment in scored_at], pa.timestamp("us", "UTC"))
        table = pa.table(dict(zip(ServedScore._fields, (moments, *map(pa.array, others)), strict=True)))
        folder = self._folder / day.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        # One name for each worker and part, in the order of time; a reader never sees half of one.
        file = folder / f"{round(scored_at[0] * 1e6)}-{os.getpid()}-{next(self._parts)}.parquet"
        with replacing(file, mode=0o666, durable=False) as stream:
            pq.write_table(table, stream)
