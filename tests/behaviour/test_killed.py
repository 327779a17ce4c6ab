"""Builds and promotions killed at any moment, while a client polls: it sees the old state or the new, never a mixture."""

import contextlib
import csv
import gc
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import redis

from features.generation import Generation
from features.home import Home
from features.store.offline import OnlineStore
from models.registry.registry import Registry
from serving.auth.api_keys import Role
from serving.platform.settings import Settings

from ..conftest import wait_for
from .served import served

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CUSTOMERS = 300
FILLING = "Filling the online store"
TOML = """
[business]
name = "killed"
[data]
kind = "events"
[data.events]
path = "{events}"
[training]
budget = "1 trial"
[churn]
definition = "inactivity"
activity = ["purchase"]
horizon_days = 30
cutoffs = ["2025-05-01", "2025-07-01", "2025-09-01", "2025-11-01"]
"""


class ForkServer:
    """Commands in children of one process that has imported everything.

    `online_store` is what their environment has of it; blank for the embedded one.
    """

    def __init__(self, log: Path) -> None:
        self.online_store = ""
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("fork_server.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                bufsize=1,
            )
        self.log = log

    def start(self, *command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([self.online_store, *command]) + "\n")
        self.process.stdin.flush()

    def said(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()[-2000:]
        answer: dict[str, Any] = json.loads(line)
        return answer

    def finish(self, *command: str) -> list[dict[str, Any]]:
        """Run a command to its end, which must be a good one."""
        self.start(*command)
        facts = []
        while "exit" not in (fact := self.said()):
            facts.append(fact)
        assert fact["exit"] == 0, self.log.read_text()[-4000:]
        return facts

    def kill(self, *command: str, phase: str | None, after: float) -> bool:
        """Kill the command's whole group `after` seconds into `phase` (its start if None); whether that came in time."""
        self.start(*command)
        pid = self.said()["pid"]
        while phase is not None:
            fact = self.said()
            if "exit" in fact:
                return False
            if fact.get("phase") == phase:
                break
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        while "exit" not in (fact := self.said()):
            pass
        return bool(fact["exit"] == -signal.SIGKILL)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=300)
        assert self.process.stdout is not None
        self.process.stdout.close()


def write_events(path: Path, *, seed: int, last: datetime) -> None:
    """Purchases of customers with rates of their own, which the model can learn."""
    rng = np.random.default_rng(seed)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    days = (last - start).days
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer_id", "occurred_at", "type", "value"])
        for number in range(CUSTOMERS):
            rate = float(rng.choice([0.005, 0.02, 0.3]))
            for day in np.flatnonzero(rng.random(days) < rate):
                writer.writerow(
                    [f"C{number}", (start + timedelta(days=int(day), hours=9)).isoformat(), "purchase", 10 + seed]
                )
        writer.writerow(["C0", (last - timedelta(hours=2)).isoformat(), "purchase", 10 + seed])


