"""A file's rows scored on all cores: the first ones here, and once there prove to be many, by processes of their own."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from multiprocessing.util import Finalize

import pyarrow as pa

from serving.batch.reader import FileRows
from serving.errors import CommandError

_FEW = 3
"""Chunks that take less time than to start a process."""

Score = Callable[[FileRows], pa.Table]


def on_all_cores(score: Score, start: Callable[[], Score], chunks: Iterator[FileRows]) -> Iterator[pa.Table]:
    """What `score` makes of each chunk, in order; a few chunks for each core are in memory at a time.

    Args:
        start: pickled into other processes, gives what does there as `score` does here.

    Raises:
        CommandError: a process died.
    """
    for rows in itertools.islice(chunks, _FEW):
        yield score(rows)
    cores = len(os.sched_getaffinity(0))
    first = next(chunks, None)
    if first is None:
        return
    remaining = itertools.chain([first], chunks)
    if cores == 1:
        yield from map(score, remaining)
        return
    # Spawned, not forked: LMDB, DuckDB and their threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(cores, mp_context=context, initializer=_start, initargs=(start,))
    try:
        waiting: deque[Future[pa.Buffer]] = deque()
        for rows in remaining:
            waiting.append(pool.submit(_score_packed, _packed(rows.table), rows.first))
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


_score: Score | None = None


def _start(start: Callable[[], Score]) -> None:
    """Make this process ready; it ends with the one that started it."""
    global _score
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    _score = start()
    # DuckDB complains of a connection that outlives the interpreter.
    Finalize(None, _end, exitpriority=0)


def _end() -> None:
    global _score
    _score = None


def _score_packed(table: pa.Buffer, first: int) -> pa.Buffer:
    assert _score is not None
    return _packed(_score(FileRows(_unpacked(table), first)))


# A slice that is pickled takes the whole table along, Arrow's own format only the rows.
def _packed(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _unpacked(buffer: pa.Buffer) -> pa.Table:
    return pa.ipc.open_stream(buffer).read_all()
