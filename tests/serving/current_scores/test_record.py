"""A score's columns: one declaration, from which the database, Arrow, the files, and the documented JSON follow."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Float, String, Text, inspect

from features.generation import Generation
from serving.batch.writer import DECIDED, file_schema
from serving.current_scores.database_table import current_scores
from serving.current_scores.record import COLUMNS, FIGURES, TYPES, BatchRow
from serving.current_scores.schemas import CurrentScore
from serving.current_scores.table import SCHEMA, ScoreTable
from serving.platform.database import Database
from serving.platform.tables import UtcTime
from serving.releases.release import Release, ReleaseParts
from serving.scores.schemas import CHURN_FIGURES, SCORE_FIGURES

from ..conftest import Shop, make_bundle

OF_THE_FEED = ["sequence", "deleted"]


def test_the_declaration_says_kind_length_and_what_is_a_figure() -> None:
    kinds = {name: (column.kind, column.length) for name, column in TYPES.items()}
    assert kinds["customer_id"] == (str, None)
    assert kinds["rfm"] == (str, 40)
    assert kinds["coverage"] == kinds["value_at_risk"] == (float, None)
    assert kinds["feature_timestamp"] == (datetime, None)
    assert {"churn_low", "churn_180d", "expected_days_to_churn", "coverage"} <= set(FIGURES)
    assert not {"churn_probability", "health_score", "value_at_risk"} & set(FIGURES)


def test_the_database_has_these_columns(database: Database) -> None:
    stored = current_scores.c
    assert [column.name for column in stored if column.name not in OF_THE_FEED] == list(COLUMNS)
    assert [column.name for column in stored if not column.nullable] == ["customer_id", *OF_THE_FEED]
    kinds = {str: (Text, String), float: (Float,), datetime: (UtcTime,)}
    for name, column in TYPES.items():
        assert isinstance(stored[name].type, kinds[column.kind]), name
        assert getattr(stored[name].type, "length", None) == column.length, name
    with database.read() as connection:
        migrated = [column["name"] for column in inspect(connection).get_columns("current_scores")]
        assert [name for name in migrated if name not in OF_THE_FEED] == list(COLUMNS)
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        steps = [step for step in compare_metadata(context, current_scores.metadata) if "current_scores" in str(step)]
        assert steps == []


def test_arrow_and_the_files_have_these_columns() -> None:
    kinds = {str: pa.string(), float: pa.float64(), datetime: pa.timestamp("us", "UTC")}
    assert [(field.name, field.type) for field in SCHEMA] == [
        (name, kinds[column.kind]) for name, column in TYPES.items()
    ]
    assert file_schema(decided=False).names == [*COLUMNS, "error"]
    assert file_schema(decided=True).names == [*COLUMNS, *DECIDED, "error"]


def test_the_documented_row_has_these_columns() -> None:
    documented = CurrentScore.model_fields
    assert tuple(documented) == COLUMNS
    assert all(field.is_required() for field in documented.values())
    for name, column in TYPES.items():
        if name != "health_band":
            assert documented[name].annotation == column.declared, name


def test_every_figure_that_is_declared_is_told(shop: Shop) -> None:
    generation, bundle = Generation.current(shop.home), make_bundle()
    release = Release.load(ReleaseParts(generation, "1", bundle.scorecard_proposal, bundle))
    table, _ = ScoreTable.as_of_now(release, ["C00001", "C00002"])
    assert set(table.figures) == set(FIGURES)
    assert {*CHURN_FIGURES, *SCORE_FIGURES} <= set(FIGURES)
    (row, _) = table.rows(["no_action"] * 2)
    arrow = table.to_arrow(["no_action"] * 2)
    assert list(arrow) == list(COLUMNS)
    assert {name: column.type for name, column in arrow.items()} == {field.name: field.type for field in SCHEMA}
    assert BatchRow(**{name: column[0].as_py() for name, column in arrow.items()}) == row
