"""Customers: those of an event business with their attributes, and a table of those whose outcome is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from features.config.business import CustomersSource, TableData
from features.config.data import Filled
from features.errors import IngestError
from features.generation import event_files
from features.ingestion.cells.casts import Cell, literal, quoted
from features.ingestion.cells.missing import ANYWHERE, MARKERS, is_marker
from features.ingestion.column_reading import PLAIN, write_readings
from features.ingestion.csv_reader import Dialect
from features.ingestion.events import check_format
from features.ingestion.files import ROW, Relation
from features.ingestion.losses import Acquaintance, acquaintance
from features.ingestion.profiling import number_reasons, profiled, refuse_reserved, refuse_rounded
from features.ingestion.staging import Staging
from features.reasons import Reason
from features.words import shown, word

OUTCOME: Final = "__outcome"
ORDER: Final = "__order"
GROUP: Final = "__group"
_RESERVED: Final = ("customer_id", "event_timestamp", "created_timestamp")
_CUSTOMER: Final = {
    "created_at": "TIMESTAMPTZ",
    "name": "VARCHAR",
    "owner": "VARCHAR",
    "plan": "VARCHAR",
    "mrr": "DOUBLE",
}
_RESERVED_OF_EVENTS: Final = ("customer_id", *_CUSTOMER, "event_timestamp", "created_timestamp")


def read_table(staging: Staging, data: TableData) -> None:
    """Write customers.parquet: customer_id, the features, then `__outcome` (0 or 1), `__order` (from 1) and `__group`.

    The outcome, the columns of `drop`, and those that `customer_id`, `order` and `group` name are no features.
    """
    number, relation = staging.open(data.path, Dialect.of(data))
    dropped = {relation.cell(column, "[data] drop").name for column in data.drop}
    outcome = relation.cell(data.outcome, "[data] outcome")
    id = relation.optional(data.customer_id, "customer_id", "[data] customer_id")
    if id is not None and id.name in dropped:
        id = None
    order = None if data.order in (None, "file") else relation.cell(str(data.order), "[data] order")
    group = None if data.group is None else relation.cell(data.group, "[data] group")
    for column in data.pillars:
        relation.cell(column, "[data.pillars]")
    for column in data.directions:
        relation.cell(column, "[data.directions]")
    taken = {outcome.name, *dropped, *(cell.name for cell in (id, order, group) if cell is not None)}
    cells = [cell for cell in relation.cells if cell.name not in taken]
    if not cells:
        raise IngestError(f"{relation.path}: no column is left to be a feature.")
    refuse_reserved(relation, cells, _RESERVED, "[data] drop")
    names = [cell.name for cell in cells]
    described = {*map(word, data.pillars), *map(word, data.directions)}
    features = [name for name in names if name not in described]
    read = profiled(staging.execute, relation, names, data, "[data]", [outcome.name], features=features)
    staging.notes += read.notes
    if not read.profiles:
        counted = ", ".join(map(repr, names))
        raise IngestError(f"{relation.path}: no column is left to be a feature: {counted} only numbers the rows.")
    profiles, relation = read.profiles, staging.reread(number, read.relation)
    write_readings(staging.result, read.readings)
    outcome = relation.cell(outcome.name, "[data] outcome")
    id, order, group = (None if cell is None else relation.cell(cell.name, "[data]") for cell in (id, order, group))
    if id is not None:
        refuse_rounded(staging.execute, relation, id, "[data] customer_id")
    id_sql = f"CAST({ROW} AS VARCHAR)" if id is None else id.id
    order_sql = str(ROW) if order is None else _order(staging, relation, order, data)
    staging.times[number] = {} if order is None else {Reason.NO_ORDER: order.name}
    reasons = [
        f"WHEN {id_sql} IS NULL THEN {literal(Reason.NO_CUSTOMER)}",
        f"WHEN NOT {_has_outcome(staging, relation, outcome, data)} THEN {literal(Reason.NO_OUTCOME)}",
        f"WHEN {order_sql} IS NULL THEN {literal(Reason.NO_ORDER)}",
    ]
    columns = [
        f"{id_sql} AS id",
        f"CAST(coalesce({outcome.means(data.churned)}, FALSE) AS INTEGER) AS outcome",
        f"{order_sql} AS position_in_time",
        f"{'NULL::VARCHAR' if group is None else group.id} AS member_of",
        *(f"{profile.sql} AS f{position}" for position, profile in enumerate(profiles)),
    ]
    staging.stage_customers("staged_table", number, columns, reasons)
    staging.refuse_if_useless([number], "customers")
    _check_outcomes(staging, relation, outcome, data)
    selected = ", ".join(f"f{position} AS {quoted(profile.cell.name)}" for position, profile in enumerate(profiles))
    staging.copy(
        "Writing customers",
        f"SELECT id AS customer_id, {selected}, outcome AS {OUTCOME}, "
        f"row_number() OVER (ORDER BY position_in_time, {ROW}) AS {ORDER}, member_of AS {GROUP} "
        f"FROM staged_table WHERE reason IS NULL ORDER BY {ROW}",
        "customers.parquet",
    )


def _has_outcome(staging: Staging, relation: Relation, outcome: Cell, data: TableData) -> str:
    """SQL: whether the outcome is known. Where it is a number or yes and no, all that tools write for missing is not."""
    if isinstance(data.churned, Filled):
        return "TRUE"  # that nothing stands there says that the customer stayed
    if outcome.missing is not None or outcome.type != "VARCHAR":
        return outcome.present
    said = [marker for marker in MARKERS if marker != word(str(data.churned)).lower()]
    known = f"NOT {is_marker(outcome.written, said)}"
    words = (
        f"SELECT count(*) FROM {relation.sql} WHERE {known} AND {outcome.number} IS NULL AND {outcome.truth} IS NULL"
    )
    if staging.scalar(words):
        known = f"NOT {is_marker(outcome.written, [marker for marker in ANYWHERE if marker in said])}"
    return f"coalesce({known}, FALSE)"


def _order(staging: Staging, relation: Relation, order: Cell, data: TableData) -> str:
    """SQL of the order column as numbers or times: by its letters, 10-01-2024 would come after 09-12-2024 by luck alone."""
    if data.order_format is not None:
        check_format(staging.connection, data.order_format, f"{staging.business.path}: [data] order_format")
    order = replace(order, is_dated=True)
    if order.is_time or data.order_format is not None:
        return order.time(data.order_format)
    read = profiled(staging.execute, relation, [order.name], data, "[data]")
    staging.notes += read.notes
    if read.profiles[0].is_number:
        return read.readings.get(order.name, PLAIN).applied(replace(order, is_dated=False)).number
    return order.time()


def _check_outcomes(staging: Staging, relation: Relation, outcome: Cell, data: TableData) -> None:
    """Refuse a table in which nobody, or everybody, churned; note it where several values all count as stayed."""
    churned, rows = staging.connection.execute(
        "SELECT sum(outcome), count(*) FROM staged_table WHERE reason IS NULL"
    ).fetchall()[0]
    values = staging.connection.execute(
        f"SELECT {outcome.written}, count(*), count(*) OVER () FROM {relation.sql} "
        f"WHERE {_has_outcome(staging, relation, outcome, data)} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5"
    ).fetchall()
    listed = ", ".join(f"{shown(value)} ({count:,})" for value, count, _ in values)
    if 0 < churned < rows:
        kinds = values[0][2]
        if kinds > 2 and not isinstance(data.churned, Filled):
            staging.notes.append(
                f"The column {outcome.name!r} has {kinds:,} values: {listed}{', …' if kinds > len(values) else ''}. Whoever has "
                f"another than {data.churned!r} counts as stayed; take out the rows of which that is not true."
            )
        return
    is_mark = churned or len(values) == 1
    blank = is_mark and staging.scalar(f"SELECT count(*) FROM staged_table WHERE reason = {literal(Reason.NO_OUTCOME)}")
    cure = f", and nothing in {blank:,} rows; if those stayed, write churned = {{ filled = true }}" if blank else ""
    raise IngestError(
        f"{relation.path}: {'every' if churned else 'no'} row has {data.churned!r} in the column {outcome.name!r}, which "
        f"[data] churned names as the value that means churned; the column holds {listed}{cure}."
    )


def read_customers(staging: Staging, customers: CustomersSource | None) -> Acquaintance | None:
    """Write customers.parquet: those of the file, with their attributes, and those known only from events.

    Returns how far they are the same, None where there is no file.
    """
    nothing = ", ".join(f"NULL::{type} AS {name}" for name, type in _CUSTOMER.items())
    known = f"SELECT NULL::VARCHAR AS customer_id, {nothing} LIMIT 0"
    if customers is not None:
        known = _staged_customers(staging, customers)
    staging.copy(
        "Writing customers",
        f"WITH known AS ({known}), seen AS (SELECT DISTINCT customer_id FROM read_parquet({literal(event_files(staging.result))})) "
        f"SELECT * FROM (SELECT * FROM known UNION ALL BY NAME SELECT * FROM seen ANTI JOIN known USING (customer_id)) "
        f"ORDER BY customer_id",
        "customers.parquet",
    )
    return None if customers is None else acquaintance(staging.result, known, staging.connection)


def _staged_customers(staging: Staging, customers: CustomersSource) -> str:
    """SQL: the accepted rows of the customers' file."""
    key = "[data.customers]"
    number, relation = staging.open(customers.path, Dialect.of(customers))
    dropped = {relation.cell(column, f"{key} drop").name for column in customers.drop}
    id = relation.required(customers.customer_id, "customer_id", f"{key} customer_id")
    named: dict[str, Cell] = {}
    for name in _CUSTOMER:
        cell = relation.optional(getattr(customers, name), name, f"{key} {name}")
        if cell is not None and cell.name not in dropped:
            named[name] = cell
    taken = {id.name, *dropped, *(cell.name for cell in named.values())}
    attributes = [cell for cell in relation.cells if cell.name not in taken]
    refuse_reserved(relation, attributes, _RESERVED_OF_EVENTS, f"{key} drop")
    numbers = [named["mrr"].name] if "mrr" in named else []
    times = {named["created_at"].name: customers.created_format} if "created_at" in named else {}
    if customers.created_format is not None:
        check_format(staging.connection, customers.created_format, f"{staging.business.path}: {key} created_format")
    names = [cell.name for cell in attributes]
    read = profiled(staging.execute, relation, names, customers, key, numbers, times, features=names)
    staging.notes += read.notes
    profiles, relation = read.profiles, staging.reread(number, read.relation)
    id = relation.cell(id.name, key)
    refuse_rounded(staging.execute, relation, id, f"{key} customer_id")
    named = {name: relation.cell(cell.name, key) for name, cell in named.items()}
    reasons = [f"WHEN {id.id} IS NULL THEN {literal(Reason.NO_CUSTOMER)}"]
    columns = [f"{id.id} AS id"]
    for name, type in _CUSTOMER.items():
        cell = named.get(name)
        if cell is None:
            columns.append(f"NULL::{type} AS {name}")
        elif name == "created_at":
            created = cell.time(customers.created_format)
            staging.times[number] = {Reason.BAD_CREATED: cell.name}
            columns.append(f"{created} AS {name}")
            reasons.append(f"WHEN {cell.present} AND {created} IS NULL THEN {literal(Reason.BAD_CREATED)}")
            reasons.append(f"WHEN {created} > {staging.now_sql} THEN {literal(Reason.FUTURE_CREATED)}")
        else:
            columns.append(f"CAST({cell.number if name == 'mrr' else cell.text} AS {type}) AS {name}")
    reasons += number_reasons([named["mrr"]] if "mrr" in named else [])
    columns += [f"{profile.sql} AS f{position}" for position, profile in enumerate(profiles)]
    staging.stage_customers("staged_customers", number, columns, reasons)
    selected = [f"f{position} AS {quoted(profile.cell.name)}" for position, profile in enumerate(profiles)]
    return (
        f"SELECT {', '.join(['id AS customer_id', *_CUSTOMER, *selected])} FROM staged_customers WHERE reason IS NULL"
    )
