"""Who bought what on which day: what recommendations are learned from and made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.pillars.data_profile import PURCHASES

Codes = NDArray[np.int32]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Purchases:
    """Distinct (customer, item, day), n of them, sorted by customer; days count from 1970, in UTC."""

    customers: tuple[str, ...]
    items: tuple[str, ...]
    customer: Codes
    """(n,), places in `customers`."""
    item: Codes
    """(n,), places in `items`."""
    day: Codes
    """(n,)"""
    _places: dict[str, int] = field(init=False, repr=False, compare=False)
    _starts: NDArray[np.int64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", {name: place for place, name in enumerate(self.customers)})
        starts = np.searchsorted(self.customer, np.arange(len(self.customers) + 1))
        object.__setattr__(self, "_starts", starts.astype(np.int64))

    def __len__(self) -> int:
        return len(self.day)

    def of(self, customer_id: str) -> tuple[Codes, Codes]:
        """What one customer bought, item and day (m,); nothing of somebody unknown."""
        place = self._places.get(customer_id)
        mine = slice(0, 0) if place is None else slice(self._starts[place], self._starts[place + 1])
        return self.item[mine], self.day[mine]

    def before(self, day: int) -> Purchases:
        """The purchases before a day; customers and items keep their places."""
        kept = self.day < day
        return Purchases(self.customers, self.items, self.customer[kept], self.item[kept], self.day[kept])

    @classmethod
    def read(cls, path: Path) -> Purchases:
        """What `write_purchases` wrote."""
        return _read(path)


def write_purchases(events: Path | str, as_of: datetime, path: Path) -> bool:
    """Write who bought what until `as_of`, as far as it was known then; False where no purchase names an item."""
    moment = as_of.astimezone(UTC).isoformat()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            """
            CREATE TABLE bought AS
            SELECT DISTINCT customer_id, json_extract_string(properties, '$.item') AS item,
                   (occurred_at::DATE - DATE '1970-01-01')::INTEGER AS day
            FROM read_parquet(?)
            WHERE type IN (SELECT unnest(?)) AND occurred_at < ?::TIMESTAMPTZ
              AND coalesce(received_at, occurred_at) < ?::TIMESTAMPTZ
              AND coalesce(json_extract_string(properties, '$.item'), '') <> ''
            """,
            [str(events), list(PURCHASES), moment, moment],
        )
        (rows,) = connection.execute("SELECT count(*) FROM bought").fetchone() or (0,)
        if not rows:
            return False
        connection.sql("FROM bought ORDER BY customer_id, day, item").write_parquet(str(path))
    return True


def day_of(moment: datetime) -> int:
    """The day of a moment, counted from 1970 in UTC."""
    return (moment - EPOCH).days


@lru_cache(maxsize=2)
def _read(path: Path) -> Purchases:
    # A generation's files never change.
    table = pq.read_table(path, read_dictionary=["customer_id", "item"]).unify_dictionaries()
    customer, item = (table.column(name).combine_chunks() for name in ("customer_id", "item"))
    items = item.dictionary.to_pylist()
    rank = np.argsort(np.argsort(np.array(items, dtype=object), kind="stable"), kind="stable")
    return Purchases(
        customers=tuple(customer.dictionary.to_pylist()),
        items=tuple(sorted(items)),
        customer=customer.indices.to_numpy().astype(np.int32),
        item=rank[item.indices.to_numpy()].astype(np.int32),
        day=table.column("day").to_numpy().astype(np.int32),
    )
