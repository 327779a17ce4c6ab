"""How columns write numbers and times, and what they write for missing: one way a column, said in the notes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.ingestion.cells.number_styles import NumberStyle
from features.ingestion.column_reading import load_readings
from features.reasons import Reason
from tests.features.ingestion.ingested import Result, built, business, events, events_business, refusal, table


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
        (["10k", "1.2M", "500"], [10000.0, 1200000.0, 500.0]),
        (["3 Mio", "1,5 Mio", "200 Tsd."], [3000000.0, 1500000.0, 200000.0]),
        (["１２", "３.５"], [12.0, 3.5]),
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
        ("20240101000000", ""),
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


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["1.096", "2.500", "12"], "so that '1.096' is 1.096. Both signs fit; [data] decimal says which it is."),
        (["1.234.567,89", "0,5"], "is read with ',' before decimals, so that '1.234.567,89' is 1234567.89."),
        (["10k", "1.2M"], "so that '1.2M' is 1200000."),
        (["$5", "€6", "7 EUR"], "'$', 'EUR', '€' are left out, and nothing is converted."),
        (["5%", "0.05", "7%"], "2 of 3 numbers have a %, and are hundredths; the others are not."),
    ],
)
def test_the_notes_show_how_a_number_of_the_column_is_read(tmp_path: Path, cells: list[str], said: str) -> None:
    assert any(said in note for note in column(tmp_path, cells).summary.notes)


def test_four_digits_in_a_row_say_that_nothing_parts_thousands(tmp_path: Path) -> None:
    assert column(tmp_path, ["1.096", "2.500", "1500"]).summary.notes == ()


def test_suffixes_among_other_words_are_words(tmp_path: Path) -> None:
    assert values(column(tmp_path, ["S", "10k", "M"])) == ["S", "10k", "M"]


@pytest.mark.parametrize("marker", ["k.A.", "#NV", "#WERT!", "s/d", "(not set)", "inconnu", "n.d.", "{}"])
def test_missing_as_other_languages_write_it(tmp_path: Path, marker: str) -> None:
    assert values(column(tmp_path, ["1.5", marker, "2"])) == [1.5, None, 2]


def test_words_that_keep_a_column_from_being_numbers_are_named(tmp_path: Path) -> None:
    result = column(tmp_path, [*(f"{number}.5" for number in range(30)), "pending", "pending"])
    assert any(
        "column 'x' would be numbers without 'pending' (2); [data] missing" in note for note in result.summary.notes
    )
    (tmp_path / "out").rename(tmp_path / "before")
    assert values(column(tmp_path, ["1.5", "pending"], 'missing = ["pending"]')) == [1.5, None]


NO_DAYS = (
    *(
        "0000-00-00",
        "0000-00-00 00:00:00",
        "0001-01-01T00:00:00",
        "9999-12-31",
        "9999-12-31 23:59:59",
        "1900-01-00",
        "1900-01-01",
    ),
    *("infinity", "0", "00.00.0000", "12/31/9999"),
)


def _created(folder: Path, cells: Sequence[object], keys: str = "") -> Result:
    """The customers 1, 2, … with these in the column `created_at`."""
    ids = range(1, len(cells) + 1)
    rows = [{"customer_id": str(id), "created_at": cell} for id, cell in zip(ids, cells, strict=True)]
    if isinstance(cells[0], str):
        text = "".join(f"{row['customer_id']},{row['created_at']}\n" for row in rows)
        (folder / "c.csv").write_text(f"customer_id,created_at\n{text}")
    else:
        pq.write_table(pa.Table.from_pylist(rows), folder / "c.csv")
    (folder / "e.csv").write_text("customer_id,occurred_at\n" + "".join(f"{id},2024-01-01\n" for id in ids))
    data = f'kind = "events"\n[data.events]\npath = "e.csv"\ntype = "x"\n[data.customers]\npath = "c.csv"\n{keys}'
    return built(business(folder, data, churn='activity = ["x"]\nhorizon_days = 30'))


@pytest.mark.parametrize("cell", NO_DAYS)
def test_days_that_stand_for_none_are_missing(tmp_path: Path, cell: str) -> None:
    result = _created(tmp_path, ["2023-12-01", cell])
    assert [row["created_at"] is None for row in result.customers] == [False, True]
    assert not result.rejected
    assert f"c.csv: column 'created_at': '{cell}' (1) counts as missing; [data.customers] missing lists what does." in (
        result.summary.notes
    )


def test_days_that_stand_for_none_are_missing_in_every_type(tmp_path: Path) -> None:
    for cells in ([date(2023, 12, 1), date(9999, 12, 31)], [datetime(2023, 12, 1), datetime(1, 1, 1)], [1.7e9, 0.0]):
        result = _created(tmp_path, cells)
        assert [row["created_at"] is None for row in result.customers] == [False, True]
        (tmp_path / "out").rename(tmp_path / f"before {cells[0]}")


def test_the_toml_says_that_a_day_is_meant(tmp_path: Path) -> None:
    result = _created(tmp_path, ["2023-12-01", "1900-01-01"], "missing = []")
    assert result.customers[1]["created_at"].year == 1900
    assert result.summary.notes == ()


def test_days_of_a_spreadsheet_may_have_a_decimal_comma(tmp_path: Path) -> None:
    result = events(tmp_path, "customer_id;occurred_at;type\na;45292,5;x\nb;45293;x\n")
    assert [row["occurred_at"].hour for row in result.events] == [12, 0]


def test_a_refusal_names_the_format_that_reads_the_times(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("customer_id,occurred_at,type\na,31.01.2024 10:15,x\n")
    assert refusal(events_business(tmp_path)).endswith("set occurred_format = '%d.%m.%Y %H:%M'.")
    (tmp_path / "e.csv").write_text("customer_id,occurred_at,type\na,01/02/2024,x\n")
    assert refusal(events_business(tmp_path)).endswith(
        "set occurred_format = '%d/%m/%Y' or '%m/%d/%Y', whichever they mean."
    )
    said = refusal(events_business(tmp_path, 'occurred_format = "MM/DD/YYYY"'))
    assert "'MM/DD/YYYY' is no strptime format" in said
