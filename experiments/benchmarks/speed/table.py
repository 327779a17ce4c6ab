"""Speed, side by side with what a user would pick instead: the rows of the table, measured in one run."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.benchmarks.errors import BenchmarkError
from experiments.benchmarks.figures import Row
from experiments.benchmarks.speed import reference
from features.atomic_write import write_atomically
from features.config.environment import forget_places
from features.home import Home

ROWS = ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12")
"""What can be measured, by the numbers of the table in docs/speed.md."""
GROWN_EVENTS, GROWN_CUSTOMERS = 10_000, 400
"""What row 12 starts from."""
_PACKAGES = (
    "keepwell", "lightgbm", "feast", "fastapi", "uvicorn", "shap", "mlflow", "woodelf-explainer", "numpy",
    "duckdb", "polars", "pandas",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    rounds: int
    seconds: float
    """Of load, per round and server."""
    customers: int
    """Of row 8."""
    explained: int
    """Rows of row 7."""
    materialized: int
    """Customers of row 9."""
    events: int
    """Of row 10; at most five million of them beside pandas."""
    joined: int = 240_000
    """Rows of row 11."""


def measure(rows: Sequence[str], scale: Scale, say: Callable[[str], None]) -> tuple[list[Row], dict[str, object]]:
    """All wanted rows, and what they were measured on.

    Raises:
        BenchmarkError: a row is not known, a server did not come up, or answers differ.
    """
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        raise BenchmarkError(f"There is no row '{unknown[0]}': they are {', '.join(ROWS)}.")
    wanted = frozenset(rows)
    forget_places()
    with tempfile.TemporaryDirectory(prefix="keepwell-bench-") as scratch:
        say("training the reference model")
        model = reference.train()
        measured = []
        for row in _rows(wanted, scale, model, Path(scratch), say):
            low, high = row.interval
            say(f"row {row.number}: {row.ratio:.2f} × [{low:.2f}, {high:.2f}]")
            measured.append(row)
        return measured, _conditions(model, scale)


def _rows(
    wanted: frozenset[str], scale: Scale, model: reference.Reference, scratch: Path, say: Callable[[str], None]
) -> Iterator[Row]:
    if wanted & {"1", "2", "3", "4", "5"}:
        from experiments.benchmarks.speed.answering import CUSTOMERS, Answering

        say("building a home of the real parts")
        home = Home(scratch / "events")
        generation = reference.build(home, CUSTOMERS)
        reference.promote(home, model)
        yield from Answering(home, generation, model, scratch, scale.seconds, scale.rounds).rows(wanted, say)
        if "5" in wanted:
            yield from _reading(generation, scale.rounds, CUSTOMERS, scratch)
    from experiments.benchmarks.speed import explaining, whole_base

    if "6" in wanted:
        yield explaining.one_row(model, scale.rounds)
    if "7" in wanted:
        yield from explaining.many_rows(model, scale.rounds, scale.explained)
    if "8" in wanted:
        say("building a table's home")
        home = Home(scratch / "table")
        reference.build(home, 100, table=True)
        reference.promote(home, model)
        yield from whole_base.scoring(home, model, scratch, scale.rounds, scale.customers)
    if "9" in wanted:
        yield whole_base.materializing(Home(scratch / "materialized"), scale.rounds, scale.materialized)
    yield from _building(wanted, scale, model, scratch, say)


def _building(
    wanted: frozenset[str], scale: Scale, model: reference.Reference, scratch: Path, say: Callable[[str], None]
) -> Iterator[Row]:
    from experiments.benchmarks.speed import building, growth, training_set

    if "10" in wanted:
        say("writing a log of events")
        yield from building.features(scratch, scale.rounds, scale.events)
    if "11" in wanted:
        say("joining a training set")
        yield training_set.joining(Home(scratch / "training"), scale.rounds, scale.joined)
    if "12" in wanted:
        say("growing a hundredfold")
        yield from growth.growing(model, scratch, scale.rounds, GROWN_EVENTS, GROWN_CUSTOMERS)


def _reading(embedded: object, rounds: int, customers: int, scratch: Path) -> Iterator[Row]:
    from experiments.benchmarks.speed.reading import reading
    from experiments.benchmarks.speed.servers import redis
    from features.generation import Generation

    assert isinstance(embedded, Generation)
    yield reading(embedded, rounds, "5", "embedded", 10.0, customers)
    if shutil.which("redis-server") is None:
        return
    with ExitStack() as stack:
        generation = reference.build(
            Home(scratch / "redis"), customers, online_store=stack.enter_context(redis(scratch))
        )
        yield reading(generation, rounds, "5r", "Redis", 4.0, customers)


def _conditions(model: reference.Reference, scale: Scale) -> dict[str, object]:
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "model": model.size,
        "rounds": scale.rounds,
        "seconds": scale.seconds,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def write(path: Path, rows: Sequence[Row], conditions: dict[str, object]) -> None:
    """The figures as JSON."""
    content = {"conditions": conditions, "rows": [row.to_json() for row in rows]}
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def show(console: Console, rows: Sequence[Row], conditions: dict[str, object]) -> None:
    """The figures as a table."""
    table = Table(title="Speed, side by side")
    for heading in ("#", "what", "peer", "ours", "peer's", "ratio [95 %]", "goal", "met"):
        table.add_column(heading)
    for row in rows:
        low, high = row.interval
        middle = len(row.ours) // 2
        table.add_row(
            row.number,
            row.what,
            row.peer,
            f"{sorted(row.ours)[middle]:,.0f} {row.unit}",
            f"{sorted(row.theirs)[middle]:,.0f}",
            f"{row.ratio:.2f} × [{low:.2f}, {high:.2f}]",
            f"≥ {row.goal:.2g} ×",
            "yes" if row.met else "no",
        )
    console.print(table)
    for name, value in conditions.items():
        console.print(f"{name}: {value}", highlight=False)
