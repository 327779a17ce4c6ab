"""An id is one and the same in every file, whatever its column's type, and two ids never become one."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.ingestion.cells.whole_ids import with_decimals
from features.ingestion.csv_reader import Dialect
from features.ingestion.files import read
from tests.features.ingestion.ingested import built, business, refusal


def ids(folder: Path, column: Any, name: str = "ids.parquet") -> list[str | None]:
    """The ids of a file with this column: CSV of texts, or Parquet of what it is."""
    file = folder / name
    if name.endswith(".csv"):
        file.write_text("id,x\n" + "".join(f'"{value}",1\n' for value in column))
    else:
        pq.write_table(pa.table({"id": column}), file)
    with duckdb.connect() as connection:
        relation = read(connection, file, Dialect(), folder, lambda *_: None)
        sql = f"SELECT {relation.cell('id', '').id} FROM {relation.sql} ORDER BY row_position"
        return [row[0] for row in connection.execute(sql).fetchall()]


NUMBERS = [12, 7, 9007199254740991, 1234567890123456]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(NUMBERS, pa.int64()),
        pa.array(NUMBERS, pa.uint64()),
        pa.array(NUMBERS, pa.float64()),
        pa.array([Decimal(number) for number in NUMBERS], pa.decimal128(18, 0)),
        pa.array([Decimal(number) for number in NUMBERS], pa.decimal128(20, 2)),
        pa.array([str(number) for number in NUMBERS]),
        pa.array([f" {number}.0" for number in NUMBERS]),
        pa.array([f"{number}.00 " for number in NUMBERS]),
    ],
    ids=str,
)
def test_a_number_is_one_id_in_every_type(tmp_path: Path, column: Any) -> None:
    assert ids(tmp_path, column) == [str(number) for number in NUMBERS]


@pytest.mark.parametrize("gap", ["", "NaN", "null"])
def test_gaps_are_nobody_and_leave_the_others_who_they_are(tmp_path: Path, gap: str) -> None:
    assert ids(tmp_path, ["12.0", gap, "7.0"], "ids.csv") == ["12", None, "7"]


@pytest.mark.parametrize(
    "written",
    [
        ["00123", "123", "0123"],
        ["1.0", "1", "1.00"],
        ["1.0", "A1"],
        ["12345678901234567", "12345678901234568"],
        ["a 1", "a  1", "a1"],
        ["ab", "AB", "Ab"],
        ["1e3", "1000", "1E3"],
        ["-", "?", ".."],
    ],
)
def test_two_ids_are_two(tmp_path: Path, written: list[str]) -> None:
    assert ids(tmp_path, written, "ids.csv") == written
    assert ids(tmp_path, pa.array(written)) == written


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.from_regex(r"-?[0aA1]{1,3}([.][01]{1,2})?", fullmatch=True), min_size=1, max_size=5, unique=True))
def test_no_two_become_one(tmp_path: Path, written: list[str]) -> None:
    found = ids(tmp_path, pa.array(written))
    assert None not in found
    assert len(set(found)) == len(written)


def test_only_columns_of_whole_numbers_have_decimals_that_say_nothing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": ["1.0", "2.0"], "b": ["1.0", "2.5"], "c": ["x", "y"]}), tmp_path / "t.parquet")
    with duckdb.connect() as connection:
        relation = read(connection, tmp_path / "t.parquet", Dialect(), tmp_path, lambda *_: None)
        cells = with_decimals(connection.execute, relation.sql, relation.cells)
    assert [cell.decimals for cell in cells] == [1, 0, 0]


EVENTS = 'kind = "events"\n[data.events]\npath = "e.parquet"\ntype = "x"\n'
CHURN = 'activity = ["x"]\nhorizon_days = 30'


def _events(folder: Path, customers: Any) -> None:
    times = pa.array(["2024-01-01"] * len(customers))
    pq.write_table(pa.table({"customer_id": customers, "occurred_at": times}), folder / "e.parquet")


def test_events_and_customers_of_other_types_are_the_same_people(tmp_path: Path) -> None:
    _events(tmp_path, pa.array([17850.0, None, 12.0]))
    (tmp_path / "c.csv").write_text("customer_id,seats\n17850,3\n12,5\n0012,7\n")
    of = business(tmp_path, EVENTS + '[data.customers]\npath = "c.csv"', churn=CHURN)
    result = built(of)
    assert {row["customer_id"]: row["seats"] for row in result.customers} == {"17850": 3, "12": 5, "0012": 7}
    met = result.summary.acquaintance
    assert met is not None
    assert (met.known, met.seen, met.both) == (3, 2, 2)


def test_fractions_too_large_to_tell_ids_apart_are_refused(tmp_path: Path) -> None:
    _events(tmp_path, pa.array([12345678901234567.0, 1.0]))
    said = refusal(business(tmp_path, EVENTS, churn=CHURN))
    assert (
        "the column 'customer_id', which [data.events] customer_id names, holds 1 ids as numbers of so many digits"
        in said
    )


def test_ids_that_a_spreadsheet_shortened_are_refused(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("customer_id,occurred_at\n1.23457E+11,2024-01-01\n1E5,2024-01-01\n")
    said = refusal(business(tmp_path, EVENTS.replace("e.parquet", "e.csv"), churn=CHURN))
    assert "holds 1 ids as numbers of so many digits, such as '1.23457E+11', that the last are lost" in said


def test_whole_numbers_are_one_id_where_files_of_a_folder_hold_fractions_and_text(tmp_path: Path) -> None:
    times = pa.array(["2024-01-01"] * 2)
    (tmp_path / "e.parquet").mkdir()
    for number, ids in enumerate((pa.array([1.0, 12.0]), pa.array(["1", "0012"]))):
        pq.write_table(
            pa.table({"customer_id": ids, "occurred_at": times}), tmp_path / "e.parquet" / f"{number}.parquet"
        )
    assert {row["customer_id"] for row in built(business(tmp_path, EVENTS, churn=CHURN)).customers} == {
        "1",
        "12",
        "0012",
    }
