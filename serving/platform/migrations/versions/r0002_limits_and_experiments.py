"""What decisions cost, for limits over all customers; experiments with their exposures and outcomes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

_time = sa.DateTime(timezone=True)
_real = sa.Float(53)


def upgrade() -> None:
    op.add_column("decisions", sa.Column("cost", _real, nullable=False, server_default="0"))
    op.add_column("decisions", sa.Column("minutes", _real, nullable=False, server_default="0"))
    op.add_column("decisions", sa.Column("holdout", sa.Boolean(), nullable=False, server_default=sa.false()))
    if op.get_bind().dialect.name == "postgresql":
        op.execute("UPDATE decisions SET cost = (answer ->> 'cost')::double precision")
    else:
        op.execute("UPDATE decisions SET cost = json_extract(answer, '$.cost')")
    op.create_index(
        "ix_decisions_touches",
        "decisions",
        ["decided_at", "action", "executed", "cost", "minutes"],
        sqlite_where=sa.text("action <> 'no_action'"),
        postgresql_where=sa.text("action <> 'no_action'"),
    )
    op.create_table(
        "experiments",
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("specification", sa.JSON(), nullable=False),
        sa.Column("start_at", _time, nullable=False),
        sa.Column("end_at", _time, nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_experiments"),
    )
    op.create_index("ix_experiments_end_at", "experiments", ["end_at"])
    op.create_table(
        "exposures",
        sa.Column("experiment", sa.String(60), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("arm", sa.String(60), nullable=False),
        sa.Column("exposed_at", _time, nullable=False),
        sa.Column("decision_id", sa.String(40)),
        sa.Column("pre_period", _real),
        sa.Column("outcome", _real),
        sa.Column("outcome_at", _time),
        sa.PrimaryKeyConstraint("experiment", "customer_id", name="pk_exposures"),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.name"], name="fk_exposures_experiment"),
    )
    op.create_index("ix_exposures_decision_id", "exposures", ["decision_id"])
