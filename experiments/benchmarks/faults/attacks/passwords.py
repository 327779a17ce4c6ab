"""The password of a Redis: where it is written down, and what happens when it is changed; and who may read a home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from experiments.benchmarks.errors import BenchmarkError
from experiments.benchmarks.faults.business import Ground
from experiments.benchmarks.faults.commands import run
from experiments.benchmarks.faults.seen import Seen, counted
from experiments.benchmarks.faults.servers import attacked
from experiments.benchmarks.faults.stores import redis_server
from features.home import Home

FIRST, SECOND = "first-secret-of-redis", "second-secret-of-redis"


def passwords(ground: Ground) -> Iterator[Seen]:
    """No build writes a password down, a changed one is taken up, and a home is its user's alone."""
    home = ground.home("passwords")
    with redis_server(home.parent, FIRST) as store:
        ended = run(home, "features", "build", str(ground.config), KEEPWELL_ONLINE_STORE=store.url)
        if ended.code:
            raise BenchmarkError(f"A build into Redis failed: {ended.last}")
        with attacked(home, KEEPWELL_ONLINE_STORE=store.url) as server:
            statuses = server.scores(ground.customers[:20])
        found = [path for path in _files(home) if FIRST.encode() in path.read_bytes()]
        yield Seen(
            "a build into a Redis with a password, and a server",
            "the password is in no file of the home",
            f"in {', '.join(path.name for path in found) or 'none'}; scores {counted(statuses)}",
            not found and set(statuses) == {200},
        )
        store.told("CONFIG", "SET", "requirepass", SECOND)
        store.password = SECOND
        with attacked(home, KEEPWELL_ONLINE_STORE=store.url) as server:
            statuses = server.scores(ground.customers[:20])
        yield Seen(
            "the password changed, a server with the new URL",
            "it gets ready, and answers scores",
            counted(statuses),
            set(statuses) == {200},
        )
    live = Home(home).live
    written = [path for path in _files(home) if live is not None and live in path.parts]
    open_ones = [path for path in [home, *written, Home(home).database] if path.stat().st_mode & 0o077]
    yield Seen(
        "the modes of the home, its database and all that a build wrote",
        "nobody but their user may read them",
        f"{len(open_ones)} of {len(written) + 2} open to others",
        bool(written) and not open_ones,
    )


def _files(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file()]
