"""The caller of Feast: apply, materialize, and the point-in-time join of training; what serving reads is in online.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float32, String

from features.errors import StoreUnavailable
from features.generation import Generation, is_redis
from features.schema import DType
from features.store.bulk_load import CREATED_TIMESTAMP, EVENT_TIMESTAMP, JOIN_KEY, packed_snapshot, rows_at
from features.store.connect import open_rows
from features.store.feast_store import CLASS_PATH
from features.store.online import Moment, OnlineRows, OnlineStore
from features.store.point_in_time import known_at
from features.store.rows import PackedRows, read_catalog

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Moment",
    "OfflineStore",
    "OnlineRows",
    "OnlineStore",
    "feast_environment",
    "forget",
    "project_name",
]

_FLOAT_OR_STRING = {DType.FLOAT: Float32, DType.STRING: String}


def project_name(business: str, generation_id: str) -> str:
    """Feast's name for a generation's project; see `Generation.project_name`."""
    return Generation.project_name(business, generation_id)


class OfflineStore:
    """A generation's features for builds and training: registered in Feast, joined point in time, materialized."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self._stored_as = generation.schema.stored_as

    def apply(self) -> None:
        """Register entity and feature views, for now and for the comparison, and create the online tables."""
        for project in self._projects():
            _store(self.generation, project).apply([*self.definitions()])

    def feast(self) -> FeatureStore:
        """Feast's own object over this generation, for Feast's own calls."""
        return _store(self.generation, self.generation.project)

    def definitions(self) -> tuple[Entity | FeatureView, ...]:
        """Feast's own objects of this generation: the entity `customer` and one feature view a pillar."""
        customer = Entity(name="customer", join_keys=[JOIN_KEY], value_type=ValueType.STRING)
        views = [
            FeatureView(
                name=pillar.name,
                entities=[customer],
                ttl=timedelta(0),
                schema=[
                    Field(
                        name=self._stored_as[feature.name],
                        dtype=_FLOAT_OR_STRING[feature.dtype],
                        description=feature.sentence,
                    )
                    for feature in pillar.features
                ],
                source=FileSource(
                    name=pillar.name,
                    path=str(self.generation.snapshot_file(pillar.name)),
                    timestamp_field=EVENT_TIMESTAMP,
                    created_timestamp_column=CREATED_TIMESTAMP,
                ),
            )
            for pillar in self.generation.schema.pillars
        ]
        return (customer, *views)

    def register_service(self, name: str, features: Sequence[str]) -> None:
        """Record under `name` which features a model version reads.

        Raises:
            SchemaMismatch: a feature is not declared in this generation.
        """
        store = _store(self.generation, self.generation.project)
        views = {view.name: view for view in self.definitions() if isinstance(view, FeatureView)}
        parts = [
            views[pillar.name][[self._stored_as[feature.name] for feature in pillar.features]]
            for pillar in self.generation.schema.select(features).pillars
        ]
        store.apply([FeatureService(name=name, features=parts)])

    def feature_services(self) -> tuple[FeatureService, ...]:
        """Feast's own objects of the registered services."""
        return tuple(_store(self.generation, self.generation.project).list_feature_services())

    def services(self) -> dict[str, tuple[str, ...]]:
        """The registered services, each with its features' names."""
        named = {column: name for name, column in self._stored_as.items()}
        return {
            service.name: tuple(
                named[field.name] for view in service.feature_view_projections for field in view.features
            )
            for service in self.feature_services()
        }

    def carry_services(self, previous: Generation) -> tuple[str, ...]:
        """Register the services of the previous generation here too; return those whose features are gone."""
        gone = []
        for name, features in OfflineStore(previous).services().items():
            if all(feature in self.generation.schema for feature in features):
                self.register_service(name, features)
            else:
                gone.append(name)
        return tuple(gone)

    def materialize(self, advance: Callable[[int], None] | None = None) -> None:
        """Write the rows of `as_of`, and of `before`, to the online store; `advance` hears of rows × pillars written.

        Goes from snapshots to packed rows in bulk, a pillar at a time, into projects that no reader knows of yet.

        A Redis is read back afterwards: one that is full takes rows and throws others away.

        Raises:
            StoreUnavailable: the store does not answer, or has not kept what was written.
        """
        generation = self.generation
        rows = open_rows(*generation.online_place)
        try:
            for project, moment in self._moments().items():
                views = read_catalog(rows, project)
                for pillar in sorted(generation.schema.pillars, key=lambda pillar: views[pillar.name].number):
                    view = views[pillar.name]
                    source = generation.snapshot_file(pillar.name)
                    for items in packed_snapshot(source, view.layouts[0], moment):
                        rows.put(project, view.number, items)
                        if advance is not None:
                            advance(len(items))
            if not generation.is_embedded:
                self._read_back(rows)
        finally:
            rows.close()

    def _read_back(self, rows: PackedRows) -> None:
        for project, moment in self._moments().items():
            views = read_catalog(rows, project)
            for pillar in self.generation.schema.pillars:
                view = views.get(pillar.name)
                if view is None:
                    raise StoreUnavailable("The online store (Redis) has not kept its catalog: give it more memory.")
                source = self.generation.snapshot_file(pillar.name)
                for items in packed_snapshot(source, view.layouts[0], moment):
                    kept = rows.get(project, (view.number,), [key for key, _ in items])
                    lost = sum(row != written for row, (_, written) in zip(kept, items, strict=True))
                    if lost:
                        raise StoreUnavailable(
                            f"The online store (Redis) has not kept what was written, {lost} of {len(items)} rows: give it "
                            "more memory, and the policy noeviction, then build again."
                        )

    def rows_to_materialize(self) -> int:
        """How many rows × pillars `materialize` writes."""
        pillars = self.generation.schema.pillars
        source = self.generation.snapshot_file(pillars[0].name)
        return len(pillars) * sum(rows_at(source, moment) for moment in self._moments().values())

    def population(self, cutoffs: Sequence[datetime] | None = None) -> pd.DataFrame:
        """Who was a customer at each cutoff (default: the training cutoffs): columns customer_id, event_timestamp."""

        wanted = list(self.generation.cutoffs if cutoffs is None else cutoffs)
        rows = pq.read_table(
            self.generation.snapshot_file(self.generation.schema.pillars[0].name),
            columns=[JOIN_KEY, EVENT_TIMESTAMP],
            filters=[(EVENT_TIMESTAMP, "in", wanted)],
        )
        frame: pd.DataFrame = rows.to_pandas()
        return frame.sort_values([EVENT_TIMESTAMP, JOIN_KEY], ignore_index=True)

    def training_frame(self, entities: pd.DataFrame, features: Sequence[str] | None = None) -> pd.DataFrame:
        """What was known of each row's customer at its moment: the same as Feast's point-in-time join answers, sooner.

        `entities` has columns customer_id (string) and event_timestamp (UTC). The answer has those two and one column
        per feature (float32 or object, null as NaN or None), in the order of `entities`; no value that was created
        after the row's moment is used.
        """
        schema = self.generation.schema
        names = list(schema.names if features is None else features)
        wanted = schema.select(names)
        asked = pa.Table.from_pandas(entities[[JOIN_KEY, EVENT_TIMESTAMP]], preserve_index=False)
        ids = asked.column(JOIN_KEY).cast(pa.string())
        moments = asked.column(EVENT_TIMESTAMP).cast(pa.timestamp("us", "UTC"), safe=False)
        columns: dict[str, Any] = {}
        for pillar in wanted.pillars:
            stored = [self._stored_as[feature.name] for feature in pillar.features]
            known = known_at(self.generation.snapshot_file(pillar.name), ids, moments, stored)
            for feature, column in zip(pillar.features, known.columns, strict=True):
                words = feature.dtype is DType.STRING
                values = column.to_pandas() if words else column.to_pandas().astype("float32")
                columns[feature.name] = values.astype(object).where(values.notna(), None) if words else values
        frame = entities[[JOIN_KEY, EVENT_TIMESTAMP]].reset_index(drop=True)
        return frame.assign(**{name: columns[name] for name in names})

    def _moments(self) -> dict[str, datetime]:
        moments = (self.generation.as_of, self.generation.before)
        return {
            project: moment for project, moment in zip(self._projects(), moments, strict=False) if moment is not None
        }

    def _projects(self) -> tuple[str, ...]:
        projects = (self.generation.project, self.generation.project_before)
        return projects if self.generation.before is not None else projects[:1]


