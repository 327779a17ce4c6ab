"""The table `current_scores` of the service's own database: a row's columns, and its place in the order of changes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Float, String, Table, Text
from sqlalchemy.types import TypeEngine

from serving.current_scores.record import TYPES, ColumnType
from serving.platform.tables import UtcTime, metadata


def _stored_as(column: ColumnType) -> TypeEngine[Any]:
    if column.kind is datetime:
        return UtcTime()
    if column.kind is float:
        return Float(53)
    return Text() if column.length is None else String(column.length)


# Of those who were removed nothing but their id is kept, so that all else may be null.
current_scores = Table(
    "current_scores",
    metadata,
    Column("customer_id", _stored_as(TYPES["customer_id"]), primary_key=True),
    Column("sequence", BigInteger, nullable=False, unique=True),
    Column("deleted", Boolean(create_constraint=False), nullable=False),
    *(Column(name, _stored_as(column)) for name, column in TYPES.items() if name != "customer_id"),
)
