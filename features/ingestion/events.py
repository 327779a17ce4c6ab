"""The events of a business: every source's rows in canonical columns, checked, without duplicates, sorted by customer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb

from features.config.business import Column, Constant, EventsData, EventSource
from features.config.data import SURVEYS, LiveSource
from features.config.expression import Expression, Kind
from features.errors import ConfigError
from features.generation import event_files, evidence_files
from features.ingestion import partitions
from features.ingestion.cells.casts import FLOAT32, Cell, literal, quoted
from features.ingestion.cells.clocks import CLOCKS, clock_of
from features.ingestion.column_reading import Reading, told
from features.ingestion.csv_reader import Dialect
from features.ingestion.files import FILE, LINE, Relation
from features.ingestion.manifest import Manifest
from features.ingestion.partitions import CANONICAL
from features.ingestion.profiling import number_reasons, profiled, refuse_rounded
from features.ingestion.staging import SourceCount, Staging
from features.reasons import Reason

_GOOD: Final = "NOT filtered AND reason IS NULL"
# Only ids that come more than once are ordered: a window over all of them would sort the whole log. Of an event that came
# in live, too, a file's copy stands only where it says to have been received before; of files' copies the first in order.
_DUPLICATES: Final = f"""
CREATE TABLE duplicates AS SELECT source, {FILE}, {LINE}, is_live FROM (
    SELECT source, {FILE}, {LINE}, live IS NOT NULL AS is_live, row_number() OVER (PARTITION BY event_id ORDER BY
        CASE WHEN source = {{live}} THEN 1 WHEN has_received AND received_at < live THEN 0 ELSE 2 END,
        source, {FILE}, {LINE}) AS occurrence
    FROM (
        SELECT event_id, source, {FILE}, {LINE}, has_received, received_at,
            min(CASE WHEN source = {{live}} THEN received_at END) OVER (PARTITION BY event_id) AS live
        FROM staged SEMI JOIN (
            SELECT event_id FROM staged WHERE {_GOOD} AND event_id IS NOT NULL GROUP BY event_id HAVING count(*) > 1
        ) AS repeated USING (event_id)
        WHERE {_GOOD}
    )
) WHERE occurrence > 1
"""
_REPLACED: Final = f"""
UPDATE staged SET filtered = TRUE
WHERE {_GOOD} AND event_id IN (SELECT replaces FROM staged WHERE {_GOOD} AND replaces IS NOT NULL)
"""


Pairs = tuple[tuple[str, str], ...]
"""By name of a column, what its type is, or how it is read."""


class NotAppendable(Exception):
    """What was added cannot be put to the log that there is; the whole must be read."""


@dataclass(frozen=True, slots=True)
class Base:
    """The log that was built last, at `path`, and the files that each source has beside those that it was made of."""

    path: Path
    manifest: Manifest
    added: tuple[tuple[Path, ...], ...]


@dataclass(frozen=True, slots=True)
class Read:
    """What became of the events: the first and the last in UTC, and what the manifest keeps of them."""

    first: datetime
    last: datetime
    columns: tuple[Pairs, ...]
    readings: tuple[Pairs, ...]
    due: int | None
    added_from: int | None


def read_events(staging: Staging, data: EventsData, base: Base | None = None) -> Read:
    """Write the event files (see `event_files`); with a `base`, only what was added is read, and the rest taken over.

    Raises:
        NotAppendable: the log of `base` is no part of what a reading of everything would write.
    """
    columns, readings, opened = _stage(staging, data, base)
    due = added_from = None
    months: list[str] = []
    if opened:
        live = next((number for number, one in enumerate(data.events) if isinstance(one, LiveSource)), -1)
        staging.execute("Looking for duplicates", _REPLACED)
        due, added_from = _accept(staging, base, opened, live)
        months = [month for month, _ in sorted(staging.connection.execute(partitions.months_of("accepted")).fetchall())]
    staging.refuse_if_useless(range(len(data.events)), "events")
    whole = sum(count.accepted for count in staging.counts) <= partitions.ONE_FILE
    touched = [partitions.WHOLE] if whole and months else months
    if base is not None:
        former = partitions.names(base.path)
        if whole != (former == [partitions.WHOLE]):
            raise NotAppendable
        partitions.take_over(base.path, [month for month in former if month not in touched], staging.result)
        due = min((moment for moment in (due, base.manifest.due) if moment is not None), default=None)
        kept = literal(str(base.path / "quarantine" / "rejected.parquet"))
        staging.execute(
            "Setting bad rows aside",
            f"INSERT INTO rejected SELECT * FROM read_parquet({kept}) WHERE source < {len(data.events)}",
        )
    partitions.write(staging.execute, "accepted", touched, staging.result, None if base is None else base.path)
    first, last = staging.connection.execute(
        f"SELECT min(first), max(last) FROM read_parquet({literal(evidence_files(staging.result))})"
    ).fetchall()[0]
    return Read(_from_microseconds(first), _from_microseconds(last), columns, readings, due, added_from)


def _stage(
    staging: Staging, data: EventsData, base: Base | None
) -> tuple[tuple[Pairs, ...], tuple[Pairs, ...], dict[int, SourceCount | None]]:
    """Read what is to be read into the table `staged`; each source's columns and readings, and the earlier books of those read."""
    columns: list[Pairs] = []
    readings: list[Pairs] = []
    opened: dict[int, SourceCount | None] = {}
    named = sum(not isinstance(one, LiveSource) for one in data.events)
    for position, one in enumerate(data.events):
        before = None
        if base is not None:
            if isinstance(one, LiveSource) and _replaces(staging, one.path):
                raise NotAppendable  # what is replaced may stand in the log already, or be what was added
            known = base.manifest.sources[position]
            before = SourceCount(one.path, known.read, known.accepted, known.filtered, known.rejected)
            if not base.added[position]:
                staging.skip(before)
                columns.append(known.columns)
                readings.append(known.readings)
                continue
        number, relation = staging.open(one.path, Dialect.of(one), None if base is None else base.added[position])
        columns.append(tuple((cell.name, _kind(cell)) for cell in relation.cells))
        if base is not None and columns[-1] != base.manifest.sources[position].columns:
            raise NotAppendable
        key = "[data.events]" if named == 1 else f"[[data.events]] number {position + 1},"
        relation = staging.reread(number, _reading(staging, one, relation, key, readings))
        if base is not None and not _goes_on(base.manifest.sources[position].readings, readings[-1]):
            raise NotAppendable
        rows = f"SELECT {number} AS source, * FROM ({_canonical(staging, number, one, relation, key)})"
        staging.execute("Reading events", f"{'INSERT INTO staged' if opened else 'CREATE TABLE staged AS'} {rows}")
        opened[number] = before
    return tuple(columns), tuple(readings), opened


