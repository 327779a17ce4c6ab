"""The pages: leads and whose accounts a key sees, accounts by edition, plays, notes, sessions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None

_time = sa.DateTime(timezone=True)
_real = sa.Float(53)
_ROLES = "role IN ('scorer', 'manager', 'lead', 'admin')"


def upgrade() -> None:
    with op.batch_alter_table("api_keys") as keys:
        keys.drop_constraint("ck_api_keys_role", type_="check")
        keys.create_check_constraint(op.f("ck_api_keys_role"), _ROLES)
        keys.add_column(sa.Column("owners", sa.JSON()))
    _editions()
    op.create_table(
        "plays",
        sa.Column("play_id", sa.String(32), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text()),
        sa.Column("action", sa.String(200), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("decision_id", sa.String(40)),
        sa.Column("reason", sa.Text()),
        sa.Column("until", _time),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("outcome", sa.String(20)),
        sa.Column("closed_by", sa.String(200)),
        sa.Column("closed_at", _time),
        sa.PrimaryKeyConstraint("play_id", name="pk_plays"),
    )
    op.create_index("ix_plays_customer_id_created_at", "plays", ["customer_id", "created_at"])
    op.create_index("ix_plays_status_created_at", "plays", ["status", "created_at"])
    op.create_table(
        "notes",
        sa.Column("note_id", sa.String(32), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("band", sa.String(20)),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("author", sa.String(200), nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("expires_at", _time),
        sa.Column("withdrawn_at", _time),
        sa.Column("withdrawn_by", sa.String(200)),
        sa.PrimaryKeyConstraint("note_id", name="pk_notes"),
    )
    op.create_index("ix_notes_customer_id_created_at", "notes", ["customer_id", "created_at"])
    op.create_table(
        "web_sessions",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("key_digest", sa.String(64), nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("expires_at", _time, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_web_sessions"),
    )
    op.create_index("ix_web_sessions_expires_at", "web_sessions", ["expires_at"])


def _editions() -> None:
    op.create_table(
        "editions",
        sa.Column("edition", sa.Integer(), nullable=False),
        sa.Column("release", sa.String(500), nullable=False),
        sa.Column("begun_at", _time, nullable=False),
        sa.Column("completed_at", _time),
        sa.Column("as_of", _time, nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("edition", name="pk_editions"),
    )
    op.create_table(
        "accounts",
        sa.Column("edition", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text()),
        sa.Column("segment", sa.Text()),
        sa.Column("probability", _real, nullable=False),
        sa.Column("score", _real, nullable=False),
        sa.Column("band", sa.String(20), nullable=False),
        sa.Column("band_before", sa.String(20)),
        sa.Column("change", _real),
        sa.Column("trend", sa.JSON(), nullable=False),
        sa.Column("value_at_stake", _real),
        sa.Column("value_at_risk", _real, nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("reason_feature", sa.Text()),
        sa.Column("action", sa.String(200), nullable=False),
        sa.Column("searched", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("edition", "customer_id", name="pk_accounts"),
    )
    for columns in (["value_at_risk"], ["owner", "value_at_risk"], ["score"], ["name"]):
        order = ["edition", *columns, "customer_id"]
        op.create_index(f"ix_accounts_{'_'.join(order)}", "accounts", order)
    op.create_index(
        "ix_accounts_filters",
        "accounts",
        [
            "edition",
            "owner",
            "band",
            "segment",
            "reason_feature",
            "band_before",
            "value_at_risk",
            "customer_id",
            "searched",
        ],
    )
