"""How the benchmark of quality divides what it judges models on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from experiments.benchmarks.quality.table import rolling
from features.schema import Feature, FeatureSchema
from training.dataset.labels import Cutoffs
from training.dataset.prepare import Prepared
from training.dataset.split import at_cutoffs
from training.dataset.training_set import Labels, TrainingSet

MONTHS = 7
HORIZON_DAYS = 60


def test_rolling_windows_learn_from_what_had_ended_when_they_began() -> None:
    cutoffs = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=30 * month) for month in range(MONTHS)]
    number = np.repeat(np.arange(MONTHS, dtype=np.int64), 10)
    y = np.tile([0, 1], 5 * MONTHS).astype(np.int8)
    y[number == 5] = 1  # a window of one outcome judges nothing
    labels = Labels(
        customer_id=np.array([f"C{place % 10}" for place in range(len(y))], dtype=object),
        event_timestamp=np.array([np.datetime64(cutoffs[n].replace(tzinfo=None), "us") for n in number]),
        y=y,
        group=np.arange(len(y), dtype=np.int64),
        rank=number,
    )
    data = TrainingSet(FeatureSchema((Feature("x", "other"),)), {"x": np.zeros(len(y))}, labels)
    split = at_cutoffs(number >= MONTHS - 1)
    prepared = Prepared(data, data, split, Cutoffs(tuple(cutoffs[:-1]), tuple(cutoffs[-1:])), HORIZON_DAYS, ())

    parts = rolling(prepared)

    tested = [int(number[fold.test][0]) for fold, _ in parts]
    assert tested == [2, 3, 4, 6]
    for (fold, windows), window in zip(parts, tested, strict=True):
        ended = [n for n in range(window) if cutoffs[n] + timedelta(days=HORIZON_DAYS) <= cutoffs[window]]
        assert sorted(set(number[fold.train])) == ended
        assert (number[fold.test] == window).all()
        assert windows is not None
        assert np.array_equal(windows.number, number[fold.train])
        assert len(windows.ended) == len(ended)
        assert windows.ended[-1] == tuple(
            n for n in ended if cutoffs[n] + timedelta(days=HORIZON_DAYS) <= cutoffs[ended[-1]]
        )
