"""The features of all customers as of any moments: Ibis expressions, run on DuckDB, one aggregation a pillar."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.business import Business, TableData
from features.cutoffs import Moments
from features.errors import IngestError
from features.pillars import adoption, commercial, engagement, other, relationship, sentiment, support
from features.pillars.evidence import PROPERTIES, SUBSCRIPTION, Cap, Evidence
from features.schema import ALL_PILLARS, OTHER, DType, Feature, FeatureSchema, Pillar

DAY_US = 86_400_000_000
JOINED_ROWS = 8_000_000
"""How many (event, cutoff) pairs are aggregated at once, at most, cutoffs being whole."""

CUSTOMER_COLUMNS = ("customer_id", "created_at", "name", "owner", "plan", "mrr")
TABLE_COLUMNS = ("customer_id", "__outcome", "__order", "__group")

Progress = Callable[[str, float], None]  # what is being done, and the share of it that is done
TASK = "Describing customers"

_LARGEST = float(np.finfo(np.float32).max)
_PREPARED = {"support": support.with_resolutions}


@dataclass(frozen=True, slots=True)
class EventLog:
    """Canonical events and customers in DuckDB, and what they hold.

    `events` has one row per event: customer_id, type, value, `occurred` and `received` in microseconds since 1970, and
    one column for each of `PROPERTIES`.
    """

    connection: Any
    events: Any
    customers: Any | None
    evidence: Evidence
    rows: int

    @classmethod
    def open(cls, business: Business, path: Path) -> EventLog:
        """The log of the generation directory `path`.

        Raises:
            IngestError: no event was accepted.
        """
        connection = ibis.duckdb.connect()
        raw = connection.read_parquet(path / "events.parquet")
        flat = raw.select(
            raw.customer_id,
            raw.type,
            raw.value,
            occurred=_microseconds(raw.occurred_at),
            received=_microseconds(raw.received_at),
            **{name: _property(raw, name, types) for name, types in PROPERTIES.items()},
        )
        events = connection.create_table("events", flat.order_by("type", "customer_id", "occurred"))
        customers = None
        if (path / "customers.parquet").exists():
            table = connection.read_parquet(path / "customers.parquet")
            created = _microseconds(table.created_at) if "created_at" in table.columns else ibis.null("int64")
            customers = connection.create_table("customers", table.mutate(created=created))
        evidence, rows = _observe(business, events, customers)
        if not rows:
            raise IngestError(
                f"{business.path}: no row of the sources could be used; the reasons are in the quarantine."
            )
        return cls(connection, events, customers, evidence, rows)

    def close(self) -> None:
        """Let go of DuckDB and its memory."""
        self.connection.disconnect()


def declared_schema(log: EventLog) -> FeatureSchema:
    """All features that the log's evidence allows, with their expressions."""
    evidence = log.evidence
    pillars: list[Pillar | None] = [
        module.pillar(evidence) for module in (adoption, engagement, sentiment, support, commercial, relationship)
    ]
    taken = [feature.name for pillar in pillars if pillar for feature in pillar.features]
    pillars.append(other.pillar(evidence, taken))
    return FeatureSchema(tuple(feature for pillar in pillars if pillar for feature in pillar.features))


def table_schema(business: Business, path: Path) -> FeatureSchema:
    """A table's columns as features, in file order within their pillars."""
    data = business.data
    assert isinstance(data, TableData)
    arrow = pq.read_schema(path / "customers.parquet")
    features = [
        Feature(
            name=field.name,
            pillar=data.pillars.get(field.name, OTHER),
            dtype=DType.STRING if _is_text(field.type) else DType.FLOAT,
        )
        for field in arrow
        if field.name not in TABLE_COLUMNS
    ]
    if not features:
        raise IngestError(f"{business.path}: the table has no column that could be a feature.")
    return FeatureSchema(tuple(sorted(features, key=lambda feature: ALL_PILLARS.index(feature.pillar))))


