"""A number that is written in any of the known styles reads back."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.ingestion.cells.number_styles import NumberStyle


def read(text: str, style: NumberStyle) -> float | None:
    (row,) = duckdb.execute(f"SELECT {style.sql('x')} FROM (SELECT $1::VARCHAR AS x)", [text]).fetchall()
    found: float | None = row[0]
    return found


@given(
    st.integers(-(10**11), 10**11),
    st.sampled_from([(".", ","), (".", " "), (".", "'"), (".", ""), (",", "."), (",", " "), (",", "’"), (",", "")]),
    st.sampled_from(["{}", "$ {}", "€{}", "{} EUR", "US${}", "{} kr", "R$ {}", "Rs. {}", "{}\u20ac"]),
    st.sampled_from(["-{}", "({})", "{}-", "\u2212{}"]),
    st.booleans(),
)
def test_a_written_number_reads_back(
    cents: int, signs: tuple[str, str], money: str, minus: str, per_cent: bool
) -> None:
    decimal, thousands = signs
    whole = f"{abs(cents) // 100:,}".replace(",", thousands)
    written = money.format(f"{whole}{decimal}{abs(cents) % 100:02d}" + (" %" if per_cent else ""))
    expected = float(f"{abs(cents) // 100}.{abs(cents) % 100:02d}") / (100 if per_cent else 1)
    assert read(minus.format(written) if cents < 0 else written, NumberStyle(decimal)) == (
        -expected if cents < 0 else expected
    )


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *[
            ("1,00,000", 100000.0),
            ("5.-", 5.0),
            ("1e-3", 0.001),
            ("$(1,096.00)", -1096.0),
            (".5", 0.5),
            ("1,096", 1096.0),
        ],
        *[
            ("10k", 1e4),
            ("$1.2M", 1.2e6),
            ("(3 mio)", -3e6),
            ("5 Mrd. EUR", 5e9),
            ("10kEUR", 1e4),
            ("3 lakh", 3e5),
            ("2bn", 2e9),
        ],
        *[
            ("１，０９６．５", 1096.5),
            ("-３%", -0.03),
            ("١٢٫٥", 12.5),
            ("1,200円", 1200.0),
            ("5 kr", 5.0),
            ("1 000 Ft", 1000.0),
        ],
    ],
)
def test_other_ways(written: str, value: float) -> None:
    assert read(written, NumberStyle(".")) == value


@pytest.mark.parametrize(
    "written",
    [
        "",
        "-",
        "abc",
        "2024-01-01",
        "10.0.0.1",
        "1,0960",
        "(5",
        "5)",
        "0,125",
        "1_000",
        "6 ft",
        "5m",
        "3b",
        "12 kg",
        "k",
        "10kk",
    ],
)
def test_what_is_no_number(written: str) -> None:
    assert read(written, NumberStyle(".")) is None


def test_thousands_that_are_said_are_the_only_ones() -> None:
    assert read("1 096.5", NumberStyle(".", ",")) is None
    assert read("1,096.5", NumberStyle(".", "")) is None
