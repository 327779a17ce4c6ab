"""The features of all customers as of any moments: Ibis expressions, run on DuckDB, one aggregation a pillar."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.config.business import Business, TableData
from features.errors import IngestError
from features.pillars import support
from features.pillars.data_profile import SUBSCRIPTION
from features.schema import ALL_PILLARS, OTHER, DType, Feature, FeatureSchema, Pillar
from features.snapshots.cutoffs import Moments
from features.snapshots.event_table import EventLog

DAY_US = 86_400_000_000
JOINED_ROWS = 160_000_000
"""How many (event, cutoff) pairs are aggregated at once, at most, cutoffs being whole."""
DESCRIBED_ROWS = 4_000_000
"""How many (customer, cutoff) pairs are described at once, at most: each is a row of figures in memory."""
TABLE_COLUMNS = ("customer_id", "__outcome", "__order", "__group")

Progress = Callable[[str, float], None]  # what is being done, and the share of it that is done
TASK = "Describing customers"
HERE = "__here"

_LARGEST = float(np.finfo(np.float32).max)
_PREPARED = {"support": support.with_resolutions}


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
            direction=data.directions.get(field.name, 0),
        )
        for field in arrow
        if field.name not in TABLE_COLUMNS
    ]
    for feature in features:
        if feature.direction and feature.dtype is DType.STRING:
            raise IngestError(
                f"{business.path}: [data.directions] {feature.name!r} holds text, but only a number can have a direction."
            )
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
    lives = seen.group_by("cutoff", "customer_id").aggregate(first_seen=seen.occurred.min())
    # Few events, if any, say that somebody left, or on which terms he stays.
    telling = [kind for kind in (*SUBSCRIPTION, left_by) if kind in log.evidence.types]
    told = _visible(log.events.filter(log.events.type.isin(telling or [left_by])), moments)
    told = told.group_by("cutoff", "customer_id").aggregate(
        left=told.occurred.max(where=told.type == left_by),
        started=told.occurred.max(where=told.type == "subscription_started"),
        said_plan=_last_said(told, "plan"),
        said_mrr=_last_said(told, "mrr"),
    )
    lives = lives.left_join(told, ["cutoff", "customer_id"]).drop("cutoff_right", "customer_id_right")
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


def pillar_features(log: EventLog, people: Any, pillar: Pillar, cutoffs: Sequence[datetime]) -> Any:
    """The pillar's features of `people` (see `population`) at `cutoffs`: one row per cutoff and customer, by feature name.

    Expressions see the visible events of everybody and one row of each of the people, which has no event: who has no
    row of his own is none of the people, and nothing needs to be joined.
    """
    types = log.evidence.feeding(pillar.name)
    events = log.events.filter(log.events.type.isin(types)) if types else log.events.filter(ibis.literal(False))
    if not all(_epoch_us(cutoff) % DAY_US == 0 for cutoff in cutoffs):
        events = events.drop("new_day")  # the days counted back from these moments are none of the calendar's
    seen = _visible(events, _moments_table(cutoffs))
    seen = seen.mutate(age=(seen.cutoff - seen.occurred).cast("float64") / DAY_US)
    if log.huge:
        seen = seen.mutate(huge=True)
    prepare = _PREPARED.get(pillar.name)
    if prepare is not None:
        seen = prepare(seen)
    known = [name for name in people.columns if name not in seen.columns]
    theirs = people.select(
        "cutoff",
        "customer_id",
        *(ibis.null(seen[name].type()).name(name) for name in seen.columns if name not in ("cutoff", "customer_id")),
        *known,
        here=ibis.literal(True),
    )
    table = seen.mutate(**{name: ibis.null(people[name].type()) for name in known}, here=ibis.literal(False)).select(
        *theirs.columns
    )
    table = table.union(theirs)
    figures = {}
    for feature in pillar.features:
        assert feature.expression is not None
        kind = "string" if feature.dtype is DType.STRING else "float64"
        figures[feature.name] = feature.expression(table).cast(kind)
    described = table.group_by("cutoff", "customer_id").aggregate(**figures, **{HERE: table.here.any()})
    return described.filter(described[HERE]).drop(HERE)


def build_snapshots(
    log: EventLog,
    schema: FeatureSchema,
    moments: Moments,
    path: Path,
    left_by: str,
    progress: Progress,
    kept: Mapping[datetime, Path] | None = None,
) -> int:
    """Write snapshots/<pillar>.parquet for all moments, and weeks/<pillar>.parquet for the weeks that trends are of.

    Moments that are `kept` are taken from the files of that folder.

    Returns:
        How many customers the current snapshot has.
    """
    folders = {"snapshots": set(moments.all), "weeks": set(moments.weeks)}
    described = sorted(folders["snapshots"] | folders["weeks"])
    done, total, customers = 0, (1 + len(schema.pillars)) * len(described), 0
    progress(TASK, 0.0)
    with contextlib.ExitStack() as stack:
        writers = {
            (folder, pillar.name): stack.enter_context(_Writer(_file(path, folder, pillar), pillar, schema.stored_as))
            for folder, wanted in folders.items()
            if wanted
            for pillar in schema.pillars
        }
        for former, chunk in _parts(described, log, kept or {}):
            if former is not None:
                for pillar in schema.pillars:
                    for folder, wanted in folders.items():
                        if chunk[0] in wanted:
                            file = former / f"{pillar.name}.parquet"
                            customers = writers[folder, pillar.name].take_over(file, chunk[0])
                done += 1 + len(schema.pillars)
                progress(TASK, done / total)
                continue
            people = log.connection.create_table("people", population(log, chunk, left_by))
            done += len(chunk)
            progress(TASK, done / total)
            for pillar in schema.pillars:
                table = pillar_features(log, people, pillar, chunk).order_by("cutoff", "customer_id").to_pyarrow()
                for folder, wanted in folders.items():
                    # A week is a row group of its own, which whoever draws its trend reads alone.
                    parts = [wanted.intersection(chunk)] if folder == "snapshots" else [{m} & wanted for m in chunk]
                    for part in filter(None, parts):
                        writers[folder, pillar.name].write(_of(table, part))
                done += len(chunk)
                progress(TASK, done / total)
            customers = int(people.filter(people.cutoff == _epoch_us(chunk[-1])).count().execute())
            log.connection.raw_sql("DROP TABLE people")
    # The current snapshot is the last: nothing is described that is still to come.
    return customers


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

    def take_over(self, former: Path, cutoff: datetime) -> int:
        """Write the rows that another file has of one cutoff; returns how many."""
        table = pq.read_table(former, filters=[("event_timestamp", "==", cutoff)], schema=self._schema)
        self._writer.write_table(table)
        return int(table.num_rows)

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


def _moments_table(cutoffs: Sequence[datetime]) -> Any:
    return ibis.array([_epoch_us(cutoff) for cutoff in cutoffs]).cast("array<int64>").unnest().name("cutoff").as_table()


def _visible(events: Any, moments: Any) -> Any:
    return events.join(moments, [events.occurred < moments.cutoff, events.received < moments.cutoff])


def _last_said(seen: Any, name: str) -> Any:
    rank = ibis.struct({"occurred": seen.occurred, "word": seen[name]})
    return seen[name].argmax(rank, where=seen.type.isin(SUBSCRIPTION) & seen[name].notnull())


def _epoch_us(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _parts(
    cutoffs: Sequence[datetime], log: EventLog, kept: Mapping[datetime, Path]
) -> Iterator[tuple[Path | None, Sequence[datetime]]]:
    """Cutoffs in order: one that is kept with where it is, others in chunks."""
    for former, together in itertools.groupby(cutoffs, key=kept.get):
        if former is None:
            yield from ((None, chunk) for chunk in _chunks(list(together), log))
        else:
            yield from ((former, (cutoff,)) for cutoff in together)


def _chunks(cutoffs: Sequence[datetime], log: EventLog) -> Iterator[Sequence[datetime]]:
    """Cutoffs in order, as many together as may be; those at midnight, whose days are the calendar's, apart from others."""
    size = max(1, min(JOINED_ROWS // max(log.rows, 1), DESCRIBED_ROWS // max(log.people, 1)))
    for _, alike in itertools.groupby(cutoffs, key=lambda cutoff: _epoch_us(cutoff) % DAY_US == 0):
        together = list(alike)
        for start in range(0, len(together), size):
            yield together[start : start + size]


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))
