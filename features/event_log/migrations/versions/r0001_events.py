"""The log of events that come in live, and those that were refused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

_sequence = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "live_events",
        sa.Column("sequence", _sequence, autoincrement=True, nullable=False),
        sa.Column("event_id", sa.Text()),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("occurred", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text()),
        sa.Column("value", sa.Float(53)),
        sa.Column("text", sa.Text()),
        sa.Column("properties", sa.Text()),
        sa.Column("replaces", sa.Text()),
        sa.PrimaryKeyConstraint("sequence", name="pk_live_events"),
        sa.UniqueConstraint("event_id", name="uq_live_events_event_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_live_events_customer_id_occurred", "live_events", ["customer_id", "occurred"])
    op.create_table(
        "refused_events",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_refused_events"),
    )
