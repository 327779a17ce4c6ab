"""Files of other encodings and layouts are read as what they are, and what is no CSV is named."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.config.business import Business
from features.errors import ConfigError
from features.ingestion.encodings import WESTERN, Recoded, recognised
from tests.features.ingestion.ingested import events, events_business, refusal, table, table_business

TABLE = "id,plan,left\n1,größer,yes\n2,café,no\n3,naïve — é,no\n"
PLANS = ["größer", "café", "naïve — é"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("encoding", ["cp1252", "mac_roman", "utf-16", "utf-16-le", "utf-8", "utf-8-sig"])
def test_text_of_an_encoding_that_the_toml_names(tmp_path: Path, encoding: str, packed: bool) -> None:
    content = TABLE.encode(encoding)
    result = table(tmp_path, gzip.compress(content) if packed else content, f'encoding = "{encoding}"')
    assert [row["plan"] for row in result.customers] == PLANS
    assert not result.rejected


@pytest.mark.parametrize("packed", [False, True])
def test_utf_16_says_what_it_is(tmp_path: Path, packed: bool) -> None:
    content = TABLE.encode("utf-16")
    result = table(tmp_path, gzip.compress(content) if packed else content)
    assert [row["plan"] for row in result.customers] == PLANS


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "mac_roman", "cp850", "utf-16-le", "utf-16-be"])
def test_an_encoding_is_recognised_by_what_comes_of_the_letters(tmp_path: Path, encoding: str, packed: bool) -> None:
    content = "id,plan,prénom,left\n1,größer,Zoë,yes\n2,café,Müller,no\n".encode(encoding)
    result = table(tmp_path, gzip.compress(content) if packed else content)
    assert [(row["plan"], row["prénom"]) for row in result.customers] == [("größer", "Zoë"), ("café", "Müller")]
    known = WESTERN.get({"latin-1": "cp1252"}.get(encoding, encoding))
    note = [f"t.csv: read as {known} text, as its letters say; `encoding` says otherwise."] if known else []
    assert [said for said in result.summary.notes if "text, as its letters say" in said] == note


WORDS = [
    "café",
    "forêt",
    "élève",
    "naïve",
    "garçon",
    "où",
    "août",
    "Noël",
    "cœur",
    "Müller",
    "größer",
    "Straße",
    "Österreich",
    "über",
    "España",
    "Málaga",
    "niño",
    "pingüino",
    "São",
    "coração",
    "Belém",
    "não",
    "cidade",
    "Itália",
    "città",
    "perché",
    "così",
    "Malmö",
    "Århus",
    "Tromsø",
    "smørrebrød",
    "Ängelholm",
    "coöperatie",
    "één",
    "it’s",
    "Ñandú",
    "ESPAÑA",
    "CAFÉ",
    "L’été",
    "Barça",
    "12€",
    "“Noël”",
]


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12), st.sampled_from(["cp1252", "mac_roman", "cp850"]))
def test_what_is_recognised_is_what_was_written(words: list[str], encoding: str) -> None:
    text = "\n".join(["id,plan", *words])
    try:
        content = text.encode(encoding)
    except UnicodeEncodeError:
        return
    found = recognised(content.split(b"\n"))
    assert found is None or content.decode(found) == text


@pytest.mark.parametrize("encoding", ["cp1252", "mac_roman"])
def test_a_dozen_words_are_enough(encoding: str) -> None:
    assert recognised([word.encode(encoding) for word in WORDS]) == encoding


@pytest.mark.parametrize(
    ("words", "encoding"),
    [
        ("Dvořák Růžička Kučera", "cp1250"),
        ("Wałęsa Zięba Łukasz", "cp1250"),
        ("Petőfi Győr Kovács", "cp1250"),
        ("Brăila Călin", "iso8859-2"),
        ("Şişli Ağaoğlu", "cp1254"),
        ("Привет мир", "cp1251"),
        ("Привет мир", "koi8-r"),
        ("Αθήνα Ελλάδα", "cp1253"),
        ("שלום", "cp1255"),
        ("東京 大阪", "shift_jis"),
        ("北京 上海", "gbk"),
        ("12€ it’s", "cp1251"),
    ],
)
def test_what_is_not_near_certain_is_not_guessed(tmp_path: Path, words: str, encoding: str) -> None:
    content = words.encode(encoding)
    assert recognised(content.split(b" ")) is None
    (tmp_path / "t.csv").write_bytes(b"id,left," + content + b"\n1,yes,2\n2,no,3\n")
    assert "its letters do not tell; set encoding, such as 'cp1252'" in refusal(table_business(tmp_path))


def test_utf_8_with_damage_stays_utf_8(tmp_path: Path) -> None:
    result = table(tmp_path, "id,plan,left\n1,größer,yes\n2,Müller,no\n".encode() + b"3,caf\xe9,no\n")
    assert [row["plan"] for row in result.customers] == ["größer", "Müller"]
    assert [row["reason"] for row in result.rejected] == ["bad UTF-8"]


def test_text_that_is_not_of_the_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,left\nx\x81,yes\n")
    assert "is no text of the encoding" in refusal(table_business(tmp_path, 'encoding = "cp1252"'))


def test_what_is_no_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'latin-99' is no encoding such as 'cp1252'"):
        table_business(tmp_path, 'encoding = "latin-99"')


@pytest.mark.parametrize("top", ["Report of May\n\n", "a;b;c\n# 3\n"])
def test_lines_before_the_header_are_skipped(tmp_path: Path, top: str) -> None:
    result = table(tmp_path, top + "id,x,left\n1,5,yes\n2,6,no\n3,7\n", "skip_lines = 2")
    assert [row["x"] for row in result.customers] == [5.0, 6.0]
    assert [row["line"] for row in result.rejected] == [6]


def test_a_first_line_that_says_the_delimiter_is_no_header(tmp_path: Path) -> None:
    result = table(tmp_path, "\ufeffsep=;\r\nid;x;left\r\n1;5,5;yes\r\n2;6,5;no\r\n3;7\r\n")
    assert [row["x"] for row in result.customers] == [5.5, 6.5]
    assert [row["line"] for row in result.rejected] == [5]


def test_a_file_without_a_header_has_the_names_of_the_toml(tmp_path: Path) -> None:
    keys = 'columns = ["customer_id", "occurred_at", "type"]'
    result = events(tmp_path, "a,2024-01-01,x\nb,2024-01-02,x\nc,2024-01-03\n", keys)
    assert [row["customer_id"] for row in result.events] == ["a", "b"]
    assert [row["line"] for row in result.rejected] == [3]
    (tmp_path / "e.csv").write_text("customer_id,occurred_at,type\na,2024-01-01,x\n")
    (tmp_path / "out").rename(tmp_path / "before")
    assert "leave the key out" in refusal(events_business(tmp_path, keys))


def test_a_part_of_a_folder_without_a_header_loses_no_row_in_silence(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "1.csv").write_text("customer_id,occurred_at,type\na,2024-01-01,x\n")
    (tmp_path / "parts" / "2.csv").write_text("b,2024-01-02,x\nc,2024-01-03,x\n")
    said = refusal(events_business(tmp_path, name="parts"))
    assert "2.csv: the first line names none of the columns of 1.csv" in said


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"PK\x03\x04\x14\0", "t.csv", "a ZIP archive; unpack it"),
        (b"PK\x03\x04\x14\0", "t.xlsx", "a spreadsheet; save its sheet as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "t.xls", "a spreadsheet; save its sheet as CSV"),
        (b'{"id": 1, "left": "yes"}\n{"id": 2, "left": "no"}\n', "t.jsonl", "JSON; write it as CSV or Parquet"),
        (b'[\n {"id": 1, "left": "yes"}\n]\n', "t.json", "JSON; write it as CSV or Parquet"),
        (b"BZh91AY&SY", "t.csv.bz2", "packed, but not with gzip"),
        (b"SQLite format 3\0", "t.db", "an SQLite database"),
        (
            b"<html><table><tr><td>id</td></tr>",
            "t.xls",
            "a web page or XML, whatever its name says; save the table as CSV",
        ),
        (b"<?xml version='1.0'?>\n<a/>", "t.xml", "a web page or XML"),
        (
            b"-- MySQL dump\n/*!40101 SET NAMES utf8 */;\nINSERT INTO t VALUES (1);\n",
            "t.sql",
            "SQL; load it into its database",
        ),
        (b"COPY t (id, x) FROM stdin;\n1\t2\n", "t.csv", "SQL; load it into its database"),
    ],
)
def test_what_is_no_csv_is_named(tmp_path: Path, content: bytes, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert f"{name}: this is not a CSV file: its content is {said}" in refusal(table_business(tmp_path, name=name))


@given(st.text(max_size=30), st.sampled_from(["utf-16", "utf-32", "utf-7"]), st.integers(1, 9))
def test_a_recoded_stream_is_the_text_in_any_portions(text: str, encoding: str, size: int) -> None:
    stream = Recoded(io.BytesIO(text.encode(encoding)), encoding)
    parts = list(iter(lambda: stream.read(size), b""))
    assert b"".join(parts) == text.encode()
    assert all(len(part) <= size for part in parts)


def test_the_toml_s_columns_are_cleaned(tmp_path: Path) -> None:
    of: Business = table_business(tmp_path, 'columns = [" a", "left\\u00a0"]')
    assert of.data is not None
    assert getattr(of.data, "columns") == ("a", "left")  # noqa: B009 - either kind of data