def population(log: EventLog, cutoffs: Sequence[datetime], left_by: str = "subscription_cancelled") -> Any:
    """Who was a customer at each cutoff, and the customer's own figures at it.

    Customers with an event, or created, before the cutoff; who cancelled (an event `left_by`) and did not start again
    later is none. Columns: cutoff (microseconds), customer_id, customer_tenure (days), customer_plan, customer_mrr and
    one "attribute <name>" each.
    """
    moments = _moments_table(cutoffs)
    seen = _visible(log.events, moments)
    lives = seen.group_by("cutoff", "customer_id").aggregate(
        first_seen=seen.occurred.min(),
        left=seen.occurred.max(where=seen.type == left_by),
        started=seen.occurred.max(where=seen.type == "subscription_started"),
        said_plan=_last_said(seen, "plan"),
        said_mrr=_last_said(seen, "mrr"),
    )
    lives = lives.mutate(gone=(lives.left.notnull() & ~(lives.started > lives.left).fill_null(False)))
    if log.customers is None:
        here = lives.filter(~lives.gone)
        return here.select(
            "cutoff",
            "customer_id",
            customer_tenure=(here.cutoff - here.first_seen).cast("float64") / DAY_US,
            customer_plan=here.said_plan,
            customer_mrr=here.said_mrr.try_cast("float64"),
        )
    customers = log.customers
    created = customers.filter(customers.created.notnull()).cross_join(moments)
    created = created.filter(created.created < created.cutoff).select("cutoff", "customer_id")
    known = created.union(lives.select("cutoff", "customer_id"), distinct=True)
    joined = known.left_join(lives, ["cutoff", "customer_id"]).drop("cutoff_right", "customer_id_right")
    joined = joined.filter(~joined.gone.fill_null(False))
    joined = joined.left_join(customers, "customer_id").drop("customer_id_right")
    created_before = (joined.created < joined.cutoff).ifelse(joined.created, ibis.null("int64"))
    since = ibis.least(
        ibis.coalesce(joined.first_seen, created_before), ibis.coalesce(created_before, joined.first_seen)
    )
    plan = joined.plan.cast("string") if "plan" in customers.columns else ibis.null("string")
    mrr = joined.mrr.cast("float64") if "mrr" in customers.columns else ibis.null("float64")
    return joined.select(
        "cutoff",
        "customer_id",
        customer_tenure=(joined.cutoff - since).cast("float64") / DAY_US,
        customer_plan=ibis.coalesce(joined.said_plan, plan),
        customer_mrr=ibis.coalesce(joined.said_mrr.try_cast("float64"), mrr),
        **{f"attribute {name}": joined[name] for name in log.evidence.attributes},
    )


def pillar_features(log: EventLog, people: Any, pillar: Pillar) -> Any:
    """The pillar's features of `people` (see `population`): one row per cutoff and customer, columns by feature name."""
    types = log.evidence.feeding(pillar.name)
    events = log.events.filter(log.events.type.isin(types)) if types else log.events.filter(ibis.literal(False))
    prepare = _PREPARED.get(pillar.name)
    if prepare is None:
        joined = people.left_join(
            events,
            [
                people.customer_id == events.customer_id,
                events.occurred < people.cutoff,
                events.received < people.cutoff,
            ],
        )
        joined = joined.mutate(age=(joined.cutoff - joined.occurred).cast("float64") / DAY_US)
    else:
        theirs = people.select("cutoff", "customer_id").join(
            events,
            [
                people.customer_id == events.customer_id,
                events.occurred < people.cutoff,
                events.received < people.cutoff,
            ],
        )
        theirs = theirs.drop("customer_id_right") if "customer_id_right" in theirs.columns else theirs
        theirs = prepare(theirs.mutate(age=(theirs.cutoff - theirs.occurred).cast("float64") / DAY_US))
        joined = people.left_join(theirs, ["cutoff", "customer_id"])
    figures = {}
    for feature in pillar.features:
        assert feature.expression is not None
        kind = "string" if feature.dtype is DType.STRING else "float64"
        figures[feature.name] = feature.expression(joined).cast(kind)
    return joined.group_by("cutoff", "customer_id").aggregate(**figures)


