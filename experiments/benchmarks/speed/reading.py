"""Row 5: the features of one customer in 6 views, beside Feast's get_online_features on the same store."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from typing import Any

from experiments.benchmarks.errors import DifferentAnswers
from experiments.benchmarks.figures import Row, interleaved
from experiments.benchmarks.speed import reference
from features.generation import Generation
from features.store.offline import OfflineStore, OnlineStore


def reading(generation: Generation, rounds: int, number: str, engine: str, goal: float, customers: int) -> Row:
    """Reads a second of one customer at a time, in this process.

    Raises:
        DifferentAnswers: the two do not read the same values.
    """
    store, feast = OnlineStore(generation), OfflineStore(generation).feast()
    stored_as = generation.schema.stored_as
    references = [f"{feature.pillar}:{stored_as[feature.name]}" for feature in generation.schema]
    ids = reference.customer_ids(customers)

    def ours(customer_id: str) -> Any:
        rows = store.read_one(customer_id)
        return {name: rows.columns[name] for name in stored_as}

    def theirs(customer_id: str) -> Any:
        return feast.get_online_features(features=references, entity_rows=[{"customer_id": customer_id}]).to_dict()

    for customer_id in ids[:50]:
        mine, peers = ours(customer_id), theirs(customer_id)
        for name, column in stored_as.items():
            a, b = mine[name][0], peers[column][0]
            if a != b and not (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-7)):
                raise DifferentAnswers(f"{customer_id}: {name} is {a} here and {b} in Feast.")
    mine_s, theirs_s = interleaved(rounds, lambda: _speed(ours, ids, 0.5), lambda: _speed(theirs, ids, 1.0))
    store.close()
    return Row(
        number, f"feature read, one customer, 6 views, {engine}", "get_online_features, same store", "reads/s", goal,
        mine_s, theirs_s, {},
    )  # fmt: skip


def _speed(read: Callable[[str], Any], ids: list[str], seconds: float) -> float:
    begun, done = time.perf_counter(), 0
    for customer_id in itertools.cycle(ids):
        read(customer_id)
        done += 1
        if time.perf_counter() - begun > seconds:
            break
    return done / (time.perf_counter() - begun)
