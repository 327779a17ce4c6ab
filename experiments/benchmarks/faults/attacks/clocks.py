"""A build that was made while the clock was two days ahead, and then a right one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from experiments.benchmarks.faults.business import Ground
from experiments.benchmarks.faults.commands import run
from experiments.benchmarks.faults.seen import Seen
from experiments.benchmarks.faults.servers import attacked, eventually
from features.build import build
from features.config.business import Business
from features.home import Home
from serving.platform.database import Database
from serving.web.accounts.account_snapshots import Editions

AHEAD = timedelta(days=2)


def clock_ahead(ground: Ground) -> Iterator[Seen]:
    """API and pages go over to the right build, at once."""
    home = ground.home("clocks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrong = build(Business.load(ground.config), Home(home), datetime.now(UTC) + AHEAD, lambda *_: None).generation
    with attacked(home) as server:
        database = Database(f"sqlite:///{Home(home).database}")
        try:
            begun = eventually(lambda: _edition(database) == wrong.id)
            ended = run(home, "features", "build", str(ground.config))
            right = Home(home).live
            served = eventually(lambda: server.ask("/readyz", None).body.find(str(right).encode()) >= 0)
            shown = eventually(lambda: _edition(database) == right)
            newest = _edition(database)
        finally:
            database.close()
    yield Seen(
        f"a build with a clock {AHEAD.days} days ahead, and then a right one",
        "the API serves the right one, and the pages show it",
        f"exit code {ended.code}; the API {_on(served)}, the pages {_on(shown)} ({newest})",
        begun and ended.code == 0 and right != wrong.id and served and shown,
    )


def _edition(database: Database) -> str | None:
    """The build that the pages show."""
    with database.read() as connection:
        newest = Editions(database).newest(connection)
    return None if newest is None else newest.generation


def _on(taken_up: bool) -> str:
    return "on the right one" if taken_up else "on the wrong one"
