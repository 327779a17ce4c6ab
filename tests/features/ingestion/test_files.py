"""Files, folders and globs as one source."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.ingestion.run import ingest
from features.reasons import Reason
from tests.features.ingestion.ingested import (
    NOW,
    built,
    events_business,
    refusal,
    table,
    table_business,
)


def test_a_folder_and_a_glob_are_one_source(tmp_path: Path) -> None:
    part = pa.table({"customer_id": ["a"], "occurred_at": [datetime(2024, 1, 1)]})
    for name in ("one.parquet", "year=2024/two.parquet", "_temporary/three.parquet"):
        (tmp_path / "log" / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(part, tmp_path / "log" / name)
    (tmp_path / "log" / "_SUCCESS").touch()
    assert len(built(events_business(tmp_path, 'type = "x"', "log")).events) == 2
    assert len(built(events_business(tmp_path, 'type = "x"', "l?g/**/tw*.parquet")).events) == 1


@pytest.mark.parametrize("name", ["[2024] churn", "100%25 off", "a?b", 'it\'s "x"', "größe", "{a}", "a*[!b]"])
def test_a_folder_is_meant_by_its_name_whatever_characters_it_has(tmp_path: Path, name: str) -> None:
    part = pa.table({"customer_id": ["a"], "occurred_at": [datetime(2024, 1, 1)]})
    folder = tmp_path / name
    (folder / "log[1]").mkdir(parents=True)
    pq.write_table(part, folder / "log[1]" / "one[1].parquet")
    pq.write_table(part, folder / "log[1]" / "two.parquet")
    for path, rows in (("log[1]", 2), ("log[1]/*.parquet", 2), ("log[1]/one[1].parquet", 1)):
        of = events_business(folder, 'type = "x"', path)
        assert ingest(of, tmp_path / f"out[{rows}]", NOW).rows_accepted == rows


def test_files_of_one_source_may_order_their_columns_differently(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("customer_id,occurred_at,value\na,2024-01-01,1\n")
    (tmp_path / "2.csv").write_text("channel;occurred_at;customer_id\nweb;2024-01-02;b\nweb;never;c\n")
    result = built(events_business(tmp_path, 'type = "x"', "*.csv"))
    assert [(row["customer_id"], row["value"], row["channel"]) for row in result.events] == [
        ("a", 1.0, None),
        ("b", None, "web"),
    ]
    assert [(row["file"], row["line"]) for row in result.rejected] == [(str(tmp_path / "2.csv"), 3)]


def test_parquet_with_text_that_is_not_utf8(tmp_path: Path) -> None:
    names = pa.array([b"ok", b"caf\xe9", b"fine", None], pa.binary()).view(pa.string())
    when = [datetime(2024, 1, 1)] * 4
    pq.write_table(pa.table({"customer_id": list("abcd"), "occurred_at": when, "text": names}), tmp_path / "e.parquet")
    result = built(events_business(tmp_path, 'type = "x"', "e.parquet"))
    assert [row["customer_id"] for row in result.events] == ["a", "c", "d"]
    assert result.reasons == [(2, Reason.BAD_UTF8)]
    assert json.loads(result.rejected[0]["raw"])["text"] == "caf\\xe9"


def test_row_numbers_go_on_over_files(tmp_path: Path) -> None:
    for name, rows in (("t1.parquet", ["yes", "no"]), ("t2.parquet", ["no"])):
        pq.write_table(pa.table({"a": list(range(len(rows))), "left": rows}), tmp_path / name)
    (tmp_path / "t1.csv").write_text("a,left\n1,yes\n2\n")
    (tmp_path / "t2.csv").write_text("a,left\n3,no\n")
    for pattern, ids in (("t*.parquet", ["1", "2", "3"]), ("t*.csv", ["1", "3"])):
        result = built(table_business(tmp_path, name=pattern))
        assert [row["customer_id"] for row in result.customers] == ids


def test_names_that_the_ingest_uses_itself_are_free(tmp_path: Path) -> None:
    names = ["x", "c0", "c1", "line_number", "file_position", "id", "reason", "outcome", "raw", "f0", "content"]
    content = {name: [float(position), 1.0] for position, name in enumerate(names)} | {"left": ["yes", "no"]}
    pq.write_table(pa.table(content), tmp_path / "t.parquet")
    first = built(table_business(tmp_path, name="t.parquet")).customers[0]
    assert {name: first[name] for name in names} == {name: float(position) for position, name in enumerate(names)}


def test_a_path_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "customers.csv").write_text("a,left\n1,yes\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "fake.parquet").write_text("a,left\n1,yes\n")
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "a.data").write_text("a,left\n1,yes\n")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "mixed" / "b.data")
    for name, message in (
        ("custmers.csv", "custmers.csv: there is no such file; did you mean 'customers.csv'?"),
        ("no/such/file.csv", "there is no folder"),
        ("*.json", "no file matches this pattern."),
        ("empty", "empty: the folder holds no Parquet and no CSV files."),
        ("fake.parquet", "fake.parquet: this is not a Parquet file, though it is named as one."),
        ("mixed/*", "a.data is CSV but b.data is Parquet"),
    ):
        assert message in refusal(table_business(tmp_path, name=name))


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = table(tmp_path / "a", "a,left\n1,yes\n2,no\n").summary.fingerprint
    assert table(tmp_path / "b", "a,left\n1,yes\n2,no\n", name="other.csv").summary.fingerprint == first
    assert table(tmp_path / "b", "a,left\n1,yes\n3,no\n").summary.fingerprint != first


def test_what_a_folder_holds_beside_its_files_is_said(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    for name in ("1.csv", "2.txt", "old/3.tsv", "_SUCCESS"):
        (tmp_path / "log" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "log" / name).write_text("customer_id,occurred_at\na,2024-01-01\n")
    notes = built(events_business(tmp_path, 'type = "x"', "log")).summary.notes
    assert "log: not read of this folder, for its CSV files are: '2.txt', 'old/3.tsv'; a glob may name them." in notes
