"""Which columns are numbers and which are text."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.features.ingestion.ingested import (
    table,
)


def test_a_mostly_numeric_column_is_numeric_and_its_junk_is_missing(tmp_path: Path) -> None:
    lines = ["fee,code,left"] + [f"{i},{i % 10},{'yes' if i % 3 else 'no'}" for i in range(100)]
    lines[41] = "forty,x,yes"
    lines[51] = "inf,5,yes"
    result = table(tmp_path, "\n".join(lines))
    assert not result.rejected
    assert [result.customers[row]["fee"] for row in (39, 40, 50)] == [39.0, None, None]
    assert any("'forty' (1), 'inf' (1) is no finite number" in note for note in result.summary.notes)
    schema = pq.read_schema(result.folder / "customers.parquet")
    assert (schema.field("fee").type, schema.field("code").type) == (pa.float64(), pa.string())


def test_a_column_of_words_with_some_numbers_is_text(tmp_path: Path) -> None:
    lines = ["size,left"] + [f"{i if i % 5 else 'large'},{'yes' if i % 3 else 'no'}" for i in range(100)]
    result = table(tmp_path, "\n".join(lines))
    assert result.customers[1]["size"] == "1"
    assert not result.rejected


def test_a_wide_table(tmp_path: Path) -> None:
    names = [f"column {position}" for position in range(300)]
    lines = [",".join([*names, "left"])]
    lines += [",".join([*(str(row * position) for position in range(300)), "yes" if row else "no"]) for row in range(3)]
    result = table(tmp_path, "\n".join(lines))
    assert list(result.customers[2])[1:301] == names
    assert result.customers[2]["column 299"] == 598.0
