"""Ids that a tool wrote as fractions: `17850.0` in every row is what 17850 became in a column with gaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from features.ingestion.cells.casts import Cell
from features.ingestion.cells.missing import NO_ID, is_marker

_AT_ONCE: Final = 50  # columns per query: planning takes time in the square of them


def with_decimals(query: Callable[[str], Any], sql: str, cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """The cells with the number of decimals, all zeros, with which a column of texts writes whole numbers throughout.

    Only where all of a column's values are written so may the zeros be left out: among others, `1.0` is another id than 1.
    """
    texts = [cell for cell in cells if cell.type == "VARCHAR"]
    found: dict[str, int] = {}
    for start in range(0, len(texts), _AT_ONCE):
        some = texts[start : start + _AT_ONCE]
        tests = ", ".join(f"bool_or(contains({cell.sql}, '.0'))" for cell in some)
        row = query(f"SELECT {tests} FROM {sql}").fetchall()[0]
        for cell, may_be in zip(some, row, strict=True):
            if may_be:
                found[cell.name] = _decimals(query, sql, cell)
    return tuple(replace(cell, decimals=found.get(cell.name, 0)) for cell in cells)


def _decimals(query: Callable[[str], Any], sql: str, cell: Cell) -> int:
    zeros = f"length(regexp_extract({cell.sql}, '^\\s*-?[0-9]+[.](0+)\\s*$', 1))"
    least, most = query(
        f"SELECT min({zeros}), max({zeros}) FROM {sql} WHERE NOT {is_marker(cell.sql, NO_ID)}"
    ).fetchall()[0]
    return least if least == most else 0
