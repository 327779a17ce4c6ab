"""`serving batch --decide`, killed after it committed decisions, and run again."""

from __future__ import annotations

import csv
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select

from experiments.benchmarks.errors import BenchmarkError
from experiments.benchmarks.faults.business import Ground
from experiments.benchmarks.faults.commands import run, start
from experiments.benchmarks.faults.seen import Seen
from features.home import Home
from serving.platform.database import Database
from serving.platform.tables import decisions

_PATIENCE = 300.0


def killed_batch(ground: Ground) -> Iterator[Seen]:
    """Nobody is decided about twice, and nothing is left lying about."""
    home = ground.home("killed-batch")
    folder = home.parent / "files"
    folder.mkdir()
    source, target = folder / "in.csv", folder / "out.csv"
    source.write_text("\n".join(["customer_id", *ground.customers, ""]))
    command = ("serving", "batch", "--input", str(source), "--output", str(target), "--decide")
    database = Database(f"sqlite:///{Home(home).database}")
    try:
        database.migrate()
        committed = _killed_once_committed(home, command, database)
        there = target.exists()
        ended = run(home, *command)
        logged = _logged(database)
        said = _decided(target) if ended.code == 0 else {}
        yield Seen(
            f"killed (-9) after {committed:,} decisions were committed, and run again",
            f"{len(ground.customers):,} decisions, one a customer",
            f"{len(logged):,} decisions about {len(set(logged.values())):,}; exit code {ended.code}",
            ended.code == 0 and Counter(logged.values()) == Counter(ground.customers),
        )
        yield Seen(
            "the same",
            "the output holds every customer, each with the decision that is logged",
            f"{len(said):,} rows" + (", and there was an output before" if there else ""),
            said == {customer: decision for decision, customer in logged.items()},
        )
        left = sorted(path.name for path in folder.iterdir())
        yield Seen("the same", "no other file is left beside it", ", ".join(left), left == ["in.csv", "out.csv"])
        again = run(home, *command)
        yield Seen(
            "run a third time",
            "the same decisions, none anew",
            f"{len(_logged(database)):,} decisions; exit code {again.code}",
            again.code == 0 and _logged(database) == logged and _decided(target) == said,
        )
    finally:
        database.close()


def _killed_once_committed(home: Path, command: tuple[str, ...], database: Database) -> int:
    process = start(home, *command)
    deadline = time.monotonic() + _PATIENCE
    while not _logged(database):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            said, _ = process.communicate()
            raise BenchmarkError(f"No batch was killed in time: {said[-300:]}")
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    if process.returncode != -signal.SIGKILL:
        raise BenchmarkError("The batch ended before it was killed.")
    return len(_logged(database))


def _logged(database: Database) -> dict[str, str]:
    """The customer of each decision."""
    with database.read() as connection:
        rows = connection.execute(select(decisions.c.decision_id, decisions.c.customer_id)).all()
    return {row.decision_id: row.customer_id for row in rows}


def _decided(path: Path) -> dict[str, str]:
    """The decision of each customer, as the output says."""
    with path.open(newline="") as file:
        return {row["customer_id"]: row["decision_id"] for row in csv.DictReader(file)}
