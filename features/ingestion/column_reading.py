"""How a source's columns write numbers and times: decided a column from all of its values, unless the TOML says it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from features.config.business import Written
from features.generation import BUILD_AGAIN
from features.home import read_json
from features.ingestion.cells.casts import Cell, literal
from features.ingestion.cells.clocks import CLOCKS
from features.ingestion.cells.number_styles import DECIMALS, NumberStyle, currency, western
from features.ingestion.files import ROW, Relation

MOSTLY: Final = 0.95  # of a column's values are numbers: the others are junk, not categories
_CATEGORIES: Final = 20  # with no more distinct numbers than this, "mostly" proves nothing
_MAJORITY: Final = 0.5
_AT_ONCE: Final = 50  # columns per query: planning takes time in the square of them
_SHOWN: Final = 5
_HEAD: Final = 10_000  # rows that tell of most columns how they write numbers
READINGS: Final = "readings.json"
_GROUPED: Final = "'[1-9][0-9]{0,2}([.][0-9]{3})+'"
"""Either a number with decimals or one whose thousands are parted by dots: only other columns can tell."""

Execute = Callable[[str, str], Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of a text column: how many values there are, how many read as numbers and how, how many as yes or no.

    `only_point` and `only_comma` read with that decimal sign and not with the other. `marked` say that they are missing.
    """

    present: int
    plain: int
    marked: int
    distinct: int
    point: int = 0
    comma: int = 0
    only_point: int = 0
    only_comma: int = 0
    truths: int = 0

    @property
    def decimal(self) -> str | None:
        """The decimal sign, where numbers are not all plain; `.` where both would do."""
        if max(self.point, self.comma) <= self.plain:
            return None
        return "," if self.only_comma > self.only_point else "."

    @property
    def is_sure(self) -> bool:
        """Whether some value reads with one decimal sign alone."""
        return self.only_comma != self.only_point

    @property
    def is_truths(self) -> bool:
        """Whether all values say yes or no, and not all of them as numbers."""
        return self.truths == self.present > self.plain


@dataclass(frozen=True, slots=True)
class Reading:
    """How one column is read: numbers in a style, yes and no as 1 and 0, numbers as times; `is_sure` if no other way fits."""

    style: NumberStyle | None = None
    truths: bool = False
    clock: str | None = None
    is_sure: bool = True

    def applied(self, cell: Cell) -> Cell:
        """The cell, read so."""
        if self.clock is not None:
            cell = replace(cell, clock=CLOCKS[self.clock])
        if self.style is not None:
            return replace(cell, parsed=f"({self.style.sql(cell.written)})")
        return replace(cell, parsed=f"CAST({cell.truth} AS DOUBLE)") if self.truths else cell

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        style = None if self.style is None else self.style.to_json()
        return {"style": style, "truths": self.truths, "clock": self.clock, "is_sure": self.is_sure}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reading:
        """From the JSON of `to_json`."""
        return cls(**{**data, "style": None if data["style"] is None else NumberStyle(**data["style"])})


PLAIN: Final = Reading()


def told(readings: Mapping[str, Reading]) -> tuple[tuple[str, str], ...]:
    """Readings as a manifest keeps them, plain ones aside."""
    return tuple((name, json.dumps(one.to_json())) for name, one in sorted(readings.items()) if one != PLAIN)


def write_readings(folder: Path, readings: Mapping[str, Reading]) -> None:
    """Keep how a build read its columns, for files that are read as it was."""
    content = {name: one.to_json() for name, one in sorted(readings.items())}
    (folder / READINGS).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def load_readings(folder: Path) -> dict[str, Reading]:
    """How the build at `folder` read its columns, those that are written plainly aside."""
    try:
        return read_json(
            folder / READINGS,
            lambda content: {name: Reading.from_json(one) for name, one in content.items()},
            BUILD_AGAIN,
        )
    except FileNotFoundError:  # the build of an earlier version
        return {}


def with_missing(relation: Relation, written: Written) -> Relation:
    """The relation whose cells are missing where the TOML says so."""
    return replace(relation, cells=tuple(replace(cell, missing=written.missing) for cell in relation.cells))


