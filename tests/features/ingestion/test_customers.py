"""Customers of an event business, and tables whose outcome is known."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import ConfigError
from features.reasons import Reason
from tests.features.ingestion.ingested import (
    built,
    business,
    refusal,
    table,
    table_business,
)


def test_customers_of_an_event_business(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("customer_id,occurred_at,type\n1,2024-01-01,x\n9,2024-01-01,x\n")
    (tmp_path / "c.csv").write_text(
        "id,since,Company,plan,mrr,Seats,Region,Notes\n"
        "1,2023-01-01,Acme,pro,99.5,3,EU,7\n"
        "2,2030-01-01,B,pro,1,3,EU,7\n"
        "3,soon,B,pro,1,3,EU,7\n"
        "4,,B,pro,much,3,EU,7\n"
        "5,,B,pro,inf,3,EU,7\n"
        "1,2023-01-01,Acme again,pro,1,3,EU,7\n"
        ",2023-01-01,B,pro,1,3,EU,7\n"
        "6,2023-01-01,,,,,,\n"
    )
    data = (
        'kind = "events"\n[data.events]\npath = "e.csv"\n[data.customers]\npath = "c.csv"\ncustomer_id = "id"\n'
        'created_at = "since"\nname = "Company"\ndrop = ["Notes"]'
    )
    result = built(business(tmp_path, data, churn='event = "x"\nhorizon_days = 9'))
    assert result.customers[0] == {
        "customer_id": "1",
        "created_at": datetime(2023, 1, 1, tzinfo=UTC),
        "name": "Acme",
        "owner": None,
        "plan": "pro",
        "mrr": 99.5,
        "Seats": 3.0,
        "Region": "EU",
    }
    assert [row["customer_id"] for row in result.customers] == ["1", "6", "9"]
    assert result.reasons == [
        (3, Reason.FUTURE_CREATED),
        (4, Reason.BAD_CREATED),
        (5, Reason.NOT_A_NUMBER),
        (6, Reason.INFINITE),
        (7, Reason.DUPLICATE_CUSTOMER),
        (8, Reason.NO_CUSTOMER),
    ]


def test_a_table_keeps_its_columns_and_their_names(tmp_path: Path) -> None:
    names = ["Call  Failure", "emp.var.rate", 'the "so-called" fee', "naïve ⇒", "day", "vip", "blank", "left"]
    rows = [
        ["1", "1.5", " 7 ", "a", "2024-01-01", "True", "", "no"],
        ["2", "", "8e1", "b ", "2024-01-02", "False", "", "yes"],
        ["3", "NA", "-.5", "", "2024-01-03", "True", " ", "no"],
    ]
    buffer = io.StringIO()
    csv.writer(buffer).writerows([names, *rows])
    result = table(tmp_path, buffer.getvalue())
    assert list(result.customers[0]) == ["customer_id", *names[:-1], "__outcome", "__order", "__group"]
    assert [tuple(row.values()) for row in result.customers] == [
        ("1", 1.0, 1.5, 7.0, "a", "2024-01-01", "True", None, 0, 1, None),
        ("2", 2.0, None, 80.0, "b", "2024-01-02", "False", None, 1, 2, None),
        ("3", 3.0, None, -0.5, None, "2024-01-03", "True", None, 0, 3, None),
    ]
    assert result.summary.first_event is None


def test_ids_of_a_table(tmp_path: Path) -> None:
    result = table(
        tmp_path, "id,a,left\n7.0,1,yes\n,1,no\n8.0,2,no\n7.0,3,no\n9.0,4,\n10.0,5,no,x\n", 'customer_id = "id"'
    )
    assert [(row["customer_id"], row["a"]) for row in result.customers] == [("7", 1.0), ("8", 2.0)]
    assert result.reasons == [
        (3, Reason.NO_CUSTOMER),
        (5, Reason.DUPLICATE_CUSTOMER),
        (6, Reason.NO_OUTCOME),
        (7, Reason.WRONG_COLUMNS),
    ]


def test_without_an_id_the_row_number_is_it(tmp_path: Path) -> None:
    result = table(tmp_path, "a,left\n1,yes\n2\n3,no\n")
    assert [row["customer_id"] for row in result.customers] == ["1", "3"]


@pytest.mark.parametrize(
    ("values", "churned"),
    [
        (pa.array([1, 0]), "1"),
        (pa.array([1, 0]), "true"),
        (pa.array([1.0, 0.0]), '"1"'),
        (pa.array([True, False]), "true"),
        (pa.array([True, False]), '"True"'),
        (pa.array(["True", "False"]), "true"),
        (pa.array([" gone ", "here"]), '"gone"'),
        (pa.array(["1.0", "0.0"]), "1"),
    ],
)
def test_the_outcome_is_compared_as_it_is_meant(tmp_path: Path, values: Any, churned: str) -> None:
    pq.write_table(pa.table({"a": [1, 2], "left": values}), tmp_path / "t.parquet")
    data = f'kind = "table"\npath = "t.parquet"\noutcome = "left"\nchurned = {churned}'
    assert [row["__outcome"] for row in built(business(tmp_path, data)).customers] == [1, 0]


def test_an_outcome_may_be_that_something_stands_there(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "id,seats,left_on\n1,3,2024-01-02\n2,4,\n3,5,NULL\n4,6,2024-02-03\n5,7,2024-03-04\n"
    )
    data = 'kind = "table"\npath = "t.csv"\ncustomer_id = "id"\noutcome = "left_on"\nchurned = { filled = true }\n'
    result = built(business(tmp_path, data))
    assert [row["__outcome"] for row in result.customers] == [1, 0, 0, 1, 1]
    assert "left_on" not in result.customers[0]
    assert not any("counts as stayed" in note for note in result.summary.notes)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "t.csv").write_text("id,seats,left_on\n1,3,\n2,4,\n")
    assert "no row has any value in the column 'left_on'" in refusal(business(empty, data))
    with pytest.raises(ConfigError, match="filled = true"):
        business(tmp_path, data.replace("true", "1"))
    (empty / "t.csv").write_text("id,seats,left_on\n1,3,x\n2,4,\n")
    said = refusal(business(empty, data.replace("{ filled = true }", "true")))
    assert said.endswith(
        "the column holds 'x' (1), and nothing in 1 rows; if those stayed, write churned = { filled = true }."
    )


def test_an_outcome_of_more_than_two_values_is_noted(tmp_path: Path) -> None:
    left = ["gone"] * 2 + ["here"] * 3 + ["new", "", "N/A"]
    pq.write_table(pa.table({"a": list(range(len(left))), "left": left}), tmp_path / "t.parquet")
    data = 'kind = "table"\npath = "t.parquet"\noutcome = "left"\nchurned = "gone"'
    result = built(business(tmp_path, data))
    assert [row["__outcome"] for row in result.customers] == [1, 1, 0, 0, 0, 0]
    note = result.summary.notes[-1]
    assert "'left' has 3 values: 'here' (3), 'gone' (2), 'new' (1)" in note
    assert "another than 'gone' counts as stayed" in note


@pytest.mark.parametrize(
    ("order", "ranks"),
    [
        (["10", "9", "8", "9"], [4, 2, 1, 3]),
        (["2024-01-10", "2024-01-09 05:00", "2023-12-31", "2024-01-09 04:00"], [4, 3, 1, 2]),
    ],
)
def test_the_order_is_by_what_the_column_holds(tmp_path: Path, order: list[str], ranks: list[int]) -> None:
    lines = [f"{value},{index},{'yes' if index else 'no'},g{index % 2}" for index, value in enumerate(order)]
    result = table(tmp_path, "\n".join(["t,a,left,g", *lines, ",9,no,g0"]), 'order = "t"\ngroup = "g"')
    assert [row["__order"] for row in result.customers] == ranks
    assert [row["__group"] for row in result.customers] == ["g0", "g1", "g0", "g1"]
    assert result.reasons == [(6, Reason.NO_ORDER)]
    assert set(result.customers[0]) == {"customer_id", "a", "__outcome", "__order", "__group"}


def test_days_written_otherwise_order_rows_by_their_format_and_never_by_their_letters(tmp_path: Path) -> None:
    content = "t,a,left\n10-01-2024,1,yes\n09-12-2024,2,no\n"
    result = table(tmp_path, content, 'order = "t"\norder_format = "%d-%m-%Y"')
    assert [row["__order"] for row in result.customers] == [1, 2]
    (tmp_path / "out").rename(tmp_path / "former")
    assert "2 because of no number and no time in the order column" in refusal(table_business(tmp_path, 'order = "t"'))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t.csv: the file is empty."),
        (b"\n\n", "t.csv: the file is empty."),
        (b"a,left\n", "t.csv: there is a header, but no rows."),
        (b"a,churn\n1,2\n", "t.csv: there is no column 'left', which [data] outcome names"),
        (b"a,Left\n1,2\n", "did you mean 'Left'?"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "this is not a CSV file: its content is binary."),
        (b"PK\x03\x04\0\0", "its content is a ZIP archive; unpack it, or pack the CSV alone with gzip."),
        (
            b'{"a": 1, "left": "yes"}\n{"a": 2, "left": "no"}\n',
            "its content is JSON; write it as CSV or Parquet, as `duckdb",
        ),
        (
            "é,left\n1,yes".encode("latin-1"),
            "the header is not UTF-8 text, and which encoding it has its letters do not tell; set encoding",
        ),
        (gzip.compress(b"a,left\n" + b"1,yes\n" * 99999)[:-30], "the file is damaged and cannot be decompressed"),
        (b"PAR1 and nothing else", "this Parquet file is damaged"),
        (b"a,a,left\n1,2,yes\n", "the column 'a' appears twice"),
        (b"a,A,left\n1,2,yes\n", "the columns 'a' and 'A' differ only in case"),
        (b"__outcome,left\n1,yes\n2,no\n", "the column name '__outcome' is reserved"),
        (b"Event_Timestamp,left\n1,yes\n2,no\n", "the column name 'Event_Timestamp' is reserved"),
        (b"left\nyes\nno\n", "no column is left to be a feature"),
        (b"a,left\n1,no\n2,no\n", "no row has 'yes' in the column 'left'"),
        (b"a,left\n1,yes\n2,yes\n", "every row has 'yes' in the column 'left'"),
        (b"a,left\n1,yes,\n2,no,\n", "none of the 2 rows can be used, 2 because of wrong number of columns"),
        (b"a,left\n1,yes\n2,\n", "nothing in 1 rows; if those stayed, write churned = { filled = true }"),
        (b"a,left\n1,\n2\n3,\n", "none of the 3 rows can be used, 2 because of no outcome (line 2: "),
        (b'a,"left\n1,yes\n', "the header opens a quote that it never closes"),
        (b"a,left\n" + b"x" * (10 << 20), "line 2 is longer than 4 MB"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    refused = refusal(table_business(tmp_path))
    assert str(tmp_path / "t.csv") in refused
    assert message in refused


def test_parquet_with_a_column_whose_name_is_no_text_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"zz": [1, 2], "left": ["yes", "no"]}), file)
    file.write_bytes(file.read_bytes().replace(b"zz", b"z\xa0"))
    assert "this Parquet file is damaged" in refusal(table_business(tmp_path, name=file.name))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('customer_id = "idd"', "there is no column 'idd', which [data] customer_id names; did you mean 'id'?"),
        ('drop = ["fees"]', "there is no column 'fees', which [data] drop names; did you mean 'fee'?"),
        ('order = "day"', "there is no column 'day', which [data] order names"),
        ('group = "day"', "there is no column 'day', which [data] group names"),
        (
            '[data.pillars]\nFee = "support"',
            "there is no column 'Fee', which [data.pillars] names; did you mean 'fee'?",
        ),
    ],
)
def test_a_column_that_the_table_lacks_is_named(tmp_path: Path, keys: str, message: str) -> None:
    (tmp_path / "t.csv").write_text("id,fee,left\n1,2,yes\n2,3,no\n")
    assert message in refusal(table_business(tmp_path, keys))
