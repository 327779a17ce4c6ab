"""Rows of CSV files with their physical lines; what is malformed costs its own line only."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from features.ingestion.losses import refuse_losses
from features.reasons import Reason
from tests.features.ingestion.ingested import (
    built,
    events,
    events_business,
    refusal,
    table,
    table_business,
)


def test_a_stray_quote_costs_its_line_only(tmp_path: Path) -> None:
    lines = ["customer_id,occurred_at,type,text"]
    lines += [f'c{i},2024-01-01,purchase,"fine ""{i}"""' for i in range(50)]
    lines[11] = 'c9,2024-01-01,purchase,"never closed'
    lines[30] = 'c29,2024-01-01,purchase,5" pipe'
    result = events(tmp_path, "\n".join(lines) + "\n")
    assert result.reasons == [(12, Reason.OPEN_QUOTE)]
    assert len(result.events) == 49
    assert {row["text"] for row in result.events if row["customer_id"] == "c29"} == {'5" pipe'}


def test_a_row_over_several_lines_with_the_wrong_columns_swallows_nothing(tmp_path: Path) -> None:
    result = events(tmp_path, 'customer_id,occurred_at,type\na,"x\nb,2024-01-01,x"\nc,2024-01-01,x\n')
    assert result.reasons == [(2, Reason.OPEN_QUOTE)]
    assert [(row["customer_id"], row["type"]) for row in result.events] == [("b", 'x"'), ("c", "x")]


def test_a_quote_open_to_the_end_swallows_nothing(tmp_path: Path) -> None:
    result = events(tmp_path, 'customer_id,occurred_at,type\na,2024-01-01,"x\nb,2024-01-01,x\nc,2024-01-01,x')
    assert result.reasons == [(2, Reason.OPEN_QUOTE)]
    assert [row["customer_id"] for row in result.events] == ["b", "c"]


def test_lines_are_physical_lines(tmp_path: Path) -> None:
    result = events(
        tmp_path,
        '\n"customer_id","occurred_at",type,"text\n(free)"\r\n'
        'a,2024-01-01,x,"one\ntwo\r\n\nthree"\r\n\r\nb,never,x,y\n',
        'text = "text\\n(free)"',
    )
    assert [row["text"] for row in result.events] == ["one\ntwo\r\n\nthree"]
    assert result.reasons == [(9, Reason.BAD_TIME)]


def test_lines_hold_in_files_larger_than_a_block(tmp_path: Path) -> None:
    lines = ["customer_id;occurred_at;type;value"]
    for i in range(60_000):
        lines.append(f"{i % 100};2024-01-01 00:00:00;purchase;{'oops' if i % 20_001 == 0 else i}")
        if i % 30_000 == 7:
            lines.append(f'{i % 100};2024-01-01 00:00:00;"pur\nchase";1')
    result = events(tmp_path, gzip.compress("\n".join(lines).encode()), name="e.csv.gz")
    physical = "\n".join(lines).split("\n")
    assert len(result.rejected) == 3
    for row in result.rejected:
        assert json.loads(row["raw"])["value"] == "oops" == physical[row["line"] - 1].split(";")[-1]
    assert result.summary.rows_read == len(lines) - 1


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_endings_are_found(tmp_path: Path, delimiter: str, ending: str) -> None:
    lines = ["customer_id,occurred_at,type,value", "a,2024-01-01,x,1", "b,2024-01-02,x,2"]
    content = ending.join(lines).replace(",", delimiter)
    assert len(events(tmp_path, b"\xef\xbb\xbf" + content.encode()).events) == 2


@pytest.mark.parametrize("delimiter", [":", "§"])
@pytest.mark.parametrize("name", ["x", '"x\ny"'])
def test_a_delimiter_that_no_one_guesses_is_given(tmp_path: Path, delimiter: str, name: str) -> None:
    content = f"customer_id,occurred_at,type\na,2024-01-01,{name}\n".replace(",", delimiter)
    assert len(events(tmp_path, content, f'delimiter = "{delimiter}"').events) == 1