def evidence(execute: Execute, relation: Relation, cells: Sequence[Cell], written: Written) -> dict[str, Evidence]:
    """What the text columns among `cells` hold, by name."""
    texts = [cell for cell in cells if not (cell.is_number or cell.is_time or cell.type == "BOOLEAN")]
    found: dict[str, Evidence] = {}
    for chunk in _chunks(texts):
        counts = ", ".join(
            f"count(*) FILTER ({cell.number} IS NOT NULL OR {cell.infinite}), approx_count_distinct({cell.number}), "
            f"count(*) FILTER ({cell.number} IS NULL AND NOT {cell.infinite} AND {cell.filled})"
            for cell in chunk
        )
        row = execute("Looking at columns", f"SELECT {counts} FROM {relation.sql}").fetchall()[0]
        for at, cell in enumerate(chunk):
            plain, distinct, others = (count or 0 for count in row[3 * at : 3 * at + 3])
            found[cell.name] = Evidence(plain, plain, 0, distinct)
            if others:
                found[cell.name] = _looked_at(execute, relation, cell, written)
    return found


def _looked_at(execute: Execute, relation: Relation, cell: Cell, written: Written) -> Evidence:
    """What a column holds that is not all plain numbers; each value is matched once, however often it comes."""
    value = replace(cell, sql="value", type="VARCHAR", raw="")
    point, comma = (NumberStyle(sign, written.thousands) for sign in DECIMALS)
    values = f"SELECT {cell.written} AS value, count(*) AS times FROM {relation.sql} GROUP BY 1"
    seen = (
        f"SELECT value, times, {value.present} AS x, {value.number} AS number, "
        f"x AND (number IS NOT NULL OR {value.infinite}) AS n, "
        f"CASE WHEN n THEN TRUE WHEN x THEN {point.matches('value')} END AS p, "
        f"CASE WHEN n AND NOT contains(value, '.') THEN TRUE WHEN x THEN {comma.matches('value')} END AS c, "
        f"{value.filled} AND {value.absent} AS marked, CASE WHEN x THEN {value.truth} IS NOT NULL END AS t "
        f"FROM ({values})"
    )
    counted = ("x", "n", "marked", "p", "c", "p AND NOT c", "c AND NOT p", "t")
    counts = ", ".join(f"CAST(coalesce(sum(times) FILTER ({one}), 0) AS BIGINT)" for one in counted)
    distinct = "approx_count_distinct(number), approx_count_distinct(CASE WHEN p OR c THEN value END)"
    row = execute("Looking at columns", f"SELECT {counts}, {distinct} FROM ({seen})").fetchall()[0]
    present, plain, marked, points, commas, only_point, only_comma, truths, *numbers = row
    return Evidence(present, plain, marked, max(numbers), points, commas, only_point, only_comma, truths)


def number_readings(
    execute: Execute, relation: Relation, cells: Sequence[Cell], written: Written, found: Mapping[str, Evidence]
) -> dict[str, Reading]:
    """How the numbers of `cells` are read, by name; a column that fits both ways follows the others of its source."""
    said = written.decimal_sign
    if said is not None:
        style = Reading(NumberStyle(said, written.thousands))
        return {name: Reading(truths=True) if one.is_truths else style for name, one in found.items()}
    signs = {one.decimal for one in found.values() if one.is_sure and one.decimal is not None and is_number(one)}
    readings: dict[str, Reading] = {}
    for name, one in found.items():
        if one.is_truths:
            readings[name] = Reading(truths=True)
        elif one.decimal is not None:
            sign = one.decimal if one.is_sure or signs != {","} else ","
            readings[name] = Reading(NumberStyle(sign), is_sure=one.is_sure)
    plain = [cell for cell in cells if cell.name in found and cell.name not in readings]
    if not signs:
        readings |= dict.fromkeys(_either(execute, relation, plain), Reading(NumberStyle("."), is_sure=False))
    if signs == {","} and plain:
        for cell, (dots, grouped, _) in zip(plain, marks(execute, relation, plain), strict=True):
            if 0 < dots == grouped:
                readings[cell.name] = Reading(NumberStyle(","), is_sure=False)
    return readings


