"""Builds as generations: switched by one pointer, collected, and never half seen, whenever a build is killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from features.errors import HomeError, NoGeneration
from features.generation import MANIFEST, Generation, SourceSummary
from features.home import Home
from features.schema import Feature, FeatureSchema

NOW = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


def generation(home: Home, number: int = 0, **changes: Any) -> Generation:
    """A finished generation, the `number`th."""
    name = Generation.new_id(NOW + timedelta(seconds=number))
    path = home.generations / name
    path.mkdir(parents=True)
    made = Generation(
        id=name,
        path=path,
        business="größe",
        kind="events",
        as_of=NOW,
        before=None,
        cutoffs=(NOW - timedelta(days=60), NOW - timedelta(days=30)),
        horizon_days=90,
        schema=FeatureSchema((Feature("Call  Failure", "other"), Feature("plan", "relationship", predictive=False))),
        project=Generation.project_name("größe", name),
        online_store="sqlite",
        sources=SourceSummary(10, 8, 1, {"no customer_id": 1}, NOW - timedelta(days=90), NOW, 5),
        fingerprint="f",
        configuration="c",
    )
    made = replace(made, **changes)
    made.write()
    return made


def ignored(generation_id: str, generation: Generation | None) -> None:
    """Nothing lives elsewhere."""


def test_a_manifest_carries_a_generation_there_and_back(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for number, before in enumerate((None, NOW - timedelta(days=30))):
        made = generation(home, number, before=before)
        assert Generation.load(home, made.id) == made


def test_a_copy_of_a_home_knows_what_the_original_built(tmp_path: Path) -> None:
    original, copy = Home(tmp_path / "original"), Home(tmp_path / "copy")
    made = generation(original)
    made.write()
    shutil.copytree(original.path, copy.path)
    copied = Generation.load(copy, made.id)
    assert Generation.load(original, made.id).is_made_in(original)
    assert not copied.is_made_in(copy)
    assert replace(copied, made_in=None).is_made_in(copy), "of before homes were written down"


def test_ids_sort_by_time_and_projects_differ() -> None:
    earlier, later = Generation.new_id(NOW), Generation.new_id(NOW + timedelta(microseconds=1))
    assert earlier < later
    assert earlier == "20261121T120000123456Z"
    assert Generation.project_name("my-shop", earlier) != Generation.project_name("my-shop", later)
    assert Generation.project_name("my-shop", earlier).replace("_", "").isalnum()


def test_the_pointer_says_which_is_live(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(NoGeneration, match="python -m features build"):
        Generation.current(home)
    first, second = generation(home, 1), generation(home, 2)
    with pytest.raises(NoGeneration):
        Generation.current(home)
    first.commit(home)
    assert Generation.current(home) == first
    second.commit(home)
    assert Generation.current(home) == second


def test_damage_is_said_in_a_sentence(tmp_path: Path) -> None:
    home = Home(tmp_path)
    made = generation(home)
    made.commit(home)
    (made.path / MANIFEST).write_text("{")
    with pytest.raises(HomeError, match="is damaged"):
        Generation.current(home)
    (made.path / MANIFEST).unlink()
    with pytest.raises(NoGeneration):
        Generation.current(home)


def test_collect_keeps_the_newest_three_and_the_live_one(tmp_path: Path) -> None:
    home = Home(tmp_path)
    made = [generation(home, number) for number in range(6)]
    made[0].commit(home)
    (home.generations / "20261121T115959000000Z").mkdir()
    (home.generations / "20261121T115959000000Z" / "events.parquet").write_text("half")
    heard: list[tuple[str, bool, bool]] = []

    def forget(name: str, finished: Generation | None) -> None:
        heard.append((name, finished is not None, (home.generations / name).is_dir()))

    removed = Generation.collect(home, forget)
    assert removed == ("20261121T115959000000Z", made[1].id, made[2].id)
    assert heard == [(removed[0], False, True), (removed[1], True, True), (removed[2], True, True)]
    assert Generation.complete(home) == (made[0], *made[3:])
    assert sorted(path.name for path in home.generations.iterdir()) == [m.id for m in (made[0], *made[3:])]
    assert Generation.collect(home, forget) == ()


def test_collecting_an_empty_home_does_nothing(tmp_path: Path) -> None:
    assert Generation.collect(Home(tmp_path / "new"), ignored) == ()


# --- kills: a parent that has imported everything forks a build, which kills itself at the n-th sign of progress

BUSINESS = """
[business]
name = "shop"
[data]
kind = "events"
[[data.events]]
path = "events.csv"
[churn]
definition = "inactivity"
activity = ["purchase"]
horizon_days = 10
"""
KILLER = """
import os, signal, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from features import build as building
from features.config.business import Business
from features.home import Home
from features import generation

