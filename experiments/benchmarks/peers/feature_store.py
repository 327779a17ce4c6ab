"""The reference's features in Feast as its documentation has it: feature views over files, in SQLite or Redis."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float32, String

from features.generation import Generation
from features.schema import DType


def open_store(folder: Path, project: str, redis_url: str | None) -> FeatureStore:
    """The store of a project: SQLite beside its registry, or Redis."""
    online = (
        {"type": "sqlite", "path": str(folder / f"{project}.db")}
        if redis_url is None
        else {"type": "redis", "connection_string": redis_url.removeprefix("redis://").split("/")[0]}
    )
    kind = "sqlite" if redis_url is None else "redis"
    config = RepoConfig(
        project=project,
        provider="local",
        registry=str(folder / f"{project}_{kind}.registry"),
        online_store=online,
        offline_store={"type": "file"},
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    return FeatureStore(config=config)


def declare(store: FeatureStore, generation: Generation) -> None:
    """Register the entity and a view a pillar, over the generation's own snapshot files."""
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    views = [
        FeatureView(
            name=pillar.name,
            entities=[customer],
            ttl=timedelta(0),
            schema=[
                Field(name=feature.name, dtype=String if feature.dtype is DType.STRING else Float32)
                for feature in pillar.features
            ],
            source=FileSource(
                path=str(generation.snapshot_file(pillar.name)),
                timestamp_field="event_timestamp",
                created_timestamp_column="created_timestamp",
            ),
        )
        for pillar in generation.schema.pillars
    ]
    store.apply([customer, *views])


def fill(store: FeatureStore, generation: Generation, moment: datetime) -> None:
    """Write the rows of `moment` to the online store."""
    for pillar in generation.schema.pillars:
        table = pq.read_table(generation.snapshot_file(pillar.name))
        rows = table.filter(pc.equal(table.column("event_timestamp"), moment)).to_pandas()
        store.write_to_online_store(pillar.name, df=rows)
