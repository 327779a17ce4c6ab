"""Keys whose role is to send events."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None

_ROLES = "role IN ('scorer', 'manager', 'lead', 'ingest', 'admin')"


def upgrade() -> None:
    with op.batch_alter_table("api_keys") as keys:
        keys.drop_constraint("ck_api_keys_role", type_="check")
        keys.create_check_constraint(op.f("ck_api_keys_role"), _ROLES)
