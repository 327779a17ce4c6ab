"""Which columns of a table are numbers and which are text, decided from all of their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from features.errors import IngestError
from features.ingestion.casts import Cell, literal
from features.ingestion.files import Relation
from features.ingestion.quarantine import Reason

_MOSTLY: Final = 0.95  # of a column's values are numbers: the others are junk, not categories
_CATEGORIES: Final = 20  # with no more distinct numbers than this, "mostly" proves nothing
_AT_ONCE: Final = 50  # columns per query: planning takes time in the square of them


@dataclass(frozen=True, slots=True)
class Profile:
    """A column and what it holds: `sql` is the cell as DOUBLE or VARCHAR."""

    cell: Cell
    is_number: bool

    @property
    def sql(self) -> str:
        """The cell's value, NULL where it is missing; numbers that cannot be are refused by `number_reasons`."""
        return f"CAST({self.cell.number if self.is_number else self.cell.text} AS {'DOUBLE' if self.is_number else 'VARCHAR'})"


def profiled(execute: Callable[[str, str], Any], relation: Relation, cells: Sequence[Cell]) -> tuple[Profile, ...]:
    """The profiles of `cells`, in order; a column without any value is a number that is always missing.

    A text column is a number where all its values are, or where 95 % are and more than 20 differ.
    """
    undecided = [cell for cell in cells if not (cell.is_number or cell.is_time or cell.type == "BOOLEAN")]
    decided: dict[str, bool] = {}
    for start in range(0, len(undecided), _AT_ONCE):
        chunk = undecided[start : start + _AT_ONCE]
        counts = ", ".join(
            f"count_if({cell.present}), count_if({cell.number} IS NOT NULL OR {cell.infinite}), "
            f"approx_count_distinct({cell.number})"
            for cell in chunk
        )
        row = execute("Looking at columns", f"SELECT {counts} FROM {relation.sql}").fetchall()[0]
        for position, cell in enumerate(chunk):
            present, numbers, distinct = row[3 * position : 3 * position + 3]
            decided[cell.name] = numbers == present or (numbers >= _MOSTLY * present and distinct > _CATEGORIES)
    return tuple(Profile(cell, decided.get(cell.name, cell.is_number)) for cell in cells)


def number_reasons(cells: Sequence[Cell]) -> list[str]:
    """Arms of a CASE that refuse a row whose numbers are none, or infinite."""
    if not cells:
        return []
    junk = " OR ".join(cell.junk for cell in cells)
    infinite = " OR ".join(cell.infinite for cell in cells)
    return [
        f"WHEN {junk} THEN {literal(Reason.NOT_A_NUMBER)}",
        f"WHEN {infinite} THEN {literal(Reason.INFINITE)}",
    ]


def refuse_reserved(relation: Relation, cells: Sequence[Cell], reserved: Sequence[str], key: str) -> None:
    """Refuse columns whose names keepwell or Feast use themselves.

    Raises:
        IngestError: there is one; `key` is where the TOML can drop it.
    """
    for cell in cells:
        if cell.name.startswith("__") or cell.name.casefold() in reserved:
            raise IngestError(
                f"{relation.path}: the column name {cell.name!r} is reserved; rename it, or name it in {key}."
            )