def _kind(cell: Cell) -> str:
    """What a column is, for the manifest: a file that writes its ids otherwise may not be appended."""
    return f"{cell.type} .{'0' * cell.decimals}" if cell.decimals else cell.type


def _reading(staging: Staging, one: EventSource, relation: Relation, key: str, readings: list[Pairs]) -> Relation:
    """The relation with its times and numbers read as its columns write them, which is added to `readings`."""
    names = {cell.name for cell in relation.cells}
    columns = {str(given) for name, given in one.properties.items() if _constant(name, given, relation) is None}
    numbers = {one.value or "value", *columns} & names
    place = f"{staging.business.path}: {key}"
    expressions = [] if one.value is None or one.value in names else [Expression.parse(one.value, f"{place} value")]
    if one.where is not None:
        expressions.append(Expression.parse(one.where, f"{place} where", result="condition"))
    for expression in expressions:
        numbers |= {name for name, kind in expression.kinds.items() if kind is Kind.NUMBER} & names
    times = {one.received_at or "received_at": one.received_format}
    if one.occurred_time is None:
        times[one.occurred_at or "occurred_at"] = one.occurred_format
    stated = numbers - columns
    read = profiled(staging.execute, relation, sorted(numbers - stated), one, key, sorted(stated), times, mostly=False)
    staging.notes += read.notes
    readings.append(told(read.readings))
    described = {profile.cell.name: profile.cell for profile in read.profiles}
    return replace(read.relation, cells=tuple(described.get(cell.name, cell) for cell in read.relation.cells))


