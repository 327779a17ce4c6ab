"""The only caller of Feast: apply, materialize, the point-in-time join of training, and the online read of serving."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow.parquet as pq
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.types import Float32, String
from redis.exceptions import RedisError

from features.errors import ConfigError, StoreUnavailable, UnknownCustomer
from features.generation import Generation
from features.schema import DType, FeatureSchema, Value

if TYPE_CHECKING:
    import pandas as pd

Moment = Literal["now", "before"]

JOIN_KEY = "customer_id"
EVENT_TIMESTAMP = "event_timestamp"
CREATED_TIMESTAMP = "created_timestamp"

_FLOAT_OR_STRING = {DType.FLOAT: Float32, DType.STRING: String}
_UNREACHABLE = (sqlite3.Error, RedisError, OSError)
_ROWS_PER_WRITE = 2_000
# A Redis that is down is to be known at once: its client would try again for seconds.
_REDIS_OPTIONS = {"socket_connect_timeout": "2", "socket_timeout": "10", "retry": "null"}


def online_store_from_environment() -> str:
    """`KEEPWELL_ONLINE_STORE`: "sqlite", the default, or a redis:// URL.

    Raises:
        ConfigError: it is neither.
    """
    setting = os.environ.get("KEEPWELL_ONLINE_STORE") or "sqlite"
    if setting != "sqlite":
        _redis_connection(setting)
    return setting


def project_name(business: str, generation_id: str) -> str:
    """Feast's name for a generation's project; see `Generation.project_name`."""
    return Generation.project_name(business, generation_id)


@dataclass(frozen=True, slots=True)
class OnlineRows:
    """Features of customers as served now, in request order.

    `columns` has one list per feature, None for null. `feature_timestamps` has for each pillar the moment that its
    features describe, None where the store has no row. `unknown` are the ids that have no row at all: their columns
    are all None, and nobody may score them.
    """

    customer_ids: tuple[str, ...]
    columns: Mapping[str, list[Value]]
    feature_timestamps: Mapping[str, list[datetime | None]]
    unknown: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.customer_ids)

    def row(self, position: int) -> dict[str, Value]:
        """All features of one customer."""
        return {name: column[position] for name, column in self.columns.items()}


class OfflineStore:
    """A generation's features for builds and training: registered in Feast, joined point in time, materialized."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self._stored_as = generation.schema.stored_as

    def apply(self) -> None:
        """Register entity and feature views, for now and for the comparison, and create the online tables."""
        for project in self._projects():
            _store(self.generation, project).apply([*self.definitions()])

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
        """Write the rows of `as_of`, and of `before`, to the online store; `advance` hears of rows × pillars written."""

        generation = self.generation
        moments = dict(zip(self._projects(), (generation.as_of, generation.before), strict=False))
        for project, moment in moments.items():
            assert moment is not None
            store = _store(generation, project)
            for pillar in generation.schema.pillars:
                view = store.get_feature_view(pillar.name)
                snapshot = pq.read_table(
                    generation.snapshot_file(pillar.name),
                    columns=[JOIN_KEY, *(self._stored_as[feature.name] for feature in pillar.features)],
                    filters=[(EVENT_TIMESTAMP, "=", moment)],
                )
                for start in range(0, snapshot.num_rows, _ROWS_PER_WRITE):
                    batch = snapshot.slice(start, _ROWS_PER_WRITE)
                    rows = list(_rows_of(batch, FeatureSchema(pillar.features), self._stored_as, moment))
                    with _reachable(generation.online_name):
                        store.provider.online_write_batch(store.config, view, rows, None)
                    if advance is not None:
                        advance(len(rows))

    def rows_to_materialize(self) -> int:
        """How many rows × pillars `materialize` writes."""

        moments = [moment for moment in (self.generation.as_of, self.generation.before) if moment]
        pillars = self.generation.schema.pillars
        column = pq.read_table(self.generation.snapshot_file(pillars[0].name), columns=[EVENT_TIMESTAMP])
        wanted = set(moments)
        return len(pillars) * sum(1 for moment in column.column(0).to_pylist() if moment in wanted)

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
        """What was known of each row's customer at its moment, by Feast's point-in-time join.

        `entities` has columns customer_id (string) and event_timestamp (UTC). The answer has those two and one column
        per feature (float32 or object, null as NaN or None), in the order of `entities`; no value that was created
        after the row's moment is used.
        """
        names = list(self.generation.schema.names if features is None else features)
        schema = self.generation.schema.select(names)
        frame = entities[[JOIN_KEY, EVENT_TIMESTAMP]].reset_index(drop=True)
        frame["row_position"] = range(len(frame))
        answer: pd.DataFrame = (
            _store(self.generation, self.generation.project)
            .get_historical_features(
                entity_df=frame,
                features=[f"{feature.pillar}:{self._stored_as[feature.name]}" for feature in schema],
                filter_by_created_timestamp=True,
            )
            .to_df()
            .sort_values("row_position", ignore_index=True)
            .rename(columns={self._stored_as[name]: name for name in names})
        )
        for feature in schema:
            words = feature.dtype is DType.STRING
            answer[feature.name] = answer[feature.name].astype(object if words else "float32")
            if words:
                answer[feature.name] = answer[feature.name].where(answer[feature.name].notna(), None)
        return answer[[JOIN_KEY, EVENT_TIMESTAMP, *names]]

    def _projects(self) -> tuple[str, ...]:
        projects = (self.generation.project, self.generation.project_before)
        return projects if self.generation.before is not None else projects[:1]


