"""A home that is moved, and one that is copied."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from experiments.benchmarks.faults.business import Ground
from experiments.benchmarks.faults.commands import run
from experiments.benchmarks.faults.seen import Seen, counted
from experiments.benchmarks.faults.servers import attacked

_PROMOTE = ("training", "promote", "--force", "attacks are not about how good a model is")


def moved_home(ground: Ground) -> Iterator[Seen]:
    """Both serve, train and promote, and what they write is theirs."""
    original = ground.home("moved")
    moved = original.with_name("moved")
    original.rename(moved)
    shutil.rmtree(moved / "bundles", ignore_errors=True)
    yield from _serves("a home moved, its bundles/ removed", ground, moved)
    trained, promoted = run(moved, "training", "run", str(ground.config)), run(moved, *_PROMOTE)
    yield Seen(
        "training and promoting in the moved home",
        "both succeed, and nothing is written to where it was",
        f"exit codes {trained.code}, {promoted.code}; the old folder {'is there again' if original.exists() else 'is gone'}",
        trained.code == promoted.code == 0 and not original.exists(),
    )
    copied = original.with_name("copied")
    shutil.copytree(moved, copied)
    before = _digests(moved)
    trained, promoted = run(copied, "training", "run", str(ground.config)), run(copied, *_PROMOTE)
    built = run(copied, "features", "build", str(ground.config))
    changed = {name for name, digest in (_digests(moved).items() ^ before.items())}
    yield Seen(
        "training, promoting and building in a copy",
        "all succeed, and the original stays as it was to the byte",
        f"exit codes {trained.code}, {promoted.code}, {built.code}; {len(changed)} files of the original changed",
        trained.code == promoted.code == built.code == 0 and not changed,
    )
    yield from _serves("the copy", ground, copied)


def _serves(attack: str, ground: Ground, home: Path) -> Iterator[Seen]:
    with attacked(home) as server:
        statuses = server.scores(ground.customers[:50])
        yield Seen(attack, "a server gets ready, scores are 200", counted(statuses), set(statuses) == {200})


def _digests(folder: Path) -> dict[str, str]:
    """The content of each file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
