"""Row 12: how cost grows with the data, each figure beside itself at a hundredth of it."""

from __future__ import annotations

import contextlib
import itertools
import math
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from experiments.benchmarks.figures import Row
from experiments.benchmarks.speed import event_log, reference
from features.build import build
from features.config.business import Business
from features.home import Home
from features.store.offline import OfflineStore

TIMES = (1, 10, 100)
_LINEAR = 0.8
"""At a hundred times the data, a unit of it may cost a quarter more, before it is called more than linear."""
_ROUNDS = 3
_SCORES = 300


def growing(model: reference.Reference, scratch: Path, rounds: int, events: int, customers: int) -> Iterator[Row]:
    """A whole build of `events` events, materializing `customers`, and one explained score, at 1, 10 and 100 times as many.

    Each size is measured in its own rounds, at most three; the ratio is of speeds per unit at the largest size to the smallest.
    """
    rounds = min(rounds, _ROUNDS)
    built = {times: _repeated(rounds, partial(_building, scratch, events * times)) for times in TIMES}
    yield _row("12b", "build, from files to a live generation", "events/s", built, events, _LINEAR)
    stored = {times: _repeated(rounds, partial(_filling, scratch, customers * times)) for times in TIMES}
    yield _row("12m", "materialize, 6 views", "customers/s", stored, customers, _LINEAR)
    scored = {}
    for times in TIMES:
        home = Home(scratch / f"scored-{times}")
        reference.build(home, customers * times)
        reference.promote(home, model)
        with _scoring(home, customers * times) as score:
            scored[times] = _repeated(rounds, score)
        shutil.rmtree(home.path)
    yield _row("12s", "explained score of one customer", "scores/s", scored, customers, _LINEAR)


def _repeated(rounds: int, speed: Callable[[], float]) -> tuple[float, ...]:
    return tuple(speed() for _ in range(rounds))


def _row(number: str, what: str, unit: str, speeds: dict[int, tuple[float, ...]], base: int, goal: float) -> Row:
    """The largest size beside the smallest; the exponents say how cost grows with size, 1 being linear, or 0 for a score."""
    middle = {times: sorted(found)[len(found) // 2] for times, found in speeds.items()}
    # What one unit costs grows as size to the power of e − 1; a score is one unit, whatever the size.
    whole = 0 if number == "12s" else 1
    exponents = {
        f"{small}→{large}": round(whole + math.log(middle[small] / middle[large]) / math.log(large / small), 3)
        for small, large in itertools.pairwise(TIMES)
    }
    notes = {"size": {times: base * times for times in TIMES}, "speed": middle, "exponent": exponents}
    return Row(
        number, f"{what}, at {TIMES[-1]} times the data", f"itself at {base:,}", unit, goal, speeds[TIMES[-1]],
        speeds[TIMES[0]], notes,
    )  # fmt: skip


def _building(scratch: Path, events: int) -> float:
    folder = scratch / f"source-{events}"
    business = Business.load(folder / "growing.toml" if folder.exists() else event_log.write_source(folder, events))
    home = Home(scratch / "built")
    begun = time.perf_counter()
    build(business, home, datetime.now(UTC), lambda _, __: None)
    took = time.perf_counter() - begun
    shutil.rmtree(home.path)
    return events / took


def _filling(scratch: Path, customers: int) -> float:
    home = Home(scratch / "filled")
    generation = reference.new_generation(home, customers, table=True)
    ids = reference.customer_ids(customers)
    reference.snapshots(generation, [(generation.as_of, ids, reference.draw(customers, 21))])
    store = OfflineStore(generation)
    store.apply()
    begun = time.perf_counter()
    store.materialize()
    took = time.perf_counter() - begun
    shutil.rmtree(home.path)
    return customers / took


@contextlib.contextmanager
def _scoring(home: Home, customers: int) -> Iterator[Callable[[], float]]:
    """One explained score after another, of customers drawn at random; scores a second by the median time of one."""
    from serving.platform.settings import Settings
    from serving.releases.follower import ReleaseSource
    from serving.scores.scorer import Explain, Scorer

    source = ReleaseSource(Settings.model_validate({"home": home.path}))
    release = source.load(source.newest())
    scorer = Scorer(release)
    ids = reference.customer_ids(customers)
    rng = np.random.default_rng(3)

    def score() -> float:
        times = []
        for place in rng.integers(0, customers, _SCORES).tolist():
            begun = time.perf_counter()
            scorer.score((ids[place],), Explain.TOP)
            times.append(time.perf_counter() - begun)
        return 1 / float(np.median(times))

    score()
    yield score
