"""A disk that is really full: a small file system of its own, filled to the last byte."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

from experiments.benchmarks.errors import BenchmarkError
from experiments.benchmarks.faults.business import BUSINESS, Ground
from experiments.benchmarks.faults.commands import TRACEBACK, Ended, run
from experiments.benchmarks.faults.seen import Seen, Skipped, counted
from experiments.benchmarks.faults.servers import Server, attacked, eventually
from features.home import Home
from models.registry.registry import Registry

_ROOM = 64 * 2**20
"""Bytes that the file system has beyond the home."""
_FULL = ("disk is full", "no space left")


def full_disk(ground: Ground) -> Iterator[Seen]:
    """It is called what it is, nothing is answered that was not recorded, and all goes on once there is room."""
    template = ground.home("full-disk-size")
    size = sum(path.stat().st_size for path in template.rglob("*") if path.is_file()) * 2 + _ROOM
    shutil.rmtree(template)
    with _small_disk(ground.scratch / "full-disk", size) as disk:
        home = disk / "home"
        shutil.copytree(ground.template, home)
        with attacked(home, log=ground.scratch / "full-disk.log") as server:
            yield from _served(ground, server, home, disk)
        yield from _commands(ground, home, disk)


def _served(ground: Ground, server: Server, home: Path, disk: Path) -> Iterator[Seen]:
    attack = "a server on a full disk"
    before = _decide(server, ground.customers[:20])
    with _filled(disk):
        named = eventually(lambda: _says_full(server.ask("/readyz", None).body), 20)
        ready = server.ask("/readyz", None)
        yield Seen(
            attack,
            "/readyz is 503 and says that the disk is full",
            f"{ready.status}: {_detail(ready.body)}",
            named and ready.status == 503,
        )
        scores = server.scores(ground.customers[:200])
        yield Seen(attack, "scores are 200", counted(scores), set(scores) == {200})
        during = _decide(server, ground.customers[20:320])
        refusals = {status for _, status in during.values()} - {200}
        said = server.ask("/v1/decisions", method="POST", json={"customer_id": ground.customers[330]})
        yield Seen(
            attack,
            "decisions are 503 and say that the disk is full",
            f"{counted(status for _, status in during.values())}; {_detail(said.body)}",
            refusals == {503} and said.status == 503 and _says_full(said.body),
        )
    again = eventually(lambda: server.ready() == 200, 30)
    after = _decide(server, ground.customers[400:420])
    answered = {decision for decision, status in (*before.values(), *during.values(), *after.values()) if status == 200}
    with contextlib.closing(sqlite3.connect(Home(home).database)) as database:
        kept = {row[0] for row in database.execute("SELECT decision_id FROM decisions")}
        intact = database.execute("PRAGMA integrity_check").fetchone()[0]
    yield Seen(
        "the disk has room again",
        "ready, decisions are 200, those answered are those kept, the database is intact",
        f"{'ready' if again else 'not ready'}; {counted(status for _, status in after.values())}; "
        f"{len(answered)} answered, {len(kept)} kept; {intact}",
        again and {status for _, status in after.values()} == {200} and answered == kept and intact == "ok",
    )


def _commands(ground: Ground, home: Path, disk: Path) -> Iterator[Seen]:
    source, target = disk / "in.csv", disk / "out.csv"
    source.write_text("\n".join(["customer_id", *ground.customers, ""]))
    build, train = ("features", "build", str(ground.config)), ("training", "run", str(ground.config))
    promote = ("training", "promote", "--force", "an attack")
    decide = ("serving", "batch", "--input", str(source), "--output", str(target), "--decide")
    # A challenger, whom a promotion would have to note.
    if (ended := run(home, *train)).code:
        raise BenchmarkError(f"A training failed: {ended.last}")
    before = _stands(home)
    for command, left in ((build, 0), (build, 3 * 2**20), (train, 0), (train, 2**18), (promote, 0), (decide, 0)):
        with _filled(disk, left):
            ended = run(home, *command)
        room = f"{left // 1024:,} kB left" if left else "nothing left"
        yield Seen(
            f"{' '.join(command[:2])} on a full disk, {room}",
            "exit code 2 and a sentence that says so, no traceback",
            f"exit code {ended.code}: {ended.last}",
            ended.code == 2 and TRACEBACK not in ended.said and _says_full(ended.said.encode()),
        )
    after = _stands(home)
    endings = [run(home, *command) for command in (promote, build, decide)]
    yield Seen(
        "the disk has room again",
        "what was live and promoted has stayed so, and the same commands succeed",
        f"{'as it was' if after == before else f'{after}, was {before}'}; {_told(endings)}",
        after == before and not any(ended.code for ended in endings),
    )


def _told(endings: list[Ended]) -> str:
    codes = ", ".join(str(ended.code) for ended in endings)
    return "; ".join([f"exit codes {codes}", *(ended.last for ended in endings if ended.code)])


def _stands(home: Path) -> tuple[str | None, str | None]:
    """The build that is live, and the champion."""
    state = Home(home)
    champion = Registry(state.tracking_uri, BUSINESS).champion()
    return state.live, None if champion is None else champion.version


def _decide(server: Server, customers: tuple[str, ...]) -> dict[str, tuple[str, int]]:
    """The decision about each customer, and the status of the answer."""
    made = {}
    for customer in customers:
        answer = server.ask("/v1/decisions", method="POST", json={"customer_id": customer})
        body = json.loads(answer.body)
        made[customer] = (str(body.get("decision_id", "")), answer.status)
    return made


def _says_full(body: bytes) -> bool:
    said = body.decode(errors="replace").lower()
    return any(words in said for words in _FULL)


def _detail(body: bytes) -> str:
    found = json.loads(body)
    return str(found.get("detail") or found.get("title") or found.get("status"))


@contextlib.contextmanager
def _small_disk(path: Path, size: int) -> Iterator[Path]:
    if os.getuid() or shutil.which("mount") is None:
        raise Skipped("only root may mount a file system that is small enough to be filled")
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        raise Skipped(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=False)


@contextlib.contextmanager
def _filled(disk: Path, left: int = 0) -> Iterator[None]:
    """A file takes all room but so many bytes within the block."""
    ballast = disk / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while (room := shutil.disk_usage(disk).free - left) > 0:
                file.write(b"\0" * min(room, 2**20))
        yield
    finally:
        ballast.unlink(missing_ok=True)
