"""A word, and an id, is the same in a build, in a file for `serving batch`, in the TOML and in the API."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from features.config.data import Text
from features.ingestion.csv_reader import Dialect
from features.ingestion.files import read
from features.schema import DType, Feature, FeatureSchema
from features.words import BLANKS, INVISIBLE, NO_BREAK
from serving.api.schemas import CustomerId
from serving.batch.reader import CustomerFile, RowReader
from serving.platform.progress import progress

_TEXT = st.text(st.sampled_from("aé\u0301Z ñ.0" + BLANKS + NO_BREAK + INVISIBLE), max_size=8)
_API, _TOML = TypeAdapter(CustomerId), TypeAdapter(Text)


def offline(file: Path) -> tuple[list[str | None], list[str | None]]:
    """Ids and words of a file with the columns id and plan, as a build reads it."""
    with duckdb.connect() as connection:
        relation = read(connection, file, Dialect(), file.parent, lambda *_: None)
        id, plan = (relation.cell(name, "") for name in ("id", "plan"))
        rows = connection.execute(f"SELECT {id.id}, {plan.text} FROM {relation.sql} ORDER BY row_position").fetchall()
    return [row[0] for row in rows], [row[1] for row in rows]


def batch(file: Path) -> tuple[list[str | None], list[object]]:
    """The same as `serving batch` reads it."""
    schema = FeatureSchema((Feature("plan", "other", DType.STRING),))
    reader = RowReader(CustomerFile.open(file, ["id"]), "id", schema, {}, "UTC")
    with progress("", None, quiet=True) as bar:
        (rows,) = reader.read(bar)
    customers = reader.parse(rows)
    return customers.ids, list(customers.columns["plan"])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_TEXT, min_size=1, max_size=6))
def test_builds_batches_the_toml_and_the_api_agree(tmp_path: Path, words: list[str]) -> None:
    assume(any(words))
    table = pa.table({"id": words, "plan": words})
    pq.write_table(table, tmp_path / "in.parquet")
    ids, plans = offline(tmp_path / "in.parquet")
    assert batch(tmp_path / "in.parquet") == (ids, plans)
    for written, id, plan in zip(words, ids, plans, strict=True):
        if plan is None:
            assert id is None
            with pytest.raises(ValidationError):
                _API.validate_python(written)
            continue
        assert _API.validate_python(written) == plan
        assert _TOML.validate_python(written) == plan
        assert id == plan or (id is not None and plan.startswith(f"{id}.0"))


@pytest.mark.parametrize("id", ["C00042", " C00042\u00a0", "\ufeffC00042\n"])
def test_an_id_is_asked_for_as_it_is_kept(id: str) -> None:
    assert _API.validate_python(id) == "C00042"
    assert _API.validate_python(normalize("NFD", "größe#1")) == "größe#1"
    assert _API.validate_python("NULL") == "NULL"
