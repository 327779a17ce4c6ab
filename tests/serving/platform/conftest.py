"""A PostgreSQL of the tests' own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from experiments.benchmarks.faults.seen import Skipped
from experiments.benchmarks.faults.stores import PostgreSQL, postgresql_server


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """A server that runs."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(postgresql_server())
        except Skipped as reason:
            pytest.skip(str(reason))
        yield server