config, home, log = Path(sys.argv[1]), Home(Path(sys.argv[2])), Path(sys.argv[3])


def run(deadly, number):
    signs = []

    def tell(task, share):
        signs.append(task)
        with log.open("a") as file:
            file.write(f"{number} {len(signs)} {task}\\n")
        if len(signs) == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("write", "commit"):
        original = getattr(generation.Generation, name)

        def told(self, *arguments, _original=original, _name=name):
            tell(f"before {_name}", 0)
            _original(self, *arguments)
            tell(f"after {_name}", 0)

        setattr(generation.Generation, name, told)
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number)
    building.build(Business.load(config), home, now, tell)


for number, line in enumerate(sys.stdin):
    child = os.fork()
    if child == 0:
        try:
            run(int(line), number)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}", flush=True)
"""


class Builder:
    """Builds in children that die at the n-th sign of progress; 0 lets them live."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self._log = folder / "signs"
        rows = ["customer_id,occurred_at,type,value"]
        for day in range(60):
            rows += [f"C{n},2025-10-{day % 28 + 1:02d},purchase,{n}.5" for n in range(8)]
            rows += [f"C{n},2025-12-{day % 28 + 1:02d},session,{day}" for n in range(5)]
        (folder / "events.csv").write_text("\n".join(rows))
        (folder / "shop.toml").write_text(BUSINESS)
        command = [sys.executable, "-W", "ignore", "-c", KILLER, str(folder / "shop.toml"), str(self.home.path)]
        self._process = subprocess.Popen(
            [*command, str(self._log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "KEEPWELL_ONLINE_STORE": "sqlite"},
        )

    def build(self, deadly: int = 0) -> str:
        """How the build ended: "killed" or "exit N"."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{deadly}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def signs(self) -> list[str]:
        """What the last build told."""
        lines = [line.split(" ", 2) for line in self._log.read_text().splitlines()]
        return [task for number, _, task in lines if number == lines[-1][0]]

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def check_live(home: Home, builds: int) -> str:
    """The live generation is whole: its manifest, its snapshots and its online store tell the same."""
    import pyarrow.parquet as pq

    from features.store.offline import OnlineStore

    live = Generation.current(home)
    store = OnlineStore(live)
    for pillar in live.schema.pillars:
        rows = pq.read_table(live.snapshot_file(pillar.name)).to_pylist()
        for moment, at in (("now", live.as_of), ("before", live.before)):
            wanted = {row["customer_id"]: row for row in rows if row["event_timestamp"] == at}
            found = store.read(sorted(wanted), moment)  # type: ignore[arg-type]
            assert not found.unknown
            for position, name in enumerate(sorted(wanted)):
                for feature in pillar.features:
                    assert found.columns[feature.name][position] == wanted[name][feature.name]
    store.close()
    assert json.loads((live.path / MANIFEST).read_text())["id"] == live.id
    assert builds
    return live.id


@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
@pytest.mark.slow
def test_a_killed_build_leaves_the_old_generation_or_the_new(tmp_path: Path, full: bool) -> None:
    builder = Builder(tmp_path)
    try:
        # Killed before anything stood: there is nothing yet, and nothing half.
        assert builder.build(4) == "killed"
        with pytest.raises(NoGeneration):
            Generation.current(builder.home)
        assert builder.build() == "exit 0"
        check_live(builder.home, 1)
        # The next ones take over what stands, and have fewer signs to give.
        assert builder.build() == "exit 0"
        live = check_live(builder.home, 1)
        signs = builder.signs()
        inside = [n for n, task in enumerate(signs, start=1) if task == "Filling the online store"]
        last = [n for n, task in enumerate(signs, start=1) if task in ("before write", "before commit", "after commit")]
        steps, within = (12, 5) if full else (2, 1)
        spread = [1 + step * len(signs) // steps for step in range(steps)]
        deadly = sorted({*spread, *inside[:within], *last})
        assert len(deadly) >= steps + len(last)
        for n in deadly:
            assert builder.build(n) == "killed"
            now = check_live(builder.home, n)
            assert (now != live) == (n == last[-1])
            live = now
        assert builder.build() == "exit 0"
        assert check_live(builder.home, 1) != live
        assert len(list(builder.home.generations.iterdir())) == len(Generation.complete(builder.home)) <= 3
    finally:
        builder.close()
