"""Which columns are numbers and which are text."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.features.ingestion.ingested import (
    built,
    table,
    table_business,
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


def test_an_index_that_was_written_along_is_no_feature(tmp_path: Path) -> None:
    rows = [(number, 7 * number % 11, "ab"[number % 2], 100 - number) for number in range(30)]
    lines = [f"{a},{b},{c},{d},{'yes' if a % 3 else 'no'}" for a, b, c, d in rows]
    result = table(tmp_path, "\n".join([",x,plan,left_over,left", *lines]))
    assert set(result.customers[0]) == {"customer_id", "x", "plan", "left_over", "__outcome", "__order", "__group"}
    notes = list(result.summary.notes)
    said = "t.csv: the column 'Unnamed: 0' only numbers the rows, and no feature; customer_id or order may name it."
    assert said in notes
    assert "t.csv: read as words: 'plan'." in notes


@pytest.mark.parametrize("parts", [1, 2])
def test_an_index_numbers_each_file_anew(tmp_path: Path, parts: int) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    for part in range(parts):
        lines = [f"{number + 1},{number % 7},{'yes' if number % 3 else 'no'}" for number in range(30)]
        (folder / f"{part}.csv").write_text("\n".join(["index,x,left", *lines]))
    result = built(table_business(tmp_path, name="t"))
    assert "index" not in result.customers[0]
    # Named, it is what it is named for.
    (tmp_path / "out").rename(tmp_path / "before")
    assert "index" not in built(table_business(tmp_path, 'order = "index"', name="t")).customers[0]


def test_what_nearly_numbers_the_rows_is_a_feature(tmp_path: Path) -> None:
    lines = [f"{number if number != 25 else 99},{'yes' if number % 3 else 'no'}" for number in range(30)]
    assert "tenure" in table(tmp_path, "\n".join(["tenure,left", *lines])).customers[0]


def test_numbers_too_large_to_count_rows_are_no_index(tmp_path: Path) -> None:
    lines = [f"{2**63},{number % 7},{'yes' if number % 3 else 'no'}" for number in range(30)]
    assert "x" in table(tmp_path, "\n".join(["x,y,left", *lines])).customers[0]