class OnlineStore:
    """A generation's current features, read through Feast; one instance serves all threads of a process."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        schema = generation.schema
        stored_as = schema.stored_as
        self._features = [
            (feature.name, feature.dtype is DType.STRING) for p in schema.pillars for feature in p.features
        ]
        self._columns = {stored_as[feature.name]: feature for feature in schema}
        self._first = {pillar.name: stored_as[pillar.features[0].name] for pillar in schema.pillars}
        self._references = [
            f"{pillar.name}:{stored_as[feature.name]}" for pillar in schema.pillars for feature in pillar.features
        ]
        # One registry answers for both projects: Feast caches what it resolved per registry, and forgets it when
        # another registry is asked.
        self._store = _store(generation, generation.project)
        self._configurations = {
            "now": self._store.config,
            "before": _configuration(generation, generation.project_before),
        }
        self._provider = self._store.provider

    def read(self, customer_ids: Sequence[str], moment: Moment = "now") -> OnlineRows:
        """The features of `customer_ids` now, or of the comparison 30 days earlier.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        ids = tuple(customer_ids)
        if moment == "before" and self.generation.before is None:
            empty: dict[str, list[Value]] = {name: [None] * len(ids) for name, _ in self._features}
            absent: dict[str, list[datetime | None]] = {pillar: [None] * len(ids) for pillar in self._first}
            return OnlineRows(ids, empty, absent, tuple(dict.fromkeys(ids)))
        if not ids:
            return OnlineRows((), {name: [] for name, _ in self._features}, {pillar: [] for pillar in self._first}, ())
        self._check_file()
        configuration = self._configurations[moment]
        with _reachable(self.generation.online_name):
            response = self._provider.get_online_features(
                config=configuration,
                features=self._references,
                entity_rows={JOIN_KEY: list(ids)},
                registry=self._store.registry,
                project=configuration.project,
            ).proto
        known_at = self.generation.as_of if moment == "now" else self.generation.before
        return self._rows(ids, known_at, dict(zip(response.metadata.feature_names.val, response.results, strict=True)))

    def read_one(self, customer_id: str, moment: Moment = "now") -> OnlineRows:
        """The features of one customer.

        Raises:
            UnknownCustomer: the store has no row of this customer.
            StoreUnavailable: the store does not answer.
        """
        rows = self.read((customer_id,), moment)
        if rows.unknown:
            raise UnknownCustomer(rows.unknown)
        return rows

    def ping(self) -> None:
        """Read a customer that can't exist.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        self.read(("",))

    def close(self) -> None:
        """Let go of the store's connections."""
        connection = getattr(getattr(self._provider, "online_store", None), "_conn", None)
        if connection is not None:
            connection.close()

    def _check_file(self) -> None:
        # SQLite would answer from a deleted file while it is open, and make an empty one when it is not.
        if self.generation.online_store == "sqlite" and not self.generation.online_file.exists():
            raise StoreUnavailable(f"The online store {self.generation.online_file} is gone: build the features again.")

    def _rows(self, ids: tuple[str, ...], known_at: datetime | None, vectors: Mapping[str, Any]) -> OnlineRows:
        columns: dict[str, list[Value]] = {}
        for column, feature in self._columns.items():
            values = vectors[column].values
            if feature.dtype is DType.STRING:
                columns[feature.name] = [v.string_val if v.HasField("string_val") else None for v in values]
            else:
                columns[feature.name] = [v.float_val if v.HasField("float_val") else None for v in values]
        # Feast's SQLite store keeps times by the writer's local clock and to the second: what it has is trusted to be
        # there, but the moment is the generation's.
        timestamps: dict[str, list[datetime | None]] = {
            pillar: [known_at if stored.seconds else None for stored in vectors[column].event_timestamps]
            for pillar, column in self._first.items()
        }
        known = [any(moments) for moments in zip(*timestamps.values(), strict=True)]
        unknown = tuple(dict.fromkeys(i for i, found in zip(ids, known, strict=True) if not found))
        return OnlineRows(ids, columns, timestamps, unknown)


