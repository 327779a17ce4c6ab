"""Current scores say how sure they are, when a customer leaves, and how much is known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

_COLUMNS = (
    "churn_low",
    "churn_high",
    "churn_30d",
    "churn_60d",
    "churn_90d",
    "churn_180d",
    "expected_days_to_churn",
    "coverage",
)


def upgrade() -> None:
    with op.batch_alter_table("current_scores") as scores:
        for name in _COLUMNS:
            scores.add_column(sa.Column(name, sa.Float(53)))
    # The rows of old lack them: without a release they are no longer current, and are written anew.
    op.execute("DELETE FROM score_release")
