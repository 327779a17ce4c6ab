"""Words are cleaned alike in Python and in SQL."""

from __future__ import annotations

import duckdb
from hypothesis import given
from hypothesis import strategies as st

from features.words import BLANKS, INVISIBLE, NO_BREAK, is_untidy_sql, word, word_sql

_TEXT = st.text(st.sampled_from("aé\u0301eZ ñ" + BLANKS + NO_BREAK + INVISIBLE), max_size=12)


def test_what_looks_the_same_is_the_same() -> None:
    assert {word(text) for text in ("gold", " gold", "gold\u00a0", "\ufeffgold\r\n")} == {"gold"}
    assert word("e\u0301te\u0301\u202fA") == "été A"


@given(_TEXT)
def test_sql_and_python_agree_and_cleaning_twice_changes_nothing(text: str) -> None:
    assert duckdb.execute(f"SELECT {word_sql('x')} FROM (SELECT $1::VARCHAR AS x)", [text]).fetchall() == [
        (word(text),)
    ]
    assert word(word(text)) == word(text)


@given(_TEXT)
def test_what_is_untidy_is_what_cleaning_changes(text: str) -> None:
    found = duckdb.execute(f"SELECT {is_untidy_sql('x')} FROM (SELECT $1::VARCHAR AS x)", [text]).fetchall()
    assert found == [(word(text) != text,)]
