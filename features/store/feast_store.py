"""Feast's online store on packed rows: what `feast materialize`, `push` and `get_online_features` write and read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from feast import Entity, FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import FeastConfigBaseModel
from feast.types import Float32, String

from features.errors import ConfigError, StoreUnavailable
from features.schema import DType, Value
from features.store.codec import RowLayout, key_of_entity, key_of_id, times_of, to_microseconds, to_moment
from features.store.connect import open_rows
from features.store.rows import PackedRows, View, declare_views, read_catalog

CLASS_PATH = "features.store.feast_store.PackedOnlineStore"
_DTYPES = {Float32: DType.FLOAT, String: DType.STRING}
_MICROSECONDS = 1_000_000

Row = tuple[EntityKey, dict[str, ValueProto], datetime, datetime | None]


class PackedOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Where the rows are: in the LMDB file `path`, or in the Redis at `url` if there is one."""

    type: Literal["features.store.feast_store.PackedOnlineStore"] = "features.store.feast_store.PackedOnlineStore"
    path: str | None = None
    url: str | None = None


class PackedOnlineStore(OnlineStore):  # type: ignore[misc]
    """Keeps one packed row per entity and view; knows Float32 and String, and answers no row that outlived its ttl."""

    def __init__(self) -> None:
        self._opened: tuple[tuple[str | None, str | None], PackedRows] | None = None
        self._catalogs: dict[str, dict[str, View]] = {}

    def rows(self, config: RepoConfig) -> PackedRows:
        """The rows themselves, for those who read or write many at a time."""
        where = (config.online_store.path, config.online_store.url)
        if self._opened is None or self._opened[0] != where:
            path = None if where[0] is None else Path(config.repo_path or ".") / where[0]
            self._opened = where, open_rows(path, where[1])
            self._catalogs.clear()
        return self._opened[1]

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[Row],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows, the last of several of one entity standing.

        Raises:
            StoreUnavailable: the store does not answer.
            ConfigError: the view has columns that are neither Float32 nor String.
        """
        view = self._view(config, table)
        layout = view.layouts[0]
        items: dict[bytes, bytes] = {}
        for entity, values, event_time, created in data:
            raw = {name: _value(value) for name, value in values.items()}
            created_time = None if created is None else to_microseconds(created)
            items[_key(entity)] = layout.pack(raw, to_microseconds(event_time), created_time)
        self.rows(config).put(config.project, view.number, sorted(items.items()))
        if progress is not None:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, ValueProto] | None]]:
        """Event time and values of each entity; (None, None) for a row that is not there or outlived the view's ttl.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        view = self._view(config, table)
        now = to_microseconds(datetime.now(UTC))
        rows = self.rows(config).get(config.project, (view.number,), [_key(entity) for entity in entity_keys])
        found: list[tuple[datetime | None, dict[str, ValueProto] | None]] = []
        for row in rows:
            if row is None or view.is_expired(row, now):
                found.append((None, None))
                continue
            values = view.layout_of(row).unpack(row)
            wanted = values if requested_features is None else requested_features
            found.append((to_moment(times_of(row)[0]), {name: _proto(values.get(name)) for name in wanted}))
        return found

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],  # noqa: ARG002 - Feast's interface
        entities_to_keep: Sequence[Entity],  # noqa: ARG002 - Feast's interface
        partial: bool,  # noqa: ARG002 - Feast's interface
    ) -> None:
        """Declare views, and delete the rows of those that are gone.

        Raises:
            StoreUnavailable: the store does not answer.
            ConfigError: a view has columns that are neither Float32 nor String.
        """
        self._declare(config, tables_to_keep, [table.name for table in tables_to_delete])

    def teardown(
        self,
        config: RepoConfig,
        tables: Sequence[FeatureView],  # noqa: ARG002 - Feast's interface
        entities: Sequence[Entity],  # noqa: ARG002 - Feast's interface
    ) -> None:
        """Delete all rows of the project."""
        self.rows(config).drop(config.project)
        self._catalogs.pop(config.project, None)

    async def close(self) -> None:
        """Let go of the rows' connections."""
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None

    def _view(self, config: RepoConfig, table: FeatureView) -> View:
        layout, ttl = _described(table)
        view = self._catalogs.get(config.project, {}).get(table.name)
        if view is None or view.layouts[0] != layout or view.ttl != ttl:
            # Another process may have declared it since.
            self._catalogs[config.project] = read_catalog(self.rows(config), config.project)
            view = self._catalogs[config.project].get(table.name)
        if view is None:
            raise StoreUnavailable(f"The online store has no view '{table.name}': run 'feast apply' first.")
        if view.layouts[0] != layout or view.ttl != ttl:
            view = self._declare(config, [table], [])[table.name]
        return view

    def _declare(self, config: RepoConfig, tables: Sequence[FeatureView], gone: Sequence[str]) -> Mapping[str, View]:
        wanted = {table.name: _described(table) for table in tables}
        declared = declare_views(self.rows(config), config.project, wanted, gone)
        self._catalogs[config.project] = declared
        return declared


def _described(table: FeatureView) -> tuple[RowLayout, int]:
    columns = []
    for field in table.features:
        if field.dtype not in _DTYPES:
            raise ConfigError(
                f"Feature '{field.name}' of view '{table.name}' is {field.dtype}: declare it as Float32 or String."
            )
        columns.append((field.name, _DTYPES[field.dtype]))
    ttl = table.ttl
    return RowLayout(tuple(columns)), 0 if ttl is None else round(ttl.total_seconds() * _MICROSECONDS)


def _key(entity: EntityKey) -> bytes:
    if len(entity.entity_values) == 1 and entity.entity_values[0].WhichOneof("val") == "string_val":
        return key_of_id(entity.entity_values[0].string_val)
    return key_of_entity(serialize_entity_key(entity, entity_key_serialization_version=3))


def _value(proto: ValueProto) -> Value:
    kind = proto.WhichOneof("val")
    if kind is None or kind == "null_val":
        return None
    value: Value = getattr(proto, kind)
    return value


def _proto(value: Value) -> ValueProto:
    if value is None:
        return ValueProto()
    return ValueProto(string_val=value) if isinstance(value, str) else ValueProto(float_val=value)