class Reader:
    """A client that never stops asking, and keeps each distinct answer under the release that gave it."""

    def __init__(self, home: Home, url: str, key: str) -> None:
        self.home = home
        self.client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        self.answers: dict[tuple[str, str, str, str], set[str]] = {}
        self.failures: list[str] = []
        self.generations: set[str] = set()
        self.versions: set[str] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._poll, args=(look,)) for look in (self._http, self._files)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def has_seen(self, home: Home) -> bool:
        """Whether what stands now was read, from the files and over HTTP."""
        champion = Registry(home.tracking_uri, "killed").champion()
        assert champion is not None
        return Generation.current(home).id in self.generations and champion.version in self.versions

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.client.close()

    def _poll(self, look: Any) -> None:
        while not self._stop.is_set():
            try:
                look()
            except Exception as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            time.sleep(0.5)

    def _http(self) -> None:
        for customer in ("C0", "C7", "C31"):
            response = self.client.get(f"/v1/customers/{customer}/score?explain=all")
            if response.status_code != 200:
                self.failures.append(f"{customer}: {response.status_code} {response.text}")
                return
            score = response.json()
            health = score["health"]
            total = health["base"] + sum(pillar["points"] for pillar in health["pillars"]) + health["clamped"]
            if abs(total - health["score"]) > 1e-6:
                self.failures.append(f"{customer}: {total} is not {health['score']}")
            moments = {entry["feature_timestamp"] for entry in score["freshness"]}
            if moments != {score["feature_timestamp"]}:
                self.failures.append(f"{customer}: features of several moments, {moments}")
            key = (customer, score["feature_timestamp"], score["model_version"], score["scorecard_version"])
            self.answers.setdefault(key, set()).add(json.dumps([score["churn"]["probability"], score["reasons"]]))
            self.versions.add(score["model_version"])
        page = self.client.get("/v1/scores?limit=1000").json()["results"]
        releases = {
            (row["model_version"], row["scorecard_version"], row["feature_timestamp"])
            for row in page
            if "deleted" not in row
        }
        if len(releases) != 1:
            self.failures.append(f"current scores of {len(releases)} releases: {releases}")

    def _files(self) -> None:
        generation = Generation.current(self.home)
        self.generations.add(generation.id)
        with contextlib.closing(OnlineStore(generation)) as store:
            rows = store.read(["C0", "C7", "C31"])
        moments = {moment for pillar in rows.feature_timestamps.values() for moment in pillar}
        if moments != {generation.as_of}:
            self.failures.append(f"generation {generation.id}: features of {moments}, not {generation.as_of}")
        champion = Registry(self.home.tracking_uri, "killed").champion()
        if champion is None or champion.scorecard is None:
            self.failures.append("no whole champion")


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=30).status_code == 200
    except httpx.TransportError:
        return False


@contextlib.contextmanager
def serving(home: Home) -> Iterator[tuple[str, str]]:
    settings = Settings.model_validate({"home": home.path, "poll_seconds": 0.1, "rate_limit": 0})
    with served(settings, Role.SCORER) as (url, key):
        wait_for(lambda: is_ready(url))
        yield url, key


