"""The tables of the service's own database: keys, scores, decisions, experiments, and what the pages show and keep."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)
from sqlalchemy import DateTime as SqlDateTime
from sqlalchemy.types import TypeDecorator

from models.inference_log import DECISIONS


class UtcTime(TypeDecorator[datetime]):
    """An instant, in UTC on the way in and out; SQLite itself would forget the zone."""

    impl = SqlDateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone is no instant")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

database_secrets = Table(
    "database_secrets",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("secret", LargeBinary, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("role", String(20), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
    # Whose accounts the pages show; null is the key's own name, and everybody's for an admin.
    Column("owners", JSON(none_as_null=True)),
    CheckConstraint("role IN ('scorer', 'manager', 'lead', 'ingest', 'admin')", name="role"),
)
# A name is one live key; a revoked name may be used again.
Index(
    "uq_api_keys_live_name",
    api_keys.c.name,
    unique=True,
    sqlite_where=api_keys.c.revoked_at.is_(None),
    postgresql_where=api_keys.c.revoked_at.is_(None),
)

# One row per rewrite that changed something: the rows it moved carry the sequences first_sequence … last_sequence.
# `visible_at` is stamped after the commit, so that no reader can have looked later than it and missed the rows.
score_rewrites = Table(
    "score_rewrites",
    metadata,
    Column("last_sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("first_sequence", BigInteger, nullable=False),
    Column("rewritten_at", UtcTime, nullable=False),
    Column("visible_at", UtcTime, index=True),
)

# The release that the current scores (serving/current_scores/database_table.py) are of: one row, or none before the
# first rewrite.
score_release = Table(
    "score_release",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("release", String(500), nullable=False),
    Column("rewritten_at", UtcTime, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

# What the pages show of everybody is written once per release, as an edition; readers stay with the newest complete one.
editions = Table(
    "editions",
    metadata,
    Column("edition", Integer, primary_key=True),
    Column("release", String(500), nullable=False),
    Column("begun_at", UtcTime, nullable=False),
    Column("completed_at", UtcTime),
    Column("as_of", UtcTime, nullable=False),
    Column("figures", JSON, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("edition", Integer, primary_key=True, autoincrement=False),
    Column("customer_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("owner", Text),
    Column("segment", Text),
    Column("probability", Float(53), nullable=False),
    Column("score", Float(53), nullable=False),
    Column("band", String(20), nullable=False),
    Column("band_before", String(20)),
    Column("change", Float(53)),
    Column("trend", JSON, nullable=False),
    Column("value_at_stake", Float(53)),
    Column("value_at_risk", Float(53), nullable=False),
    Column("reason", Text),
    Column("reason_feature", Text),
    Column("action", String(200), nullable=False),
    Column("searched", Text, nullable=False),
    # Each holds all of an order, so that a page deep in it is found without reading the wide rows before it.
    Index(None, "edition", "value_at_risk", "customer_id"),
    Index(None, "edition", "owner", "value_at_risk", "customer_id"),
    Index(None, "edition", "score", "customer_id"),
    Index(None, "edition", "name", "customer_id"),
    # Covers counting, summing and searching by any filter.
    Index(
        "ix_accounts_filters",
        "edition",
        "owner",
        "band",
        "segment",
        "reason_feature",
        "band_before",
        "value_at_risk",
        "customer_id",
        "searched",
    ),
)

# What people did about an account: a decision they took on, put off, or called wrong.
plays = Table(
    "plays",
    metadata,
    Column("play_id", String(32), primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("owner", Text),
    Column("action", String(200), nullable=False),
    Column("status", String(20), nullable=False),
    Column("decision_id", String(40)),
    Column("reason", Text),
    Column("until", UtcTime),
    Column("author", String(200), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("outcome", String(20)),
    Column("closed_by", String(200)),
    Column("closed_at", UtcTime),
    Index(None, "customer_id", "created_at"),
    Index(None, "status", "created_at"),
)

notes = Table(
    "notes",
    metadata,
    Column("note_id", String(32), primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("band", String(20)),
    Column("text", Text, nullable=False),
    Column("author", String(200), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("withdrawn_at", UtcTime),
    Column("withdrawn_by", String(200)),
    Index(None, "customer_id", "created_at"),
)

web_sessions = Table(
    "web_sessions",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("key_digest", String(64), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
)

decisions = Table(
    DECISIONS,
    metadata,
    Column("decision_id", String(40), primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("action", String(200), nullable=False),
    Column("channel", String(200)),
    Column("pscore", Float(53), nullable=False),
    Column("action_dist", JSON, nullable=False),
    Column("answer", JSON, nullable=False),
    Column("context", JSON, nullable=False),
    Column("policy_version", String(80), nullable=False),
    Column("model_version", String(40), nullable=False),
    Column("scorecard_version", String(40), nullable=False),
    Column("generation", String(80), nullable=False),
    Column("decided_by", String(200), nullable=False),
    Column("decided_at", UtcTime, nullable=False),
    Column("reward", Float(53)),
    Column("executed", Boolean(create_constraint=False)),
    Column("outcome_at", UtcTime),
    Column("cost", Float(53), nullable=False, server_default="0"),
    Column("minutes", Float(53), nullable=False, server_default="0"),
    Column("holdout", Boolean(create_constraint=False), nullable=False, server_default=false()),
    Index(None, "customer_id", "decided_at"),
)
# What limits over all customers are counted from: all that is asked for stands in the index itself.
Index(
    "ix_decisions_touches",
    decisions.c.decided_at,
    decisions.c.action,
    decisions.c.executed,
    decisions.c.cost,
    decisions.c.minutes,
    sqlite_where=text("action <> 'no_action'"),
    postgresql_where=text("action <> 'no_action'"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("principal", String(200), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("request_digest", String(64), nullable=False),
    Column("answer", JSON, nullable=False),
    Column("created_at", UtcTime, nullable=False, index=True),
)

experiments = Table(
    "experiments",
    metadata,
    Column("name", String(60), primary_key=True),
    Column("specification", JSON, nullable=False),
    Column("start_at", UtcTime, nullable=False),
    Column("end_at", UtcTime, nullable=False, index=True),
    Column("created_at", UtcTime, nullable=False),
    Column("created_by", String(200), nullable=False),
)

# One row per customer who met an experiment, with the outcome that came of it.
exposures = Table(
    "exposures",
    metadata,
    Column("experiment", String(60), ForeignKey("experiments.name", name="fk_exposures_experiment"), primary_key=True),
    Column("customer_id", Text, primary_key=True),
    Column("arm", String(60), nullable=False),
    Column("exposed_at", UtcTime, nullable=False),
    Column("decision_id", String(40), index=True),
    Column("pre_period", Float(53)),
    Column("outcome", Float(53)),
    Column("outcome_at", UtcTime),
)

# A file that `serving batch --decide` is deciding about, or has, and what it decided, in the order of the file.
batch_files = Table(
    "batch_files",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("begun_at", UtcTime, nullable=False),
    Column("completed_at", UtcTime),
)

batch_chunks = Table(
    "batch_chunks",
    metadata,
    Column("digest", String(64), ForeignKey("batch_files.digest", name="fk_batch_chunks_digest"), primary_key=True),
    Column("first_row", BigInteger, primary_key=True, autoincrement=False),
    Column("rows", LargeBinary, nullable=False),
)

# What an outcome said before it was corrected: of a decision, or of a customer in an experiment.
outcome_corrections = Table(
    "outcome_corrections",
    metadata,
    Column("correction_id", String(32), primary_key=True),
    Column("decision_id", String(40), index=True),
    Column("experiment", String(60)),
    Column("customer_id", Text),
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("corrected_by", String(200), nullable=False),
    Column("corrected_at", UtcTime, nullable=False),
    Index(None, "experiment", "customer_id"),
)

__all__ = [
    "UtcTime",
    "accounts",
    "api_keys",
    "batch_chunks",
    "batch_files",
    "database_secrets",
    "decisions",
    "editions",
    "experiments",
    "exposures",
    "idempotency_keys",
    "metadata",
    "notes",
    "outcome_corrections",
    "plays",
    "score_release",
    "score_rewrites",
    "web_sessions",
]