def forget(online_store: str, project: str) -> None:
    """Delete a generation's rows from Redis; an embedded store goes with its generation's directory.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    if not is_redis(online_store):
        return
    rows = open_rows(None, online_store)
    try:
        for name in (project, f"{project}_before"):
            rows.drop(name)
    finally:
        rows.close()


def feast_environment(generation: Generation) -> dict[str, str]:
    """The variables that features/feature_repo/feature_store.yaml reads."""
    return {
        "KEEPWELL_FEAST_PROJECT": generation.project,
        "KEEPWELL_FEAST_REGISTRY": f"sqlite:///{generation.registry_file}",
        "KEEPWELL_FEAST_ONLINE_STORE": json.dumps(_online_configuration(generation)),
    }


def _store(generation: Generation, project: str) -> FeatureStore:
    return FeatureStore(config=_configuration(generation, project))


def _configuration(generation: Generation, project: str) -> RepoConfig:
    return RepoConfig(
        project=project,
        provider="local",
        # A generation never changes once it is live, so its registry is read once.
        registry={
            "registry_type": "sql",
            "path": f"sqlite:///{generation.registry_file}",
            "cache_ttl_seconds": 0,
        },
        online_store=_online_configuration(generation),
        offline_store={"type": "duckdb"},
        entity_key_serialization_version=3,
        repo_path=generation.path,
    )


def _online_configuration(generation: Generation) -> dict[str, Any]:
    if generation.is_embedded:
        return {"type": CLASS_PATH, "path": str(generation.online_file)}
    return {"type": CLASS_PATH, "url": generation.online_store}
