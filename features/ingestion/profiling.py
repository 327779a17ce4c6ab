"""Which columns of a table are numbers and which are text, decided from all of their values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from features.config.business import Written
from features.errors import IngestError
from features.ingestion import column_reading
from features.ingestion.cells.casts import Cell, literal
from features.ingestion.cells.missing import MARKERS
from features.ingestion.column_reading import PLAIN, Evidence, Execute, Reading
from features.ingestion.files import FILE, ROW, Relation
from features.reasons import Reason

_PAIR: Final = 2
_INDEX_ROWS: Final = 20
"""Fewer rows may be numbered by chance."""
_AT_ONCE: Final = 50  # columns per query: planning takes time in the square of them
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Profile:
    """A column and what it holds: `sql` is the cell as DOUBLE or VARCHAR.

    `is_truths`: yes and no in several spellings, which become "true" and "false" as those of a BOOLEAN column are.
    """

    cell: Cell
    is_number: bool
    is_truths: bool = False

    @property
    def sql(self) -> str:
        """The cell's value, NULL where it is missing, or no number in a column of them."""
        if self.is_number:
            return f"CAST({self.cell.number} AS DOUBLE)"
        if self.is_truths:
            return f"CAST({self.cell.truth} AS VARCHAR)"
        return f"CAST({self.cell.text} AS VARCHAR)"


@dataclass(frozen=True, slots=True)
class Profiles:
    """The columns of a source that are described, in order; the relation and the readings are those that they need."""

    relation: Relation
    profiles: tuple[Profile, ...]
    readings: dict[str, Reading]
    notes: tuple[str, ...]


def profiled(
    execute: Execute,
    relation: Relation,
    names: Sequence[str],
    written: Written,
    key: str,
    numbers: Sequence[str] = (),
    times: Mapping[str, str | None] = MappingProxyType({}),
    mostly: bool = True,
    *,
    features: Collection[str] = (),
) -> Profiles:
    """How the columns `names` are read, and those that hold `numbers` and `times` because the TOML says so.

    A text column is a number where all its values are, or (`mostly`) where 95 % are and more than 20 differ; yes and no are numbers
    (1, 0) only among `numbers`. A column without any value is a number that is always missing. `times` are columns and the
    formats that the TOML gives them. `key` is the TOML's table. Of the `features`, those that only number the rows are left
    out; the notes say so, and which are words.
    """
    relation = column_reading.with_missing(relation, written)
    relation = replace(
        relation, cells=tuple(replace(cell, is_dated=True) if cell.name in times else cell for cell in relation.cells)
    )
    asked = [cell for cell in relation.cells if cell.name in {*names, *numbers}]
    found = column_reading.evidence(execute, relation, asked, written)
    readings = column_reading.number_readings(execute, relation, asked, written, found)
    decided = {name: column_reading.is_number(one, mostly) for name, one in found.items()}
    for name in list(readings):
        if name not in numbers and (readings[name].truths or not decided[name]):
            del readings[name]
    for cell in relation.cells:
        if cell.name in times and times[cell.name] is None:
            readings[cell.name] = column_reading.clock_reading(execute, relation, cell)
    relation = column_reading.applied(relation, readings)
    profiles = tuple(
        _profile(execute, relation, cell, found.get(cell.name), decided.get(cell.name, cell.is_number))
        for cell in relation.cells
        if cell.name in names
    )
    of_numbers = [profile.cell.name for profile in profiles if profile.is_number or profile.cell.missing is not None]
    marked = [*(name for name, one in found.items() if one.marked), *times]
    notes = column_reading.notes(execute, relation, [*of_numbers, *numbers, *times], marked, readings, key)
    junk = [profile.cell for profile in profiles if profile.is_number]
    notes += column_reading.junk_notes(execute, relation, junk)
    if features:
        counted = _row_numbers(execute, relation, [profile for profile in profiles if profile.cell.name in features])
        profiles = tuple(profile for profile in profiles if profile.cell.name not in counted)
        notes += _guessed(relation, profiles, counted)
        notes += _nearly_numbers(
            execute, relation, [profile for profile in profiles if not profile.is_number], found, key
        )
    kept = {name: reading for name, reading in readings.items() if reading != PLAIN}
    return Profiles(relation, profiles, kept, tuple(notes))