def _either(execute: Execute, relation: Relation, cells: Sequence[Cell]) -> list[str]:
    """The columns of plain numbers whose dots may all stand between thousands, and of which none has four digits without one."""
    head = replace(relation, sql=f"(SELECT * FROM {relation.sql} WHERE {ROW} <= {_HEAD})")
    for part in (head, relation):
        counted = marks(execute, part, cells)
        cells = [cell for cell, (dots, grouped, _) in zip(cells, counted, strict=True) if 0 < dots == grouped]
    ungrouped = [f"bool_or(abs({cell.number}) >= 1000 AND NOT contains({cell.written}, '.'))" for cell in cells]
    if not cells:
        return []
    row = execute("Looking at columns", f"SELECT {', '.join(ungrouped)} FROM {relation.sql}").fetchall()[0]
    return [cell.name for cell, is_plain in zip(cells, row, strict=True) if not is_plain]


def marks(execute: Execute, relation: Relation, cells: Sequence[Cell]) -> list[tuple[int, int, int]]:
    """Of each text column, how many values hold a dot, hold dots as those between thousands are, and hold a comma."""
    found: list[tuple[int, int, int]] = []
    for chunk in _chunks(cells):
        counts = ", ".join(
            f"count(*) FILTER (contains({cell.written}, '.')), count(*) FILTER (regexp_full_match({cell.written}, {_GROUPED})), "
            f"count(*) FILTER (contains({cell.written}, ','))"
            for cell in chunk
        )
        row = execute("Looking at columns", f"SELECT {counts} FROM {relation.sql}").fetchall()[0]
        counts_of = [count or 0 for count in row]
        found += [(counts_of[at], counts_of[at + 1], counts_of[at + 2]) for at in range(0, len(row), 3)]
    return found


def is_number(one: Evidence, mostly: bool = True) -> bool:
    """Whether a text column is numbers: all of its values are, or (`mostly`) 95 % are and more than 20 differ."""
    read = max(one.plain, one.point, one.comma)
    return read == one.present or (mostly and read >= MOSTLY * one.present and one.distinct > _CATEGORIES)


def is_nearly_number(one: Evidence) -> bool:
    """Whether most of a column of words are plain numbers, and too many different ones to be categories."""
    return one.plain > _MAJORITY * one.present and one.distinct > _CATEGORIES


def clock_reading(execute: Execute, relation: Relation, cell: Cell) -> Reading:
    """How a column of times is read: plainly, or as numbers of a clock, if 95 % of its values are on that one."""
    if cell.is_time:
        return PLAIN
    comma = NumberStyle(",")
    for style, number in ((None, cell.number), (comma, replace(cell, parsed=f"({comma.sql(cell.written)})").number)):
        counts = ", ".join(f"count(*) FILTER ({clock.sql(number)} IS NOT NULL)" for clock in CLOCKS.values())
        plain = "0" if cell.is_number else f"count(*) FILTER ({cell.time()} IS NOT NULL)"
        present, dated, *rest = execute(
            "Looking at columns", f"SELECT count(*) FILTER ({cell.present}), {plain}, {counts} FROM {relation.sql}"
        ).fetchall()[0]
        for clock, count in zip(CLOCKS.values(), rest, strict=True):
            if count > dated and count >= MOSTLY * present:
                return Reading(style, clock=clock.name)
        if dated or cell.is_number or not present:
            break
    return PLAIN


def applied(relation: Relation, readings: Mapping[str, Reading]) -> Relation:
    """The relation with its columns read so; each is parsed once, however often it is asked for."""
    more: list[str] = []
    cells: list[Cell] = []
    for position, cell in enumerate(relation.cells):
        read = readings.get(cell.name, PLAIN).applied(cell)
        if read.parsed is not None and read.parsed != cell.parsed:
            more.append(f"{read.parsed} AS parsed{position}")
            read = replace(read, parsed=f"parsed{position}")
        cells.append(read)
    sql = f"(SELECT *, {', '.join(more)} FROM {relation.sql})" if more else relation.sql
    return replace(relation, sql=sql, cells=tuple(cells))