_cell = st.one_of(
    st.sampled_from(
        ["", "a", "b", "1", "2.0", "2024-01-01", "2025-01-01", "inf", "x,y", 'q"', "l\n1", "l\r\n2", "é", "\r"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)


_line = st.one_of(
    st.tuples(_cell, _cell, _cell, _cell).map(lambda cells: _written(cells)),
    st.lists(_cell, max_size=6).map(lambda cells: _written(cells)),
    st.binary(max_size=12),
)


def _written(cells: Sequence[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue().encode()


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(lines=st.lists(_line, min_size=1, max_size=12), ending=st.sampled_from([b"\n", b"\r\n"]))
@example(lines=[b'a,"2024-01-01', b'b,"2024-01-01",x,y'], ending=b"\n")
@example(lines=[b'"a"b,2024-01-01,x,y', b"\r", b"\0,,,"], ending=b"\n")
def test_no_row_is_lost_whatever_the_file_holds(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], ending: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    good = b"good,2024-01-01,purchase,1"
    (folder / "e.csv").write_bytes(ending.join([b"customer_id,occurred_at,type,value", *lines, good]))
    of = events_business(folder)
    if b"\0" in b"".join(lines):
        assert "not a CSV file" in refusal(of)
        return
    result = built(of)
    physical = ending.join(lines).count(b"\n") + 3
    assert all(2 <= row["line"] <= physical for row in result.rejected)
    assert len(result.events) == result.summary.rows_accepted


ROWS = "a,3,yes\nb,4,no\nc,3,no\n"


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("# exported 2024-01-01\n", "the line before the header is a remark, and no row: '# exported 2024-01-01'"),
        ("# of 2024\n\n# a, b, c, d\n", "3 lines before the header are remarks, and no row: '# of 2024'"),
    ],
)
def test_remarks_above_the_header_are_no_rows_and_said(tmp_path: Path, before: str, said: str) -> None:
    result = table(tmp_path, f"{before}id,x,left\n{ROWS}", 'customer_id = "id"')
    assert [row["customer_id"] for row in result.customers] == ["a", "b", "c"]
    assert any(said in note for note in result.summary.notes)


def test_a_header_or_a_row_that_begins_as_a_remark_does_is_none(tmp_path: Path) -> None:
    assert len(table(tmp_path, f"#id,x,left\n{ROWS}", 'customer_id = "#id"').customers) == 3
    (tmp_path / "out").rename(tmp_path / "before")
    keys = 'customer_id = "id"\ncolumns = ["id", "x", "left"]'
    assert [row["customer_id"] for row in table(tmp_path, f"#1,9,yes\n{ROWS}", keys).customers] == ["#1", "a", "b", "c"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("Customers of 2024\nid,x,left\n", "line 2 names it: set skip_lines = 1."),
        ("Customers, all\n\nid;x;left\n", "line 3 names it: set skip_lines = 2."),
        ("Customers,,\nDate:,2024-01-01,\nid,x,left\n", "line 3 names it: set skip_lines = 2."),
        ("id~x~left\n", "the header is read as one cell, 'id~x~left': set delimiter."),
        ("a,3,yes\n", "where that is a row, and the file has no header, `columns` names them."),
        ("id,x,lft\n", "did you mean 'lft'?"),
    ],
)
def test_a_column_that_is_not_in_the_first_line_is_found_where_it_is(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(content + ROWS)
    assert refusal(table_business(tmp_path)).endswith(said)


@pytest.mark.parametrize("drawn", ["--,-,----", "---,---,---", "----+---+----"])
def test_the_header_again_and_lines_under_it_are_no_rows_and_no_loss(tmp_path: Path, drawn: str) -> None:
    result = table(tmp_path, f"id,x,left\n{drawn}\n{ROWS}id,x,left\nd,5,yes\n", 'customer_id = "id"')
    assert [(row["customer_id"], row["x"]) for row in result.customers] == [("a", 3), ("b", 4), ("c", 3), ("d", 5)]
    assert result.reasons == [(2, Reason.NO_ROW), (6, Reason.NO_ROW)]
    refuse_losses(result.summary.counts, 0.05, result.folder)


def test_backslashes_before_quotes_are_read_where_only_so_every_line_is_well_formed(tmp_path: Path) -> None:
    rows = 'a,"say \\"hi, you\\"",yes\nb,"C:\\temp, \\\\",no\nc,\\N,no\n'
    result = table(tmp_path, f"id,x,left\n{rows}", 'customer_id = "id"')
    assert [row["x"] for row in result.customers] == ['say "hi, you"', "C:\\temp, \\\\", "\\N"]
    assert any("within a cell is read as a quote" in note for note in result.summary.notes)
    (tmp_path / "out").rename(tmp_path / "before")
    result = table(tmp_path, 'id,x,left\na,"C:\\",yes\nb,"D:\\",no\n', 'customer_id = "id"')
    assert [row["x"] for row in result.customers] == ["C:\\", "D:\\"]


def test_blanks_before_quotes_are_no_part_of_a_cell(tmp_path: Path) -> None:
    result = table(tmp_path, 'id, "x", "left"\na, "p, q", "yes"\nb, "r", "no"\n', 'customer_id = "id"')
    assert [row["x"] for row in result.customers] == ["p, q", "r"]


def test_a_quote_that_is_amiss_is_told_rather_than_read_as_something_else(tmp_path: Path) -> None:
    result = table(tmp_path, f'id,x,left\nd,"say "hi" there",yes\n{ROWS}', 'customer_id = "id"')
    assert result.reasons == [(2, Reason.NOT_CSV)]
