"""Features at past moments, read from what a build keeps: a whole population, or one customer over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.generation import Generation
from features.schema import DType, FeatureSchema
from serving.releases.reasons import shortest
from serving.releases.release import Release

TREND = timedelta(weeks=12)
_KEYS = ["customer_id", "event_timestamp"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everybody's features as of one moment, rows in the order of `customer_ids`."""

    moment: datetime
    customer_ids: tuple[str, ...]
    matrix: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Known:
    """What one feature of one customer was at a moment; null is None."""

    moment: datetime
    value: float | str | None


def trend_moments(generation: Generation) -> tuple[datetime, ...]:
    """The moments of the last 12 weeks, oldest first, without now: weeks where a build keeps them, or else its snapshots."""
    if weeks := generation.weeks:
        return weeks
    earlier = {*generation.cutoffs, *([generation.before] if generation.before else [])}
    return tuple(sorted(moment for moment in earlier if generation.as_of - TREND <= moment < generation.as_of))


def population_at(release: Release, moment: datetime) -> Snapshot:
    """Who was a customer at `moment`, with the features that the release's model reads; empty if the build has none of it."""
    generation = release.generation
    columns: dict[str, Sequence[Any] | NDArray[Any]] = {}
    ids: tuple[str, ...] = ()
    for pillar in release.schema.pillars:
        table = _at(generation, pillar.name, moment, FeatureSchema(pillar.features))
        ids = tuple(table.column("customer_id").to_pylist())
        for feature in pillar.features:
            column = table.column(generation.schema.stored_as[feature.name])
            is_word = feature.dtype is DType.STRING
            columns[feature.name] = column.to_pylist() if is_word else column.to_numpy(zero_copy_only=False)
    return Snapshot(moment, ids, release.schema.to_matrix(columns, release.bundle.categories))


def histories(generation: Generation, customer_id: str, schema: FeatureSchema) -> Mapping[str, tuple[Known, ...]]:
    """How each feature of `schema` went for one customer, oldest first, from all moments that the build keeps."""
    stored_as = generation.schema.stored_as
    found: dict[str, tuple[Known, ...]] = {}
    for pillar in schema.pillars:
        names = [stored_as[feature.name] for feature in pillar.features]
        rows: dict[datetime, dict[str, Any]] = {}
        for path in (generation.snapshot_file(pillar.name), generation.weeks_file(pillar.name)):
            if path.exists():
                table = pq.read_table(path, columns=[*_KEYS, *names], filters=[("customer_id", "==", customer_id)])
                rows |= {row["event_timestamp"].astimezone(UTC): row for row in table.to_pylist()}
        for feature, name in zip(pillar.features, names, strict=True):
            found[feature.name] = tuple(Known(moment, shortest(rows[moment][name])) for moment in sorted(rows))
    return found


def _at(generation: Generation, pillar: str, moment: datetime, schema: FeatureSchema) -> pa.Table:
    names = [generation.schema.stored_as[feature.name] for feature in schema]
    path = generation.weeks_file(pillar) if moment in generation.weeks else generation.snapshot_file(pillar)
    return pq.read_table(path, columns=[*_KEYS, *names], filters=[("event_timestamp", "==", moment)])
