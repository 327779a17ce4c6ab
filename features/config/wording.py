"""What pydantic finds wrong with a value, in the words of who wrote a TOML or a setting, not in Python's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic_core import ErrorDetails

_WORDS: Final[Mapping[str, str]] = {
    "string_type": 'it should be text, in quotes: "…"',
    "tuple_type": 'it should be a list, such as ["…"]',
    "dict_type": 'it should be a table, such as { a = "…" }',
    "model_type": "it should be a table, such as { … }",
    "model_attributes_type": "it should be a table, such as { … }",
    "bool_type": "it should be true or false",
    "int_type": "it should be a whole number",
    "int_parsing": "it should be a whole number",
    "int_parsing_size": "it should be a whole number, and not so long a one",
    "int_from_float": "it should be a whole number",
    "float_type": "it should be a number",
    "float_parsing": "it should be a number",
}


def said_of(problem: ErrorDetails) -> str:
    """What is wrong with one value, as the end of a sentence."""
    known = _WORDS.get(problem["type"])
    return known or problem["msg"].removeprefix("Value error, ").replace("Input should", "it should")