def _profile(execute: Execute, relation: Relation, cell: Cell, found: Evidence | None, is_number: bool) -> Profile:
    if found is None:
        return Profile(cell, is_number)
    if is_number:
        return Profile(replace(cell, missing=cell.missing or MARKERS) if found.marked else cell, True)
    if found.is_truths:
        spellings = execute("Looking at columns", f"SELECT count(DISTINCT {cell.text}) FROM {relation.sql}").fetchall()
        return Profile(cell, False, is_truths=spellings[0][0] > _PAIR)
    if found.marked:
        times = f"SELECT count(*) FILTER ({cell.present} AND {cell.time()} IS NULL) FROM {relation.sql}"
        if execute("Looking at columns", times).fetchall()[0][0] == 0:
            # The rest are times, so that what says that it is missing is none of the words.
            return Profile(replace(cell, missing=cell.missing or MARKERS), False)
    return Profile(cell, False)


def _row_numbers(execute: Execute, relation: Relation, profiles: Sequence[Profile]) -> list[str]:
    """The columns that only number the rows, as an index that was written along does, file by file."""
    steps = {
        profile.cell.name: f"max({profile.cell.number} - {ROW}) = min({profile.cell.number} - {ROW}) "
        f"AND max(abs({profile.cell.number})) < 1e15 AND count({profile.cell.number}) = count(*) AND max({profile.cell.number}) = trunc(max({profile.cell.number}))"
        for profile in profiles
        if profile.is_number and profile.cell.type != "BOOLEAN"
    }
    if relation.rows < _INDEX_ROWS or not steps:
        return []
    head = f"(SELECT * FROM {relation.sql} WHERE {ROW} <= {_INDEX_ROWS})"
    for sql in (f"{head} WHERE {FILE} = 0", relation.sql):
        names = list(steps)
        found: list[bool] = []
        for start in range(0, len(names), _AT_ONCE):
            tests = ", ".join(f"{steps[name]} AS s{at}" for at, name in enumerate(names[start : start + _AT_ONCE]))
            every = ", ".join(f"bool_and(s{at})" for at in range(len(names[start : start + _AT_ONCE])))
            rows = execute("Looking at columns", f"SELECT {every} FROM (SELECT {tests} FROM {sql} GROUP BY {FILE})")
            found += rows.fetchall()[0]
        steps = {name: steps[name] for name, is_one in zip(names, found, strict=True) if is_one}
    return list(steps)


def _guessed(relation: Relation, profiles: Sequence[Profile], counted: Sequence[str]) -> list[str]:
    """What a user should know of what columns were taken for."""
    said: list[str] = []
    if counted:
        what, are = ("columns", "number") if len(counted) > 1 else ("column", "numbers")
        said.append(
            f"{relation.path.name}: the {what} {', '.join(map(repr, counted))} only {are} the rows, and no feature; "
            "customer_id or order may name it."
        )
    words = [profile.cell.name for profile in profiles if not profile.is_number]
    if words:
        more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
        said.append(f"{relation.path.name}: read as words: {', '.join(map(repr, words[:_SHOWN]))}{more}.")
    return said


def _nearly_numbers(
    execute: Execute, relation: Relation, words: Sequence[Profile], found: Mapping[str, Evidence], key: str
) -> list[str]:
    """A sentence for each column of words of which most are plain numbers: the others may mean that one is missing."""
    said: list[str] = []
    for cell in (profile.cell for profile in words):
        one = found.get(cell.name)
        if one is not None and column_reading.is_nearly_number(one):
            others = column_reading.counted(execute, relation, cell, cell.junk)
            said.append(
                f"{relation.path.name}: column {cell.name!r} would be numbers without {others}; {key} missing may list what means missing."
            )
    return said


def number_reasons(cells: Sequence[Cell]) -> list[str]:
    """Arms of a CASE that refuse a row whose numbers, which the TOML reads, are none, or infinite."""
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


def refuse_rounded(execute: Execute, relation: Relation, id: Cell, key: str) -> None:
    """Refuse ids, of the column that `key` names, whose last digits a fraction has lost: two may have become one.

    Raises:
        IngestError: there are some.
    """
    if id.rounded == "FALSE":
        return
    count, example = execute(
        "Looking at columns", f"SELECT count(*), min({id.sql}) FROM {relation.sql} WHERE {id.rounded}"
    ).fetchall()[0]
    if count:
        raise IngestError(
            f"{relation.path}: the column {id.name!r}, which {key} names, holds {count:,} ids as numbers of so many digits, such as "
            f"{example!r}, that the last are lost and two customers may be one; write them as whole numbers or as text."
        )
