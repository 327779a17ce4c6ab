"""The first tables: keys, current scores, decisions."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

_time = sa.DateTime(timezone=True)
_real = sa.Float(53)


def upgrade() -> None:
    database_secrets = op.create_table(
        "database_secrets",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_database_secrets"),
    )
    op.bulk_insert(database_secrets, [{"name": "cursor", "secret": secrets.token_bytes(32)}])
    op.create_table(
        "api_keys",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("revoked_at", _time),
        sa.CheckConstraint("role IN ('scorer', 'manager', 'admin')", name="ck_api_keys_role"),
        sa.PrimaryKeyConstraint("digest", name="pk_api_keys"),
    )
    op.create_index(
        "uq_api_keys_live_name",
        "api_keys",
        ["name"],
        unique=True,
        sqlite_where=sa.text("revoked_at IS NULL"),
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
    op.create_table(
        "score_rewrites",
        sa.Column("last_sequence", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("first_sequence", sa.BigInteger(), nullable=False),
        sa.Column("rewritten_at", _time, nullable=False),
        sa.Column("visible_at", _time),
        sa.PrimaryKeyConstraint("last_sequence", name="pk_score_rewrites"),
    )
    op.create_index("ix_score_rewrites_visible_at", "score_rewrites", ["visible_at"])
    op.create_table(
        "score_release",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("release", sa.String(500), nullable=False),
        sa.Column("rewritten_at", _time, nullable=False),
        sa.CheckConstraint("id = 1", name="ck_score_release_one_row"),
        sa.PrimaryKeyConstraint("id", name="pk_score_release"),
    )
    op.create_table(
        "current_scores",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("churn_probability", _real),
        sa.Column("health_score", _real),
        sa.Column("health_band", sa.String(20)),
        sa.Column("reason_1", sa.Text()),
        sa.Column("reason_2", sa.Text()),
        sa.Column("reason_3", sa.Text()),
        sa.Column("action", sa.String(200)),
        sa.Column("model_version", sa.String(40)),
        sa.Column("scorecard_version", sa.String(40)),
        sa.Column("feature_timestamp", _time),
        sa.Column("scored_at", _time),
        sa.PrimaryKeyConstraint("customer_id", name="pk_current_scores"),
        sa.UniqueConstraint("sequence", name="uq_current_scores_sequence"),
    )
    op.create_table(
        "decisions",
        sa.Column("decision_id", sa.String(40), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("action", sa.String(200), nullable=False),
        sa.Column("channel", sa.String(200)),
        sa.Column("pscore", _real, nullable=False),
        sa.Column("action_dist", sa.JSON(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("context", sa.JSON(), nullable=False),
        sa.Column("policy_version", sa.String(80), nullable=False),
        sa.Column("model_version", sa.String(40), nullable=False),
        sa.Column("scorecard_version", sa.String(40), nullable=False),
        sa.Column("generation", sa.String(80), nullable=False),
        sa.Column("decided_by", sa.String(200), nullable=False),
        sa.Column("decided_at", _time, nullable=False),
        sa.Column("reward", _real),
        sa.Column("executed", sa.Boolean()),
        sa.Column("outcome_at", _time),
        sa.PrimaryKeyConstraint("decision_id", name="pk_decisions"),
    )
    op.create_index("ix_decisions_customer_id_decided_at", "decisions", ["customer_id", "decided_at"])
    op.create_table(
        "idempotency_keys",
        sa.Column("principal", sa.String(200), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("request_digest", sa.String(64), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.PrimaryKeyConstraint("principal", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
