"""Current scores say what a customer is worth, and which segment it is in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    with op.batch_alter_table("current_scores") as scores:
        scores.add_column(sa.Column("value_next_12_months", sa.Float(53)))
        scores.add_column(sa.Column("value_at_risk", sa.Float(53)))
        scores.add_column(sa.Column("value_method", sa.String(40)))
        scores.add_column(sa.Column("segment", sa.Text()))
        scores.add_column(sa.Column("segment_id", sa.String(40)))
        scores.add_column(sa.Column("rfm", sa.String(40)))
    # The rows of old lack them: without a release they are no longer current, and are written anew.
    op.execute("DELETE FROM score_release")
