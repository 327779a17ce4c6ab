"""A file's rows scored on all cores: the first ones here, and once there prove to be many, by processes of their own."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import wait
from multiprocessing.util import Finalize
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from features.generation import Generation
from models.registry.model_bundle import ModelBundle
from models.scorecard import Scorecard
from serving.batch.reader import FileRows
from serving.errors import CommandError
from serving.releases.release import Release

if TYPE_CHECKING:
    from serving.batch.job import Batch

_FEW = 3
"""Chunks that take less time than to start a process."""


@dataclass(frozen=True, slots=True)
class _Recipe:
    """All that another process needs to score the same file by the same release."""

    source: Path
    database: str
    generation: Generation
    model_version: str
    scorecard: Scorecard
    bundle: ModelBundle
    stale_after: timedelta


def on_all_cores(batch: Batch, chunks: Iterator[FileRows], source: Path, database: str) -> Iterator[pa.Table]:
    """What `batch.table` makes of each chunk, in order; a few chunks for each core are in memory at a time.

    Raises:
        CommandError: a process died.
    """
    for rows in itertools.islice(chunks, _FEW):
        yield batch.table(rows)
    cores = len(os.sched_getaffinity(0))
    first = next(chunks, None)
    if first is None:
        return
    remaining = itertools.chain([first], chunks)
    if cores == 1:
        yield from map(batch.table, remaining)
        return
    release = batch.release
    recipe = _Recipe(
        source,
        database,
        release.generation,
        release.model_version,
        release.scorecard,
        release.bundle,
        release.stale_after,
    )
    # Spawned, not forked: LMDB, DuckDB and their threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(cores, mp_context=context, initializer=_start, initargs=(recipe,))
    try:
        waiting: deque[Future[pa.Buffer]] = deque()
        for rows in remaining:
            waiting.append(pool.submit(_score, _packed(rows.table), rows.first, rows.bad))
            if len(waiting) > 2 * cores:
                yield _unpacked(waiting.popleft().result())
        while waiting:
            yield _unpacked(waiting.popleft().result())
    except BrokenProcessPool:
        raise CommandError(
            "A process that scored rows was killed, perhaps because memory ran out; nothing was written."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_batch: Batch | None = None


def _start(recipe: _Recipe) -> None:
    """Make this process ready; it ends with the one that started it."""
    global _batch
    from serving.batch.job import open_batch
    from serving.platform.database import Database

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    release = Release.load(
        recipe.generation, recipe.model_version, recipe.scorecard, recipe.bundle, stale_after=recipe.stale_after
    )
    _, _batch = open_batch(recipe.source, release, Database(recipe.database), decide=False)
    # DuckDB complains of a connection that outlives the interpreter.
    Finalize(None, _end, exitpriority=0)


def _end() -> None:
    global _batch
    _batch = None


def _score(table: pa.Buffer, first: int, bad: Mapping[int, str]) -> pa.Buffer:
    assert _batch is not None
    return _packed(_batch.table(FileRows(_unpacked(table), first, bad)))


# A slice that is pickled takes the whole table along, Arrow's own format only the rows.
def _packed(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _unpacked(buffer: pa.Buffer) -> pa.Table:
    return pa.ipc.open_stream(buffer).read_all()
