"""DuckDB SQL that reads one cell of a source as an id, a text, a number, a time or a condition, whatever its column's type."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from features.config.data import Filled
from features.ingestion.cells.clocks import Clock, clock_of
from features.ingestion.cells.missing import DATES, MARKERS, NO_ID, TIMES, is_marker
from features.ingestion.cells.truths import truth, truth_sql
from features.words import word, word_sql

# The largest float32: Feast stores features as Float32, so beyond it a value is infinite.
FLOAT32: Final = "3.4028234663852886e38"
_FRACTIONS: Final = ("DOUBLE", "FLOAT")
_EXACT: Final = {"DOUBLE": 2**53, "FLOAT": 2**24}
"""From here on, not every whole number is a fraction of this type: two may have become one."""
_NUMBERS: Final = (
    *_FRACTIONS,
    *(
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "HUGEINT",
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "UBIGINT",
        "UHUGEINT",
    ),
)


_SHORTENED: Final = r"\s*[0-9]([.,][0-9]+)?[eE][+][0-9]{1,3}\s*"


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A text as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class Cell:
    """A column of a source: its name, its SQL, its DuckDB type; every property is SQL over one row.

    The SQL of a VARCHAR gives it as `features.words` cleans it, `raw` as the file has it. `missing` is what the TOML says
    means missing; `parsed` the SQL of the cell's number where it is not written plainly, `clock` how numbers are times:
    both as `column_reading` finds out. `decimals` counts the zeros after every whole number, as `whole_ids` finds out.
    `is_dated`: the TOML reads it as a time, so that days which stand for none are missing.
    """

    name: str
    sql: str
    type: str
    raw: str = ""
    missing: tuple[str, ...] | None = None
    parsed: str | None = None
    clock: Clock | None = None
    decimals: int = 0
    is_dated: bool = False

    @property
    def is_number(self) -> bool:
        """Whether the column's type, not its content, makes it numbers."""
        return self.type in _NUMBERS or self.type.startswith("DECIMAL")

    @property
    def is_time(self) -> bool:
        """Whether the column's type makes it times."""
        return self.type == "DATE" or self.type.startswith("TIMESTAMP")

    @property
    def written(self) -> str:
        """The cell as VARCHAR, whole numbers without decimals, NULL where the cell is null or NaN."""
        if self.type == "VARCHAR":
            return self.sql
        if self.type in _FRACTIONS:
            whole = f"{self.sql} = trunc({self.sql}) AND abs({self.sql}) < {_EXACT['DOUBLE']}"
            return (
                f"CASE WHEN isnan({self.sql}) THEN NULL WHEN {whole} THEN CAST(CAST({self.sql} AS BIGINT) AS VARCHAR) "
                f"ELSE CAST({self.sql} AS VARCHAR) END"
            )
        if self.type == "JSON" or self.type.startswith(("STRUCT", "MAP")) or self.type.endswith("]"):
            return f"CAST(to_json({self.sql}) AS VARCHAR)"
        return f"CAST({self.sql} AS VARCHAR)"

    def at(self, time: Cell) -> Cell:
        """The moment whose day this cell holds, and whose time of day another: NULL where either is missing."""
        day = f"CAST(CAST({self.sql} AS DATE) AS VARCHAR)" if self.is_time else self.text
        both = f"CASE WHEN {time.present} THEN {day} || ' ' || {time.written} END"
        return Cell(self.name, f"({both})", "VARCHAR", missing=self.missing, is_dated=True)

    @property
    def text(self) -> str:
        """The cell as VARCHAR, NULL where it is blank, or what the TOML says means missing."""
        blank = f"trim({self.written}) = ''" if not self.missing else is_marker(self.written, self.missing)
        return f"CASE WHEN {blank} THEN NULL ELSE {self.written} END"

    @property
    def id(self) -> str:
        """The cell as an id: trimmed, whole numbers without decimals, NULL where it is blank or says that it is missing."""
        missing = is_marker(self.written, NO_ID if self.missing is None else self.missing)
        return f"CASE WHEN {missing} OR {self.rounded} THEN NULL ELSE {self.named} END"

    @property
    def named(self) -> str:
        """The cell as VARCHAR, trimmed, whole numbers without the decimals that its column gives all of them."""
        trimmed = f"trim({self.written})"
        if self.type.startswith("DECIMAL"):
            return f"regexp_replace({trimmed}, '[.]0+$', '')"
        return f"split_part({trimmed}, '.', 1)" if self.decimals else trimmed

    @property
    def rounded(self) -> str:
        """BOOLEAN: the cell holds a number whose last digits are lost: so large a fraction, or `1.23457E+11` of a spreadsheet."""
        if self.type == "VARCHAR":
            return f"coalesce(regexp_full_match({self.sql}, {literal(_SHORTENED)}), FALSE)"
        return f"coalesce(abs({self.sql}) >= {_EXACT[self.type]}, FALSE)" if self.type in _EXACT else "FALSE"

    @property
    def present(self) -> str:
        """BOOLEAN: the cell holds something, a number perhaps."""
        if self.type in _FRACTIONS and not self.missing and not self.is_dated:
            return f"coalesce(NOT isnan({self.sql}), FALSE)"
        if self.is_number and not self.missing and not self.is_dated:
            return f"{self.sql} IS NOT NULL"
        return f"coalesce(NOT {self.absent}, FALSE)"

    @property
    def absent(self) -> str:
        """BOOLEAN: the cell is blank or says that it is missing; NULL where it is null."""
        if self.missing is not None or not self.is_dated:
            return is_marker(self.written, MARKERS if self.missing is None else self.missing)
        return is_marker(self.written, TIMES, DATES)

    @property
    def filled(self) -> str:
        """BOOLEAN: the cell is not blank; unlike `present`, "NA" and "none" count."""
        return f"coalesce(trim({self.written}) <> '', FALSE)"

    @property
    def number(self) -> str:
        """The cell as a finite DOUBLE, NULL where it is missing, infinite or no number."""
        if self.missing:
            return f"CASE WHEN {self.present} THEN {replace(self, missing=None).number} END"
        if self.is_number:
            value = f"CAST({self.sql} AS DOUBLE)"
            if self.type not in _FRACTIONS:
                return value
            # Parquet's statistics leave NaN out, and DuckDB drops a comparison that they make always true.
            return f"CASE WHEN isfinite({value}) AND abs({value}) <= {FLOAT32} THEN {value} END"
        if self.type == "BOOLEAN":
            return f"CAST({self.sql} AS DOUBLE)"
        if self.parsed is not None:
            return f"CASE WHEN abs({self.parsed}) <= {FLOAT32} THEN {self.parsed} END"
        # DuckDB's cast also takes digits grouped by underscores, which no other reader does.
        value = f"TRY_CAST(trim({self.written}) AS DOUBLE)"
        return f"CASE WHEN abs({value}) <= {FLOAT32} AND NOT contains({self.written}, '_') THEN {value} END"

    @property
    def infinite(self) -> str:
        """BOOLEAN: the cell is ±inf, or beyond what a float32 holds."""
        if self.is_number:
            value = f"CAST({self.sql} AS DOUBLE)"
            return f"coalesce(NOT isnan({value}) AND abs({value}) > {FLOAT32}, FALSE)"
        if self.type == "BOOLEAN":
            return "FALSE"
        value = self.parsed or f"TRY_CAST(trim({self.written}) AS DOUBLE)"
        return f"coalesce(abs({value}) > {FLOAT32} AND NOT isnan({value}), FALSE)"

    @property
    def junk(self) -> str:
        """BOOLEAN: the cell holds something that is no number."""
        if self.is_number or self.type == "BOOLEAN":
            return "FALSE"
        return f"({self.present} AND {self.number} IS NULL AND NOT {self.infinite})"

    @property
    def condition(self) -> str:
        """The cell as BOOLEAN: true and false, or a number other than zero."""
        if self.type == "BOOLEAN":
            return self.sql
        if self.is_number:
            return f"({self.number} <> 0)"
        return truth_sql(self.written)

    @property
    def truth(self) -> str:
        """The cell as BOOLEAN: yes and no in any spelling, 1 and 0; NULL for all else."""
        return self.sql if self.type == "BOOLEAN" else truth_sql(self.written)

    def means(self, value: str | bool | int | float | Filled) -> str:
        """BOOLEAN: the cell is the value that the TOML names, however the file's format writes it."""
        if isinstance(value, Filled):
            return self.present
        if isinstance(value, bool):
            return f"{self.truth} = {value}"
        if not isinstance(value, str):
            return f"{self.number} = {float(value)!r}"
        same = f"{self.written} = {literal(word(value))}"
        meant = truth(word(value))
        if meant is not None and (self.type == "BOOLEAN" or self.parsed is not None):
            return f"({same} OR coalesce({self.truth} = {meant}, FALSE))"
        try:
            return f"({same} OR coalesce({self.number} = {float(value)!r}, FALSE))"
        except ValueError:
            return same

    def time(self, format: str | None = None) -> str:
        """The cell as TIMESTAMPTZ, NULL where it is no time; without zone it is in the connection's `TimeZone`.

        `format` is strptime's, or names a clock; without one, numbers are times by the column's own clock.
        """
        if self.is_dated:
            return f"CASE WHEN {self.present} THEN {replace(self, is_dated=False).time(format)} END"
        if self.is_time:
            return f"TRY_CAST({self.sql} AS TIMESTAMPTZ)"
        clock = self.clock if format is None else clock_of(format)
        if clock is not None:
            return clock.sql(self.number)
        if format is not None:
            return f"CAST(try_strptime(trim({self.written}), {literal(format)}) AS TIMESTAMPTZ)"
        # Unguarded, the cast takes words such as 'epoch' and 'infinity' as times.
        trimmed = f"trim({self.written})"
        return (
            f"CASE WHEN regexp_matches({trimmed}, '^[0-9]{{4}}[-/][0-9]') THEN TRY_CAST({trimmed} AS TIMESTAMPTZ) END"
        )

    @property
    def json(self) -> str:
        """The cell as a value for json_object; JSON has no NaN and no infinity."""
        if self.type in _FRACTIONS:
            return (
                f"CASE WHEN isfinite({self.sql}) THEN to_json({self.sql}) ELSE to_json(CAST({self.sql} AS VARCHAR)) END"
            )
        return f"to_json({self.raw or self.sql})"

    @property
    def columns(self) -> str:
        """The names that the cell's SQL needs, for a SELECT."""
        return ", ".join(dict.fromkeys(name for name in (self.sql, self.raw, self.parsed) if name))


def cleaned(cells: Sequence[Cell], untidy: Collection[str] | None = None) -> tuple[tuple[Cell, ...], str]:
    """The cells of texts that are cleaned as `features.words` says, and the SELECT list that makes them from `cells`.

    `untidy` names those that hold something to be cleaned; None: any may.
    """
    clean: list[Cell] = []
    selected: list[str] = []
    for cell in cells:
        if cell.type != "VARCHAR" or not (untidy is None or cell.name in untidy):
            clean.append(cell)
            selected.append(cell.sql)
            continue
        clean.append(replace(cell, raw=f"raw_{cell.sql}"))
        selected += [f"{cell.sql} AS raw_{cell.sql}", f"{word_sql(cell.sql)} AS {cell.sql}"]
    return tuple(clean), ", ".join(selected)
