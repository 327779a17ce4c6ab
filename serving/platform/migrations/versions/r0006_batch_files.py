"""Files that are decided about, so that a run that was killed is gone on with; outcomes that were corrected."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None

_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "batch_files",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("begun_at", _time, nullable=False),
        sa.Column("completed_at", _time),
        sa.PrimaryKeyConstraint("digest", name="pk_batch_files"),
    )
    op.create_table(
        "batch_chunks",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("first_row", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["batch_files.digest"], name="fk_batch_chunks_digest"),
        sa.PrimaryKeyConstraint("digest", "first_row", name="pk_batch_chunks"),
    )
    op.create_table(
        "outcome_corrections",
        sa.Column("correction_id", sa.String(32), nullable=False),
        sa.Column("decision_id", sa.String(40)),
        sa.Column("experiment", sa.String(60)),
        sa.Column("customer_id", sa.Text()),
        sa.Column("before", sa.JSON(), nullable=False),
        sa.Column("after", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("corrected_by", sa.String(200), nullable=False),
        sa.Column("corrected_at", _time, nullable=False),
        sa.PrimaryKeyConstraint("correction_id", name="pk_outcome_corrections"),
    )
    op.create_index("ix_outcome_corrections_decision_id", "outcome_corrections", ["decision_id"])
    op.create_index(
        "ix_outcome_corrections_experiment_customer_id", "outcome_corrections", ["experiment", "customer_id"]
    )
