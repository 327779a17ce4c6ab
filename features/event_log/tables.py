"""The tables of events that came in live."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

VERSION_TABLE: Final = "live_events_version"

metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})

# `occurred` and `received` are microseconds since 1970; `received` is the server's. Rows are never changed, and become
# visible in the order of `sequence`.
live_events = Table(
    "live_events",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("event_id", Text),
    Column("customer_id", Text, nullable=False),
    Column("occurred", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("channel", Text),
    Column("value", Float(53)),
    Column("text", Text),
    Column("properties", Text),
    Column("replaces", Text),
    UniqueConstraint("event_id", name="uq_live_events_event_id"),
    Index("ix_live_events_customer_id_occurred", "customer_id", "occurred"),
    sqlite_autoincrement=True,
)

# Once each, however often it is sent: by the digest of what was sent and why it was refused.
refused_events = Table(
    "refused_events",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("received", BigInteger, nullable=False),
    Column("field", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("raw", Text, nullable=False),
)
