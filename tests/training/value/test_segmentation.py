"""Segments that come out again: the same data, another sample, and a champion's that are kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from features.schema import DType, Feature, FeatureSchema
from training.dataset.training_set import Labels, TrainingSet
from training.value.segmentation import FoundSegments, assigned, find_segments

N = 2_000
SCHEMA = FeatureSchema(
    (
        Feature("uses_90d", "adoption", unit="count", sentence="{value} use{s} in the last 90 days"),
        Feature("uses_again", "adoption", sentence="{name} is {value}"),
        Feature("spend", "commercial", unit="EUR", sentence="{value} EUR spent in all"),
        Feature("plan", "relationship", dtype=DType.STRING, sentence="on the plan {value}"),
        Feature("noise", "support"),
        Feature("unknown", "support"),
    )
)


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    """Four groups: heavy and light users, on two plans."""
    rng = np.random.default_rng(4)
    heavy, pro = rng.random(N) < 0.5, rng.random(N) < 0.4
    uses = rng.poisson(np.where(heavy, 40, 3)).astype(np.float64)
    columns = {
        "uses_90d": uses,
        "uses_again": uses * 2.0 + rng.normal(0, 0.1, N),
        "spend": rng.lognormal(np.where(pro, 5.0, 3.0), 0.4),
        "plan": np.where(pro, "pro", "basic").astype(object),
        "noise": rng.normal(size=N),
        "unknown": np.full(N, np.nan),
    }
    y = (rng.random(N) < 0.1 + 0.5 * ~heavy + 0.1 * ~pro).astype(np.int8)
    ids = np.array([f"C{number}" for number in range(N)], dtype=object)
    moment = np.full(N, np.datetime64("2026-01-01", "us"))
    return TrainingSet(SCHEMA, columns, Labels(ids, moment, y, np.arange(N), None))


@pytest.fixture(scope="module")
def found(data: TrainingSet) -> FoundSegments:
    segments = find_segments(data, np.arange(N))
    assert segments is not None
    return segments


def hops(data: TrainingSet, one: FoundSegments, other: FoundSegments) -> float:
    """The share of customers whose segment changes, whatever the segments are called."""
    a, b = (assigned(each.segments, data, np.arange(N)) for each in (one, other))
    shared = np.zeros((len(one.segments.segments), len(other.segments.segments)))
    np.add.at(shared, (a, b), 1.0)
    rows, columns = linear_sum_assignment(-shared)
    return float(1.0 - shared[rows, columns].sum() / N)


def test_the_same_data_give_the_same_segments(data: TrainingSet, found: FoundSegments) -> None:
    assert find_segments(data, np.arange(N)) == found


def test_each_has_a_name_of_what_sets_it_apart(found: FoundSegments) -> None:
    names = [segment.name for segment in found.segments.segments]

    assert len(set(names)) == len(names)
    assert any("few uses in the last 90 days" in name for name in names)
    assert any("on the plan pro" in name or "much EUR spent in all" in name for name in names)
    read = {figure.feature for figure in found.segments.figures}
    assert "unknown" not in read
    assert not {"uses_90d", "uses_again"} <= read, "one says what the other says"


def test_those_who_leave_most_come_first(data: TrainingSet, found: FoundSegments) -> None:
    place = assigned(found.segments, data, np.arange(N))
    rates = [data.y[place == number].mean() for number in range(len(found.segments.segments))]

    assert rates == sorted(rates, reverse=True)
    assert [segment.id for segment in found.segments.segments] == [str(n + 1) for n in range(len(rates))]


@pytest.mark.parametrize("seed", [1, 2])
def test_hardly_anybody_hops_on_another_sample(data: TrainingSet, found: FoundSegments, seed: int) -> None:
    sample = np.random.default_rng(seed).integers(0, N, N)
    fresh, kept = find_segments(data, sample), find_segments(data, sample, found.segments)

    assert fresh is not None
    assert hops(data, found, fresh) < 0.25
    assert kept == FoundSegments(found.segments, None)


def test_segments_that_no_longer_fit_are_found_anew_and_inherit_ids(data: TrainingSet, found: FoundSegments) -> None:
    former = found.segments
    renamed = replace(former, segments=tuple(replace(s, id=f"old {s.id}") for s in former.segments))
    # Centroids that lie far from everybody in one figure.
    away = replace(renamed, centroids=tuple((row[0] + 6.0, *row[1:]) for row in former.centroids))

    again = find_segments(data, np.arange(N), away)

    assert again is not None
    assert not again.kept
    assert any(segment.id.startswith("old ") for segment in again.segments.segments)
    assert len({segment.id for segment in again.segments.segments}) == len(again.segments.segments)


def test_a_handful_of_customers_has_no_segments(data: TrainingSet) -> None:
    assert find_segments(data, np.arange(60)) is None