def _goes_on(former: Pairs, now: Pairs) -> bool:
    """Whether what was added is read as the rest was, and no file of both together could tell otherwise."""
    return former == now and all(Reading.from_json(json.loads(reading)).is_sure for _, reading in now)


def _replaces(staging: Staging, folder: Path) -> bool:
    """Whether an event that came in live replaces another."""
    files = literal(str(folder / "*.parquet"))
    return bool(staging.scalar(f"SELECT count(replaces) > 0 FROM read_parquet({files})"))


def _accept(
    staging: Staging, base: Base | None, opened: Mapping[int, SourceCount | None], live: int
) -> tuple[int | None, int | None]:
    """Part good rows from bad; when a future row is due, and from when on an accepted one is visible (microseconds).

    `live` is the number of the source of what came in live, -1 without one. Who is told of an event by it and by a file is
    told once, and has lost nothing.
    """
    staging.execute("Looking for duplicates", _DUPLICATES.format(live=live))
    if base is not None:
        former = literal(event_files(base.path))
        staging.execute(
            "Looking for duplicates",
            f"INSERT INTO duplicates SELECT source, {FILE}, {LINE}, FALSE FROM staged SEMI JOIN "
            f"(SELECT event_id FROM read_parquet({former}) WHERE event_id IS NOT NULL) AS former USING (event_id) "
            f"WHERE {_GOOD} AND event_id IS NOT NULL AND (source, {FILE}, {LINE}) NOT IN "
            f"(SELECT (source, {FILE}, {LINE}) FROM duplicates)",
        )
        # Of equal ids the first in order of sources, files and lines stands: which came first, one source alone tells.
        if len(base.manifest.sources) > 1 and staging.scalar("SELECT count(*) FROM duplicates"):
            raise NotAppendable
    staging.connection.execute(
        f"CREATE VIEW accepted AS SELECT * FROM staged ANTI JOIN duplicates USING (source, {FILE}, {LINE}) WHERE {_GOOD}"
    )
    for number, before in opened.items():
        own = f"source = {number}"
        staging.reject_bad_lines(number)
        staging.reject(number, f"SELECT * FROM staged WHERE {own} AND NOT filtered AND reason IS NOT NULL")
        repeated = f"SELECT {FILE}, {LINE}, {literal(Reason.DUPLICATE_EVENT)} AS reason FROM duplicates WHERE {own}"
        staging.reject_by_position(number, f"{repeated} AND NOT is_live")
        filtered = staging.scalar(f"SELECT count(*) FROM staged WHERE {own} AND filtered")
        filtered += staging.scalar(f"SELECT count(*) FROM duplicates WHERE {own} AND is_live")
        staging.count(number, staging.scalar(f"SELECT count(*) FROM accepted WHERE {own}"), filtered, before)
    moment = "min(epoch_us(greatest(occurred_at, received_at)))"
    future = ", ".join(map(literal, (Reason.FUTURE_TIME, Reason.FUTURE_RECEIVED)))
    due = staging.scalar(f"SELECT {moment} FROM staged WHERE NOT filtered AND reason IN ({future})")
    return due, staging.scalar(f"SELECT {moment} FROM accepted")


def _from_microseconds(count: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=count)


