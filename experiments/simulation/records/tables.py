"""Records: batches of events as the tables that the business's systems export, dirty rows and late arrivals included."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from experiments.simulation.customers.population import Floats, Integers
from experiments.simulation.records.batches import EventBatch

TIME = pa.timestamp("us", tz="UTC")
LATE_SHARE = 0.015
LATE_MEAN_DAYS, LATEST_DAYS = 1.3, 6.0
DIRTY_SHARE = 0.002
FAR_FUTURE = datetime(2099, 1, 1)
DAY = 86_400_000_000
"""Microseconds of a day."""


def customer_ids(indices: Integers) -> pa.Array:
    """`C00042` for index 41."""
    number = pc.utf8_lpad(pc.cast(pa.array(indices + 1), pa.string()), width=5, padding="0")
    return pc.binary_join_element_wise(pa.scalar("C"), number, "")


def times(days: Floats, start: datetime) -> npt.NDArray[np.int64]:
    """Microseconds since the epoch, whole seconds, of moments in days since `start`."""
    seconds = np.floor(days * 86_400).astype(np.int64)
    return np.asarray((int(start.timestamp()) + seconds) * 1_000_000)


def table(
    batches: Sequence[EventBatch], prefix: str, start: datetime, end: datetime, rng: np.random.Generator, *, late: bool
) -> pa.Table:
    """One source's events in the order in which they arrived; with `late`, some arrived days after they occurred.

    Columns: event_id, customer_id, occurred_at, received_at, type, channel, value, text, and a string column for each
    property. What would have arrived after `end` is not there yet.
    """
    batches = [batch for batch in batches if batch.size]
    names = sorted({name for batch in batches for name in batch.properties})
    size = sum(batch.size for batch in batches)
    customer = np.concatenate([batch.customer for batch in batches])
    occurred = times(np.concatenate([batch.at for batch in batches]), start)
    lag = rng.integers(1, 30, size) * 1_000_000
    if late:
        delay = np.minimum(rng.exponential(LATE_MEAN_DAYS, size), LATEST_DAYS) * 86_400
        lag = np.where(rng.random(size) < LATE_SHARE, delay.astype(np.int64) * 1_000_000 + lag, lag)
    received = occurred + lag
    columns = {
        "customer_id": customer_ids(customer),
        "occurred_at": pa.array(occurred).cast(TIME),
        "received_at": pa.array(received).cast(TIME),
        "type": _chunks([pa.array([batch.type]).take(_zeros(batch.size)) for batch in batches]),
        "channel": _chunks([_strings(batch.channel, batch.size) for batch in batches]),
        "value": _chunks([_numbers(batch.value, batch.size) for batch in batches]),
        "text": _chunks([_strings(batch.text, batch.size) for batch in batches]),
    }
    for name in names:
        columns[name] = _chunks([_strings(batch.properties.get(name), batch.size) for batch in batches])
    arrived = np.argsort(received, kind="stable")
    arrived = arrived[received[arrived] < int(end.timestamp()) * 1_000_000]
    rows = pa.table(columns).take(pa.array(arrived))
    number = pc.utf8_lpad(pc.cast(pa.array(np.arange(1, rows.num_rows + 1)), pa.string()), width=7, padding="0")
    return rows.add_column(0, "event_id", pc.binary_join_element_wise(pa.scalar(f"{prefix}-"), number, ""))


def soiled(clean: pa.Table, prefix: str, rng: np.random.Generator) -> pa.Table:
    """The table with a few bad copies of its rows beside them: no customer, no time, a time to come, no number, or sent twice."""
    size = clean.num_rows
    originals = np.sort(rng.choice(size, size=min(max(round(DIRTY_SHARE * size), 5), size), replace=False))
    fault = rng.permutation(np.arange(originals.size) % 5)
    copies = clean.take(pa.array(originals))
    number = pc.cast(pa.array(np.arange(1, originals.size + 1)), pa.string())
    renamed = pc.binary_join_element_wise(pa.scalar(f"{prefix}-x"), number, "")
    changes = {
        "event_id": pc.if_else(_is(fault, 4), copies["event_id"], renamed),
        "customer_id": pc.if_else(_is(fault, 0), pa.scalar(None, pa.string()), copies["customer_id"]),
        "occurred_at": pc.if_else(
            _is(fault, 1),
            pa.scalar(None, TIME),
            pc.if_else(_is(fault, 2), pa.scalar(FAR_FUTURE).cast(pa.timestamp("us")).cast(TIME), copies["occurred_at"]),
        ),
        "received_at": pc.if_else(_is(fault, 1), pa.scalar(None, TIME), copies["received_at"]),
        "value": pc.if_else(_is(fault, 3), pa.scalar(float("inf")), copies["value"]),
    }
    for name, column in changes.items():
        copies = copies.set_column(copies.column_names.index(name), name, column)
    order = np.argsort(np.concatenate([np.arange(size), originals]), kind="stable")
    return pa.concat_tables([clean, copies]).take(pa.array(order))


def ledger(clean: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Billing's own export: other column names, times and amounts as text, and rows that no program wrote."""
    rows = soiled(clean, "bill", rng)
    when = pc.strftime(rows["occurred_at"].cast(pa.timestamp("s")), "%Y-%m-%d %H:%M:%S")
    amount = pc.cast(rows["value"], pa.string())
    not_a_number = pc.fill_null(pc.is_inf(rows["value"]), False)
    return pa.table(
        {
            "ref": rows["event_id"],
            "account": rows["customer_id"],
            "booked_at": pc.if_else(pc.is_null(when), pa.scalar("31.02.2025 25:61"), when),
            "kind": rows["type"],
            "amount": pc.if_else(not_a_number, pa.scalar("see invoice"), amount),
            "item": rows["item"],
            "reason": rows["reason"],
        }
    )


def _is(fault: npt.NDArray[np.int64], kind: int) -> pa.Array:
    return pa.array(fault == kind)


def _zeros(size: int) -> pa.Array:
    return pa.array(np.zeros(size, dtype=np.int64))


def _chunks(arrays: list[pa.Array]) -> pa.ChunkedArray:
    return pa.chunked_array(arrays)


def _strings(values: npt.NDArray[np.object_] | str | None, size: int) -> pa.Array:
    if isinstance(values, np.ndarray):
        return pa.array(values, type=pa.string())
    return pa.array([values], type=pa.string()).take(_zeros(size))


def _numbers(values: Floats | None, size: int) -> pa.Array:
    return pa.nulls(size, pa.float64()) if values is None else pa.array(values)
