"""Worker processes that judge cases: one that dies or never answers is a verdict too, and another takes its place."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path

from experiments.benchmarks.mistakes.case import Case, Verdict
from experiments.benchmarks.mistakes.judge import judge
from serving.platform import workers as servers
from serving.platform.settings import Settings

SECONDS = 180.0
"""A command on a business of sixty customers that takes longer hangs."""
MEMORY = 4 * 2**30
"""Bytes; one that needs more reads what has no end, and would take the machine with it."""
MOST = 400
"""Cases of one process: libraries keep something of every database that they ever opened."""


class _Worker:
    """A process of its own, what it works on, and since when."""

    def __init__(self, stood: Path, under: Path, kept: Path | None) -> None:
        spawned = multiprocessing.get_context("spawn")
        self.connection, theirs = spawned.Pipe()
        self._process = spawned.Process(target=_work, args=(theirs, stood, under, kept), daemon=True)
        self._process.start()
        theirs.close()
        self.case: Case | None = None
        self.since = 0.0
        self.done = 0

    def take(self, case: Case) -> None:
        self.connection.send(case)
        self.case, self.since, self.done = case, time.monotonic(), self.done + 1

    def late(self) -> bool:
        return self.case is not None and time.monotonic() - self.since > SECONDS

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


def judged(
    cases: Sequence[Case], cores: int, stood: Path, under: Path, kept: Path | None, heard: Callable[[Verdict], None]
) -> list[Verdict]:
    """The verdicts on all cases, in their order; where somebody breaks it off, on those that were judged by then."""
    waiting, verdicts = iter(cases), list[Verdict]()
    workers = [_Worker(stood, under, kept) for _ in range(min(cores, len(cases)))]
    try:
        working = [worker for worker in workers if _next(worker, waiting)]
        while working:
            wait([worker.connection for worker in working], timeout=5.0)
            for worker in list(working):
                verdict = _verdict(worker)
                if verdict is None:
                    continue
                verdicts.append(verdict)
                heard(verdict)
                working.remove(worker)
                if worker.done >= MOST or verdict.code is None:
                    worker.end()
                    workers.remove(worker)
                    worker = _Worker(stood, under, kept)
                    workers.append(worker)
                if _next(worker, waiting):
                    working.append(worker)
    except KeyboardInterrupt:
        pass  # what is known by now is worth showing
    finally:
        for worker in workers:
            worker.end()
    return sorted(verdicts, key=lambda verdict: verdict.case.number)


def _next(worker: _Worker, waiting: Iterator[Case]) -> bool:
    case = next(waiting, None)
    if case is None:
        return False
    worker.take(case)
    return True


def _verdict(worker: _Worker) -> Verdict | None:
    """What a worker says, or what its silence means; None while it works."""
    case = worker.case
    assert case is not None
    if worker.connection.poll():
        with contextlib.suppress(EOFError, ConnectionError):
            found = worker.connection.recv()
            assert isinstance(found, Verdict)
            worker.case = None
            return found
        return Verdict(case, (), None, "", "the process died")
    if worker.late():
        return Verdict(case, (), None, "", f"no answer within {SECONDS:.0f} seconds")
    return None


def no_server(listener: socket.socket, settings: Settings, workers: int) -> None:
    """In place of a server, which would answer for ever: that its socket could be had is all that a case asks of it."""
    del settings, workers
    listener.close()


def _work(connection: Connection, stood: Path, under: Path, kept: Path | None) -> None:
    """Judge what comes, for as long as somebody asks."""
    quiet = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # what libraries in C have to say
        os.dup2(quiet, descriptor)
    servers.serve = no_server
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    with contextlib.suppress(EOFError):
        while True:
            case = connection.recv()
            connection.send(judge(case, stood, under, kept))
