"""How columns write numbers and times, and what they write for missing: one way a column, said in the notes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from features.ingestion.cells.number_styles import NumberStyle
from features.ingestion.column_reading import load_readings
from features.ingestion.quarantine import Reason
from tests.features.ingestion.ingested import Result, built, business, events, table


def column(folder: Path, cells: list[str], keys: str = "") -> Result:
    """A table with the column `x`; its delimiter is a semicolon."""
    lines = ["id;x;left"] + [f"{row};{cell};{'yes' if row % 2 else 'no'}" for row, cell in enumerate(cells)]
    return table(folder, "\n".join(lines), keys)


def values(result: Result) -> list[object]:
    return [row["x"] for row in result.customers]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1,096.00", "12.5", "3,000"], [1096.0, 12.5, 3000.0]),
        (["1.096,00", "12,5", "3.000"], [1096.0, 12.5, 3000.0]),
        (["1\u00a0096", "12\u202f500,5", "950"], [1096.0, 12500.5, 950.0]),
        (["$5.00", "$1,096.00", "($7.50)"], [5.0, 1096.0, -7.5]),
        (["12 %", "7.5%", "100 %"], [0.12, 0.075, 1.0]),
        (["1096-", "12", "5.5-"], [-1096.0, 12.0, -5.5]),
        (["1,096", "2,350", "12,000"], [1096.0, 2350.0, 12000.0]),
        (["0,125", "1,096", "2,350"], [0.125, 1.096, 2.35]),
    ],
)
def test_numbers_as_people_write_them(tmp_path: Path, cells: list[str], expected: list[float]) -> None:
    result = column(tmp_path, cells)
    assert values(result) == expected
    assert not result.rejected
    assert any("column 'x' is read with" in note for note in result.summary.notes)


def test_plain_numbers_are_not_spoken_of(tmp_path: Path) -> None:
    result = column(tmp_path, ["1.096", "2.5", "7"])
    assert values(result) == [1.096, 2.5, 7.0]
    assert result.summary.notes == ()
    assert "x" not in load_readings(result.folder)


def test_a_column_that_fits_both_ways_follows_the_others(tmp_path: Path) -> None:
    result = table(tmp_path, "x;y;left\n1.096;1,5;yes\n2.350;0,25;no\n", 'delimiter = ";"')
    assert values(result) == [1096.0, 2350.0]
    assert any("'x'" in note and "Both signs fit" in note for note in result.summary.notes)


def test_the_toml_says_the_decimal_sign(tmp_path: Path) -> None:
    assert values(column(tmp_path, ["1,096", "2,350"], 'decimal = ","')) == [1.096, 2.35]
    assert load_readings(tmp_path / "out")["x"].style == NumberStyle(",")


@pytest.mark.parametrize(
    "marker", ["\\N", "?", "#N/A", "-", ".", "NULL", "n/a", "unknown", "NaN", "None", "<NA>", "--", "N/A", "(null)"]
)
def test_missing_as_tools_write_it(tmp_path: Path, marker: str) -> None:
    result = column(tmp_path, [marker if row % 10 == 0 else str(row / 4) for row in range(40)])
    assert values(result)[:2] == [None, 0.25]
    assert not result.rejected
    assert any("column 'x'" in note and f"'{marker}' (4)" in note for note in result.summary.notes)


def test_the_toml_says_what_is_missing(tmp_path: Path) -> None:
    result = column(tmp_path, ["999", "5", "unknown", "7"], 'missing = ["999"]')
    assert values(result) == [None, "5", "unknown", "7"]
    assert values(column(tmp_path, ["-1", "5", "-1", "7"], 'missing = ["-1"]')) == [None, 5.0, None, 7.0]


def test_markers_among_words_are_words_and_among_times_missing(tmp_path: Path) -> None:
    assert values(column(tmp_path, ["gold", "none", "unknown"])) == ["gold", "none", "unknown"]
    assert values(column(tmp_path, ["2024-01-01", "-", "2024-03-01"])) == ["2024-01-01", None, "2024-03-01"]


def test_yes_and_no_in_several_spellings_are_one_word_each(tmp_path: Path) -> None:
    assert values(column(tmp_path, ["TRUE", "true", "False", "FALSE"])) == ["true", "true", "false", "false"]
    assert values(column(tmp_path, ["Yes", "No", "Yes"])) == ["Yes", "No", "Yes"]


@pytest.mark.parametrize("churned", ["1", "true", '"TRUE"', '"yes"'])
def test_outcomes_of_every_spelling(tmp_path: Path, churned: str) -> None:
    (tmp_path / "t.csv").write_text("x,left\n1,TRUE\n2,False\n3,Yes\n4,n\n5,?\n")
    of = business(tmp_path, f'kind = "table"\npath = "t.csv"\noutcome = "left"\nchurned = {churned}')
    result = built(of)
    assert [row["__outcome"] for row in result.customers] == [1, 0, 1, 0]
    assert result.reasons == [(6, Reason.NO_OUTCOME)]


def test_words_and_names_are_trimmed(tmp_path: Path) -> None:
    result = table(tmp_path, "id, plan, left\n1, gold,yes\n2,gold\u00a0, no\n3,cafe\u0301,no \n")
    assert [row["plan"] for row in result.customers] == ["gold", "gold", "café"]


@pytest.mark.parametrize(
    ("cell", "format"),
    [
        ("1704067200", ""),
        ("1704067200.0", ""),
        ("1704067200000", ""),
        ("1704067200000000", ""),
        ("45292", ""),
        ("45292.0", "excel"),
        ("20240101", ""),
        ("1704067200", "%s"),
        ("1704067200000", "milliseconds"),
    ],
)
def test_times_as_numbers(tmp_path: Path, cell: str, format: str) -> None:
    keys = f'occurred_format = "{format}"' if format else ""
    result = events(tmp_path, f"customer_id,occurred_at,type\na,{cell},x\nb,-,x\n" + f"c,{cell},x\n" * 20, keys)
    assert result.events[0]["occurred_at"] == datetime(2024, 1, 1, tzinfo=UTC)
    assert result.reasons == [(3, Reason.NO_TIME)]
    assert format or any("column 'occurred_at' is read as" in note for note in result.summary.notes)


def test_values_of_events(tmp_path: Path) -> None:
    result = events(
        tmp_path,
        "customer_id;occurred_at;type;value;score\na;2024-01-01;x;1.096,50 €;9\na;2024-01-02;x;-;8\nb;2024-01-03;x;2,5;7\n",
        'delimiter = ";"\nproperties = { score = "score" }',
    )
    assert [row["value"] for row in result.events] == [1096.5, None, 2.5]