def notes(
    execute: Execute,
    relation: Relation,
    names: Collection[str],
    marked: Collection[str],
    readings: Mapping[str, Reading],
    where: str,
) -> list[str]:
    """What a user should know of how these columns of an `applied` relation are read; `where` is the TOML's table.

    `marked` may hold what counts as missing.
    """
    said: list[str] = []
    for cell in relation.cells:
        if cell.name not in names:
            continue
        reading = readings.get(cell.name, PLAIN)
        column = f"{relation.path.name}: column {cell.name!r}"
        if reading.clock is not None:
            said.append(f"{column} is read as {CLOCKS[reading.clock].said}.")
        if reading.style is not None and reading.clock is None:
            example, has_signs = _example(execute, relation, cell)
            doubt = "" if reading.is_sure or not has_signs else f" Both signs fit; {where} decimal says which it is."
            said.append(f"{column} is read with {reading.style.decimal!r} before decimals{example}.{doubt}")
            said += [f"{column}: {one}." for one in _ornaments(execute, relation, cell)]
        if (
            cell.name not in marked
            or cell.type == "BOOLEAN"
            or (not cell.is_dated and (cell.is_number or cell.is_time))
        ):
            continue
        absent = counted(execute, relation, cell, f"{cell.filled} AND {cell.absent}")
        if absent:
            said.append(f"{column}: {absent} counts as missing; {where} missing lists what does.")
    return said


def _example(execute: Execute, relation: Relation, cell: Cell) -> tuple[str, bool]:
    """How the column's most dressed number is read, and whether a sign that may stand before decimals is in any."""
    plain = f"TRY_CAST({cell.written} AS DOUBLE) IS NOT NULL"
    rows = execute(
        "Looking at columns",
        f"SELECT {cell.written}, {cell.number}, bool_or(regexp_matches({cell.written}, '[.,．，٫٬]')) OVER () FROM {relation.sql} "
        f"WHERE {cell.number} IS NOT NULL ORDER BY {plain}, length({cell.written}) DESC, 1 LIMIT 1",
    ).fetchall()
    return "".join(f", so that {written!r} is {number:.15g}" for written, number, _ in rows), any(
        row[2] for row in rows
    )


def _ornaments(execute: Execute, relation: Relation, cell: Cell) -> list[str]:
    """What stands beside the column's numbers, where that is not the same in all."""
    said: list[str] = []
    money = f"nullif(upper({currency(cell.written)}), '')"
    count, percents, signs = execute(
        "Looking at columns",
        f"SELECT count(*), count(*) FILTER (contains({western(cell.written)}, '%')), "
        f"list(DISTINCT {money} ORDER BY {money}) FILTER ({money} IS NOT NULL) FROM {relation.sql} WHERE {cell.number} IS NOT NULL",
    ).fetchall()[0]
    if signs is not None and len(signs) > 1:
        said.append(f"{', '.join(map(repr, signs[:_SHOWN]))} are left out, and nothing is converted")
    if 0 < percents < count:
        said.append(f"{percents:,} of {count:,} numbers have a %, and are hundredths; the others are not")
    return said


def junk_notes(execute: Execute, relation: Relation, cells: Sequence[Cell]) -> list[str]:
    """A sentence for each of these number columns that holds what is no finite number."""
    asked = [
        cell for cell in cells if not (cell.type != "VARCHAR" and cell.junk == "FALSE" and cell.infinite == "FALSE")
    ]
    said: list[str] = []
    for chunk in _chunks(asked):
        counts = ", ".join(f"count(*) FILTER ({cell.junk} OR {cell.infinite})" for cell in chunk)
        row = execute("Looking at columns", f"SELECT {counts} FROM {relation.sql}").fetchall()[0]
        for cell, count in zip(chunk, row, strict=True):
            if count:
                shown = counted(execute, relation, cell, f"({cell.junk} OR {cell.infinite})")
                said.append(
                    f"{relation.path.name}: column {cell.name!r}: {shown} is no finite number and counts as missing."
                )
    return said


def counted(execute: Execute, relation: Relation, cell: Cell, condition: str) -> str:
    """The commonest values of which something holds, with how often; empty where there are none."""
    rows = execute(
        "Looking at columns",
        f"SELECT {cell.written}, count(*), count(*) OVER () FROM {relation.sql} WHERE {condition} "
        f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_SHOWN}",
    ).fetchall()
    more = f" and {rows[0][2] - _SHOWN:,} others" if rows and rows[0][2] > _SHOWN else ""
    return ", ".join(f"{literal(value)} ({count:,})" for value, count, _ in rows) + more


def _chunks(cells: Sequence[Cell]) -> list[Sequence[Cell]]:
    return [cells[start : start + _AT_ONCE] for start in range(0, len(cells), _AT_ONCE)]