def forget(online_store: str, project: str) -> None:
    """Delete a generation's keys from a Redis online store; a SQLite store goes with its generation's directory.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    if online_store == "sqlite":
        return
    with _reachable("Redis"):
        for name in (project, f"{project}_before"):
            configuration = RepoConfig(
                project=name,
                provider="local",
                registry="",
                online_store=_online_configuration(online_store, None),
                entity_key_serialization_version=3,
            )
            RedisOnlineStore().delete_entity_values(configuration, [JOIN_KEY])


def feast_environment(generation: Generation) -> dict[str, str]:
    """The variables that features/feature_repo/feature_store.yaml reads."""
    online = _online_configuration(generation.online_store, generation.online_file)
    return {
        "KEEPWELL_FEAST_PROJECT": generation.project,
        "KEEPWELL_FEAST_REGISTRY": f"sqlite:///{generation.registry_file}",
        "KEEPWELL_FEAST_ONLINE_STORE": json.dumps(online),
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
        online_store=_online_configuration(generation.online_store, generation.online_file),
        offline_store={"type": "duckdb"},
        entity_key_serialization_version=3,
        repo_path=generation.path,
    )


def _online_configuration(online_store: str, file: Path | None) -> dict[str, Any]:
    if online_store == "sqlite":
        return {"type": "sqlite", "path": str(file)}
    # A build writes each key once, into a project of its own: there is nothing older to compare with.
    return {"type": "redis", "connection_string": _redis_connection(online_store), "skip_dedup": True}


def _redis_connection(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise ConfigError(f"KEEPWELL_ONLINE_STORE is '{url}': give 'sqlite' or a URL such as redis://localhost:6379/0.")
    options = {"db": parts.path.strip("/") or "0", **_REDIS_OPTIONS, **dict(parse_qsl(parts.query))}
    # Feast reads values as JSON: a quoted password stays a string even if it is all digits.
    if parts.username:
        options["username"] = f'"{unquote(parts.username)}"'
    if parts.password:
        options["password"] = f'"{unquote(parts.password)}"'
    if parts.scheme == "rediss":
        options["ssl"] = "true"
    return ",".join([f"{parts.hostname}:{parts.port or 6379}", *(f"{key}={value}" for key, value in options.items())])


def _rows_of(
    batch: Any, schema: FeatureSchema, stored_as: Mapping[str, str], moment: datetime
) -> Iterator[tuple[EntityKey, dict[str, ValueProto], datetime, datetime]]:
    columns = {}
    for feature in schema:
        column, values = stored_as[feature.name], batch.column(stored_as[feature.name]).to_pylist()
        if feature.dtype is DType.STRING:
            columns[column] = [ValueProto() if v is None else ValueProto(string_val=v) for v in values]
        else:
            columns[column] = [ValueProto() if v is None or v != v else ValueProto(float_val=v) for v in values]
    for customer_id, *values in zip(batch.column(JOIN_KEY).to_pylist(), *columns.values(), strict=True):
        key = EntityKey(join_keys=[JOIN_KEY], entity_values=[ValueProto(string_val=customer_id)])
        yield key, dict(zip(columns, values, strict=True)), moment, moment


@contextlib.contextmanager
def _reachable(store: Path | str) -> Iterator[None]:
    """Turn a store's own errors into StoreUnavailable."""
    try:
        yield
    except _UNREACHABLE as error:
        raise StoreUnavailable(f"The online store ({store}) does not answer: {error}.") from error