def build_snapshots(
    log: EventLog, schema: FeatureSchema, moments: Moments, path: Path, left_by: str, progress: Progress
) -> int:
    """Write snapshots/<pillar>.parquet for all moments, and weeks/<pillar>.parquet for the weeks that trends are of.

    Returns:
        How many customers the current snapshot has.
    """
    kept = set(moments.all)
    weeks = set(moments.weeks)
    described = tuple(sorted(kept | weeks))
    stored_as = schema.stored_as
    people = log.connection.create_table("people", population(log, described, left_by))
    done, total = 0, len(schema.pillars) * len(described)
    progress(TASK, 0.0)
    for pillar in schema.pillars:
        with contextlib.ExitStack() as stack:
            writers = {
                folder: stack.enter_context(_Writer(_file(path, folder, pillar), pillar, stored_as))
                for folder, wanted in (("snapshots", kept), ("weeks", weeks))
                if wanted
            }
            for chunk in _chunks(described, log.rows):
                theirs = people.filter(people.cutoff.isin([_epoch_us(cutoff) for cutoff in chunk]))
                table = pillar_features(log, theirs, pillar).order_by("cutoff", "customer_id").to_pyarrow()
                if kept.intersection(chunk):
                    writers["snapshots"].write(_of(table, kept.intersection(chunk)))
                for week in sorted(weeks.intersection(chunk)):
                    writers["weeks"].write(_of(table, {week}))
                done += len(chunk)
                progress(TASK, done / total)
    return int(people.filter(people.cutoff == _epoch_us(moments.as_of)).count().execute())


def build_table_snapshot(schema: FeatureSchema, as_of: datetime, path: Path) -> int:
    """Write a table's columns as the one snapshot of `as_of`; returns how many customers it has."""
    folder = path / "snapshots"
    folder.mkdir(exist_ok=True)
    table = pq.read_table(path / "customers.parquet").sort_by("customer_id")
    table = table.append_column("cutoff", pa.array(np.full(table.num_rows, _epoch_us(as_of))))
    for pillar in schema.pillars:
        with _Writer(folder / f"{pillar.name}.parquet", pillar, schema.stored_as) as writer:
            writer.write(table)
    return int(table.num_rows)


def _file(path: Path, folder: str, pillar: Pillar) -> Path:
    (path / folder).mkdir(exist_ok=True)
    return path / folder / f"{pillar.name}.parquet"


def _of(table: pa.Table, moments: Collection[datetime]) -> pa.Table:
    """The rows of some moments."""
    wanted = pa.array([_epoch_us(moment) for moment in sorted(moments)], pa.int64())
    return table.filter(pc.is_in(table.column("cutoff").cast(pa.int64()), wanted))


class _Writer:
    """Writes aggregates as Feast reads them: Float32 and String, with both timestamps."""

    def __init__(self, path: Path, pillar: Pillar, stored_as: dict[str, str]) -> None:
        self._pillar = pillar
        fields = [
            pa.field(stored_as[feature.name], pa.string() if feature.dtype is DType.STRING else pa.float32())
            for feature in pillar.features
        ]
        moment = pa.timestamp("us", "UTC")
        self._schema = pa.schema(
            [("customer_id", pa.string()), ("event_timestamp", moment), ("created_timestamp", moment), *fields]
        )
        self._writer = pq.ParquetWriter(path, self._schema)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, table: pa.Table) -> None:
        # What a snapshot says was known at its cutoff, so that is when it was created, whenever it was computed.
        moment = table.column("cutoff").cast(pa.int64()).cast(pa.timestamp("us", "UTC"))
        columns = [table.column("customer_id").cast(pa.string()), moment, moment]
        for feature in self._pillar.features:
            column = table.column(feature.name)
            columns.append(column.cast(pa.string()) if feature.dtype is DType.STRING else _float32(column))
        self._writer.write_table(pa.table(columns, schema=self._schema))