def _canonical(staging: Staging, number: int, one: EventSource, relation: Relation, key: str) -> str:
    """SQL: a source's rows with position, `filtered`, `reason` (NULL: good), `raw` where it is not, and the event."""
    place = f"{staging.business.path}: {key}"
    for name in ("occurred_format", "received_format"):
        if (format := getattr(one, name)) is not None:
            check_format(staging.connection, format, f"{place} {name}")
    customer = relation.required(one.customer_id, "customer_id", f"{key} customer_id")
    refuse_rounded(staging.execute, relation, customer, f"{key} customer_id")
    occurred = relation.required(one.occurred_at, "occurred_at", f"{key} occurred_at")
    if one.occurred_time is not None:
        occurred = occurred.at(relation.cell(one.occurred_time, f"{key} occurred_time"))
    received = relation.optional(one.received_at, "received_at", f"{key} received_at")
    staging.times[number] = {} if one.occurred_time is not None else {Reason.BAD_TIME: occurred.name}
    if received is not None:
        staging.times[number][Reason.BAD_RECEIVED] = received.name
    if isinstance(one.type, str):
        type_sql = literal(one.type)
    else:
        type_cell = relation.required(one.type.name if isinstance(one.type, Column) else None, "type", f"{key} type")
        type_sql = f"trim({type_cell.text})"
    parsed = {
        "customer_id": customer.id,
        "occurred_at": occurred.time(one.occurred_format),
        "received_at": _received(received, one) if received else "NULL::TIMESTAMPTZ",
        "type": type_sql,
    }
    for name, given in (("event_id", one.event_id), ("channel", one.channel), ("text", one.text)):
        cell = relation.optional(given, name, f"{key} {name}")
        parsed[name] = "NULL::VARCHAR" if cell is None else cell.id if name == "event_id" else cell.text
    replaces = relation.optional(None, "replaces", key) if isinstance(one, LiveSource) else None
    parsed["replaces"] = "NULL::VARCHAR" if replaces is None else replaces.id
    parsed["value"], numbers = _value(one, relation, place, key)
    parsed["properties"], bad_properties = _properties(one, relation, key)
    filtered = "FALSE"
    if one.where is not None:
        where = Expression.parse(one.where, f"{place} where", result="condition")
        tested, cells = _compiled(where, relation, f"{key} where")
        numbers = [*numbers, *(cell for cell in cells if cell not in numbers)]
        # What cannot be compared is a bad row, not one that the condition leaves out.
        readable = " AND ".join(f"NOT {cell.junk} AND NOT {cell.infinite}" for cell in cells) or "TRUE"
        filtered = f"{readable} AND NOT coalesce({tested}, FALSE)"
    present = f"{received.present} AND received_at IS NULL" if received else "FALSE"
    infinite = f'WHEN abs("value") > {FLOAT32} OR isnan("value") THEN {literal(Reason.INFINITE)}'
    reasons = [
        f"WHEN customer_id IS NULL THEN {literal(Reason.NO_CUSTOMER)}",
        f"WHEN type IS NULL THEN {literal(Reason.NO_TYPE)}",
        f"WHEN NOT {occurred.present} THEN {literal(Reason.NO_TIME)}",
        f"WHEN occurred_at IS NULL THEN {literal(Reason.BAD_TIME)}",
        f"WHEN occurred_at < TIMESTAMPTZ '1900-01-01 00:00:00+00' THEN {literal(Reason.OLD_TIME)}",
        f"WHEN occurred_at > {staging.now_sql} THEN {literal(Reason.FUTURE_TIME)}",
        f"WHEN {present} THEN {literal(Reason.BAD_RECEIVED)}",
        f"WHEN received_at > {staging.now_sql} THEN {literal(Reason.FUTURE_RECEIVED)}",
        *number_reasons(numbers),
        infinite,
        f"WHEN {bad_properties} THEN {literal(Reason.BAD_PROPERTIES)}",
    ]
    cells_of = ", ".join(cell.columns for cell in relation.cells)
    parsed_sql = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in parsed.items())
    event = ", ".join(
        "coalesce(received_at, occurred_at) AS received_at" if name == "received_at" else quoted(name)
        for name in CANONICAL
    )
    return (
        f"SELECT {FILE}, {LINE}, filtered, reason, CASE WHEN reason IS NOT NULL THEN {relation.raw} END AS raw, "
        f"received_at IS NOT NULL AS has_received, replaces, {event} FROM ("
        f"SELECT *, CASE WHEN filtered THEN NULL {' '.join(reasons)} ELSE NULL END AS reason FROM ("
        f"SELECT {FILE}, {LINE}, {filtered} AS filtered, {cells_of}, {parsed_sql} FROM {relation.sql}))"
    )