@contextlib.contextmanager
def polled(home: Home) -> Iterator[None]:
    """A client polls a server of `home` within the block, before, between and after what happens there."""
    with serving(home) as (url, key):
        reader = Reader(home, url, key)
        reader.start()
        try:
            wait_for(lambda: reader.has_seen(home))
            yield
            wait_for(lambda: reader.has_seen(home))
        finally:
            reader.stop()
    assert reader.failures == []
    assert len(reader.generations) >= 2, "the reader saw no new generation"
    assert len(reader.versions) >= 2, "the reader saw no new champion"
    mixed = {release: len(answers) for release, answers in reader.answers.items() if len(answers) > 1}
    assert mixed == {}, "one release gave several answers"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Python that has imported all."""
    started = ForkServer(tmp_path_factory.mktemp("commands") / "log")
    yield started
    started.close()


def test_killed_at_any_moment(server: ForkServer, tmp_path: Path, full: bool) -> None:
    server.online_store = ""
    home = Home(tmp_path / "home")
    configs = []
    for seed, last in ((1, datetime(2025, 12, 1, tzinfo=UTC)), (2, datetime(2025, 12, 2, tzinfo=UTC))):
        write_events(tmp_path / f"events{seed}.csv", seed=seed, last=last)
        config = tmp_path / f"business{seed}.toml"
        config.write_text(TOML.format(events=f"events{seed}.csv"))
        configs.append(str(config))
    server.finish("build", configs[0], str(home.path))
    server.finish("train", configs[0], str(home.path))
    began = time.monotonic()
    server.finish("promote", str(home.path))
    promotion_seconds = time.monotonic() - began
    with polled(home):
        _kill_builds(server, configs, home, 10 if full else 1)
        _kill_promotions(server, configs, home, promotion_seconds, 9 if full else 2)


@pytest.fixture
def redis_url(start_redis: Callable[..., int]) -> str:
    return f"redis://127.0.0.1:{start_redis()}/0"


@pytest.mark.redis
def test_killed_while_redis_is_filled(server: ForkServer, tmp_path: Path, redis_url: str, full: bool) -> None:
    server.online_store = redis_url
    home = Home(tmp_path / "home")
    write_events(tmp_path / "events1.csv", seed=1, last=datetime(2025, 12, 1, tzinfo=UTC))
    config = tmp_path / "business1.toml"
    config.write_text(TOML.format(events="events1.csv"))
    server.finish("build", str(config), str(home.path))
    assert Generation.current(home).online_store == redis_url
    server.finish("train", str(config), str(home.path))
    began = time.monotonic()
    server.finish("promote", str(home.path))
    promotion_seconds = time.monotonic() - began
    with polled(home):
        _kill_fillings(server, str(config), home, 5 if full else 1)
        facts = server.finish("build", str(config), str(home.path))
        assert Generation.current(home).id == facts[-1]["built"]
        _kill_redis_promotions(server, str(config), home, promotion_seconds, 5 if full else 1)
    # What the killed builds had written to Redis went with their folders.
    kept = {generation.project for generation in Generation.complete(home)}
    kept |= {f"{project}_before" for project in kept}
    with redis.Redis.from_url(redis_url) as client:
        named = [key.decode(errors="replace") for key in client.scan_iter("*")]
    assert named
    assert [name for name in named if not any(project in name for project in kept)] == []
    gc.collect()  # the server's connections to a Redis that is about to end


MOST_TRIES = 25
"""A command that ended before its signal is killed again, sooner, until a kill lands: the last ones come at once."""


def _kill_fillings(server: ForkServer, config: str, home: Home, kills: int) -> None:
    """Kill builds while they fill Redis until so many had not switched yet; the live generation stays."""
    rng = random.Random(7)
    inside = 0
    for turn in range(kills * MOST_TRIES):
        live = Generation.current(home).id
        after = rng.uniform(0.0, 0.01) * 0.9**turn
        killed = server.kill("build", config, str(home.path), phase=FILLING, after=after)
        inside += killed and Generation.current(home).id == live
        if inside == kills:
            return
    raise AssertionError(f"only {inside} kills came before the switch")


def _kill_redis_promotions(server: ForkServer, config: str, home: Home, seconds: float, kills: int) -> None:
    """Kill promotions at moments spread over one; the champion is the old one or the challenger."""
    server.finish("train", config, str(home.path))
    for turn in range(kills):
        _kill_promotion(server, config, home, seconds * (turn + 0.5) / (1.6 * kills))
    server.finish("promote", str(home.path))


def _kill_builds(server: ForkServer, configs: list[str], home: Home, fillings: int) -> None:
    """Kill builds in each of their phases, `fillings` of them inside materialize; after each, the next run succeeds."""
    rng = random.Random(5)
    for turn, phase in enumerate(("Describing customers", "Registering features", *[FILLING] * fillings)):
        before = Generation.current(home).id
        for sooner in range(MOST_TRIES):
            after = rng.uniform(0.0, 0.03 * 0.5**sooner)
            killed = server.kill("build", configs[turn % 2], str(home.path), phase=phase, after=after)
            # A kill that came after the switch leaves the new one, and it is whole: the reader reads it.
            assert Generation.current(home).id >= before
            if killed:
                break
        else:
            raise AssertionError(f"no kill came in time for '{phase}'")
        facts = server.finish("build", configs[(turn + 1) % 2], str(home.path))
        assert Generation.current(home).id == facts[-1]["built"]


def _kill_promotions(server: ForkServer, configs: list[str], home: Home, seconds: float, kills: int) -> None:
    """Kill promotions from their first write to their exit; after every third, the next run succeeds."""
    # The data of the champion, so that each challenger is as good as it, and none is refused.
    server.finish("build", configs[0], str(home.path))
    server.finish("train", configs[0], str(home.path))
    for turn in range(kills):
        _kill_promotion(server, configs[0], home, seconds * (turn + 0.5) / (kills + 1))
        if turn % 3 == 2:
            server.finish("promote", str(home.path))
            server.finish("train", configs[0], str(home.path))
    server.finish("promote", str(home.path))


def _kill_promotion(server: ForkServer, config: str, home: Home, after: float) -> None:
    """Kill a promotion `after` seconds, or sooner where it was through by then; there is a challenger afterwards."""
    registry = Registry(home.tracking_uri, "killed")
    for sooner in range(MOST_TRIES):
        before, challenger = registry.champion(), registry.challenger()
        assert before is not None
        assert challenger is not None
        killed = server.kill("promote", str(home.path), phase=None, after=after * 0.7**sooner)
        champion = registry.champion()
        assert champion is not None
        assert champion.version in (before.version, challenger.version)
        if not killed or champion.version == challenger.version:
            server.finish("train", config, str(home.path))
        if killed:
            return
    raise AssertionError("no promotion was killed in time")
