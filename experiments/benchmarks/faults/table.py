"""The attacks of a kind each, made one after the other on homes and servers of their own, and what they saw as a table."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.benchmarks.faults import business
from experiments.benchmarks.faults.attacks.clocks import clock_ahead
from experiments.benchmarks.faults.attacks.connections import connections
from experiments.benchmarks.faults.attacks.floods import floods
from experiments.benchmarks.faults.attacks.full_disk import full_disk
from experiments.benchmarks.faults.attacks.killed_batch import killed_batch
from experiments.benchmarks.faults.attacks.lost_rows import lost_rows
from experiments.benchmarks.faults.attacks.moved_home import moved_home
from experiments.benchmarks.faults.attacks.odd_requests import docs_page, odd_requests
from experiments.benchmarks.faults.attacks.outcomes import outcomes
from experiments.benchmarks.faults.attacks.passwords import passwords
from experiments.benchmarks.faults.attacks.stalls import postgresql_stalls, redis_stalls
from experiments.benchmarks.faults.seen import Seen, Skipped
from features.atomic_write import write_atomically
from features.config.environment import forget_places

Attack = Callable[[business.Ground], Iterator[Seen]]
ATTACKS: Mapping[str, Attack] = {
    "lost-rows": lost_rows,
    "connections": connections,
    "killed-batch": killed_batch,
    "moved-home": moved_home,
    "docs": docs_page,
    "postgresql": postgresql_stalls,
    "redis": redis_stalls,
    "passwords": passwords,
    "odd-requests": odd_requests,
    "clock": clock_ahead,
    "outcomes": outcomes,
    "floods": floods,
    "full-disk": full_disk,
}
"""All attacks by name."""

Found = dict[str, list[Seen]]
"""What each attack saw."""


def measure(names: Sequence[str], say: Callable[[str], None]) -> Found:
    """Make the attacks.

    Raises:
        BenchmarkError: there is nothing to attack, because a home cannot be made.
    """
    forget_places()
    found: Found = {}
    with tempfile.TemporaryDirectory(prefix="keepwell-faults-") as scratch:
        ground = business.prepared(Path(scratch), say)
        for name in names:
            begun = time.monotonic()
            found[name] = list(_seen(ATTACKS[name], ground))
            failed = sum(one.held is False for one in found[name])
            say(f"{name}: {failed} of {len(found[name])} failed, {time.monotonic() - begun:.0f} s")
    return found


def _seen(attack: Attack, ground: business.Ground) -> Iterator[Seen]:
    try:
        yield from attack(ground)
    except Skipped as error:
        yield Seen("", "", str(error), None)
    except Exception as error:
        # An attack that breaks off has not shown that anything holds.
        yield Seen("broke off", "the attack goes on to its end", f"{type(error).__name__}: {error}", False)


def all_held(found: Found) -> bool:
    """Whether no attack saw what should not be."""
    return not any(one.held is False for rows in found.values() for one in rows)


def write(path: Path, found: Found) -> None:
    """What was seen, as JSON."""
    content = [
        {"attack": name, "what": one.attack, "holds": one.holds, "seen": one.seen, "held": one.held}
        for name, rows in found.items()
        for one in rows
    ]
    write_atomically(path, json.dumps({"rows": content}, indent=1, ensure_ascii=False) + "\n")


def show(console: Console, found: Found) -> None:
    """What was seen, as a table."""
    table = Table(title="Attacks", show_lines=True)
    for heading in ("attack", "what", "should hold", "seen", ""):
        table.add_column(heading)
    for name, rows in found.items():
        for one in rows:
            verdict = "skipped" if one.held is None else "held" if one.held else "FAILED"
            table.add_row(name, one.attack, one.holds, one.seen, verdict)
    console.print(table)