def check_format(connection: duckdb.DuckDBPyConnection, format: str, key: str) -> None:
    """Refuse what is no format of times; `key` is the TOML's, as messages name it.

    Raises:
        ConfigError: it is none.
    """
    if clock_of(format) is not None:
        return
    try:
        if "%" not in format:
            raise duckdb.InvalidInputException
        connection.execute("SELECT try_strptime('', ?)", [format])
    except duckdb.Error:
        raise ConfigError(
            f"{key}: {format!r} is no strptime format such as '%Y%m%d', and none of {', '.join(CLOCKS)}."
        ) from None


def _received(cell: Cell, one: EventSource) -> str:
    if one.received_format is not None:
        return cell.time(one.received_format)
    format = one.occurred_format
    if cell.is_time or cell.clock is not None or format is None:
        return cell.time()
    return f"coalesce({cell.time()}, {cell.time(format)})"


def _value(one: EventSource, relation: Relation, place: str, key: str) -> tuple[str, list[Cell]]:
    """SQL of the event's value, and the cells that must be numbers for it."""
    cell = next((cell for cell in relation.cells if cell.name == (one.value or "value")), None)
    if cell is not None:
        return cell.number, [cell]
    if one.value is None:
        return "NULL::DOUBLE", []
    return _compiled(Expression.parse(one.value, f"{place} value"), relation, f"{key} value")


def _compiled(expression: Expression, relation: Relation, key: str) -> tuple[str, list[Cell]]:
    """SQL of an expression over a relation, and the cells that it takes for numbers."""
    cells = {name: relation.cell(name, key) for name in sorted(expression.columns)}

    def column(name: str, kind: Kind) -> str:
        cell = cells[name]
        return {Kind.NUMBER: cell.number, Kind.CONDITION: cell.condition, Kind.TEXT: f"trim({cell.written})"}[kind]

    numbers = [cells[name] for name, kind in sorted(expression.kinds.items()) if kind is Kind.NUMBER]
    return expression.to_sql(column), numbers


def _constant(name: str, given: str | Constant, relation: Relation) -> str | int | float | None:
    """What a property always is; None where a column says it."""
    if isinstance(given, Constant):
        return given.value
    is_survey = name == "survey" and given in SURVEYS and given not in {cell.name for cell in relation.cells}
    return given if is_survey else None


def _properties(one: EventSource, relation: Relation, key: str) -> tuple[str, str]:
    """SQL of the event's properties, and SQL that says where they are no JSON object."""
    if one.properties:
        pairs: list[str] = []
        for name, given in one.properties.items():
            constant = _constant(name, given, relation)
            if constant is not None:
                pairs.append(f"{literal(name)}, {literal(constant) if isinstance(constant, str) else repr(constant)}")
                continue
            cell = relation.cell(str(given), f"{key} properties")
            value = cell.number if cell.is_number or cell.parsed else cell.sql if cell.type == "BOOLEAN" else cell.text
            pairs.append(f"{literal(name)}, {value}")
        return f"CAST(json_object({', '.join(pairs)}) AS VARCHAR)", "FALSE"
    written = relation.optional(None, "properties", f"{key} properties")
    if written is None:
        return "NULL::VARCHAR", "FALSE"
    valid = "json_valid(properties) AND CASE WHEN json_valid(properties) THEN json_type(properties) = 'OBJECT' END"
    return written.text, f"properties IS NOT NULL AND NOT coalesce({valid}, FALSE)"