def _float32(column: pa.ChunkedArray) -> pa.Array:
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    values = np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)
    return pa.array(values, mask=np.isnan(values))


def _observe(business: Business, events: Any, customers: Any | None) -> tuple[Evidence, int]:
    found = (
        events.group_by("type")
        .aggregate(
            rows=events.count(),
            valued=events.value.count(),
            **{f"has_{name}": events[name].count() for name in PROPERTIES},
        )
        .to_pyarrow()
        .to_pylist()
    )
    surveys = events.filter(events.type == "survey_answered").survey.lower()
    attributes: dict[str, DType] = {}
    filled: set[str] = set()
    if customers is not None:
        own = [name for name in customers.columns if name not in (*CUSTOMER_COLUMNS, "created")]
        candidates = [*own, *(name for name in ("plan", "mrr") if name in customers.columns)]
        if candidates:
            counted = customers.aggregate(**{f"n{i}": customers[c].count() for i, c in enumerate(candidates)})
            row = counted.to_pyarrow().to_pylist()[0]
            filled = {name for position, name in enumerate(candidates) if row[f"n{position}"]}
        attributes = {
            name: DType.STRING if customers[name].type().is_string() else DType.FLOAT for name in own if name in filled
        }
    says = frozenset((row["type"], name) for row in found for name in PROPERTIES if row[f"has_{name}"])
    evidence = Evidence(
        types=frozenset(row["type"] for row in found),
        valued=frozenset(row["type"] for row in found if row["valued"]),
        properties=says,
        surveys=frozenset(word for word in surveys.as_table().distinct().to_pyarrow().column(0).to_pylist() if word),
        attributes=attributes,
        has_plan="plan" in filled or any((kind, "plan") in says for kind in SUBSCRIPTION),
        has_mrr="mrr" in filled or any((kind, "mrr") in says for kind in SUBSCRIPTION),
        activity=frozenset(business.churn.activity) if business.churn else frozenset(),
        currency=business.currency,
        scopes=tuple(sorted({action.consent for action in business.actions if action.consent})),
        caps=tuple(Cap(action.name, action.cap.days) for action in business.actions if action.cap),
    )
    return evidence, sum(row["rows"] for row in found)


def _microseconds(moment: Any) -> Any:
    # epoch_seconds alone would round what it cuts off on one backend and not on the other.
    whole = moment.truncate("s").epoch_seconds().cast("int64")
    return whole * 1_000_000 + moment.microsecond().cast("int64")


def _property(raw: Any, name: str, types: tuple[str, ...]) -> Any:
    properties = raw.properties
    if properties.type().is_map():
        word = properties.get(name)
    else:
        document = properties if properties.type().is_json() else properties.cast("json")
        # A JSON figure (4) and a JSON word ("4") are the same property.
        word = ibis.coalesce(document[name].str, document[name].cast("string").nullif("null"))
    return raw.type.isin(types).ifelse(word, ibis.null("string"))


def _moments_table(cutoffs: Sequence[datetime]) -> Any:
    return ibis.array([_epoch_us(cutoff) for cutoff in cutoffs]).cast("array<int64>").unnest().name("cutoff").as_table()


def _visible(events: Any, moments: Any) -> Any:
    return events.join(moments, [events.occurred < moments.cutoff, events.received < moments.cutoff])


def _last_said(seen: Any, name: str) -> Any:
    rank = ibis.struct({"occurred": seen.occurred, "word": seen[name]})
    return seen[name].argmax(rank, where=seen.type.isin(SUBSCRIPTION) & seen[name].notnull())


def _epoch_us(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _chunks(cutoffs: Sequence[datetime], rows: int) -> Iterator[Sequence[datetime]]:
    size = max(1, JOINED_ROWS // max(rows, 1))
    for start in range(0, len(cutoffs), size):
        yield cutoffs[start : start + size]


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))
