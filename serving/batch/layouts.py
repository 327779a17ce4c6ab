"""How a file that others bring is written: as the build's own files are, or plainly; another way is refused, not guessed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from features.config.business import Written
from features.errors import IngestError
from features.ingestion import csv_reader, encodings
from features.ingestion.cells.number_styles import NumberStyle
from features.ingestion.column_reading import Evidence, Execute, Reading, evidence, marks
from features.ingestion.csv_reader import Dialect
from features.ingestion.encodings import UTF, WESTERN, normal
from features.ingestion.files import Relation

_STRAY = 0.05
"""Of a column's numbers at most so many may be written otherwise; more, and nobody knows what the others mean."""


def written_as(path: Path, wanted: Collection[str], said: Dialect) -> tuple[tuple[str, ...], Dialect]:
    """A CSV's columns and dialect: whichever of a plain file's and what the TOML has `said` finds most of what is `wanted`.

    Raises:
        IngestError: it is neither.
    """
    tried: dict[Dialect, csv_reader.Layout] = {}
    failed: list[IngestError] = []
    for encoding in _encodings(path, said):
        for skip_lines in (0, said.skip_lines):
            for delimiter in (None, said.delimiter):
                dialect = Dialect(delimiter, encoding, skip_lines)
                if dialect in tried:
                    continue
                try:
                    tried[dialect] = csv_reader.layout(path, dialect)
                except IngestError as error:
                    failed.append(error)
    if not tried:
        raise failed[0]
    best = max(tried, key=lambda dialect: len(set(tried[dialect].header) & set(wanted)))
    if not said.columns or set(tried[best].header) & {*wanted, *said.columns}:
        return tried[best].header, best
    # No line names a column, so that it has none of its own, and what the TOML says of such files must hold of this one.
    own = max((one for one in tried if one.skip_lines == said.skip_lines), key=lambda one: len(tried[one].header))
    cells = len(tried[own].header)
    if cells != len(said.columns):
        raise IngestError(
            f"{path}: the file has no header, and {cells} cells in a line where [data] columns names {len(said.columns)}; "
            "give it a header, or all cells, blank where nothing is known."
        )
    return said.columns, replace(own, columns=said.columns)


def _encodings(path: Path, said: Dialect) -> tuple[str | None, ...]:
    """Those to try, the likeliest first; None: what the file itself says."""
    if said.encoding is None:
        return (None,)
    found = encodings.encoding_of(path)
    name = normal(said.encoding)
    if found in UTF and name != found:
        return (None, said.encoding)
    if found in WESTERN and name in WESTERN and name != found:
        raise IngestError(
            f"{path}: the file seems to be {WESTERN[found]} text, but [data] encoding says {said.encoding!r}; save it as UTF-8."
        )
    return (said.encoding, None)


def file_readings(
    execute: Execute, relation: Relation, names: Collection[str], written: Written, built: Mapping[str, Reading]
) -> dict[str, Reading]:
    """How the number columns `names` of a file are read: as the build read its own (`built`), or with a decimal point.

    Raises:
        IngestError: they are written in a third way, or so that nothing tells which it is.
    """
    cells = [cell for cell in relation.cells if cell.name in names]
    found = evidence(execute, relation, cells, written)
    signs, unclear = _signs(execute, relation, found)
    styles = {name: reading.style for name, reading in built.items() if reading.style is not None}
    commas = bool(styles) and all(style.decimal == "," for style in styles.values())
    # What has no style held whole numbers alone: whatever it holds here is written as the build's other columns are.
    own = {name: styles[name].decimal if name in styles else (signs[name] or "," if commas else ".") for name in found}
    odd = [name for name, sign in signs.items() if sign not in (None, own[name])]
    is_plain = "," not in signs.values()
    if odd and not is_plain:
        name = next((name for name in odd if signs[name] == ","), odd[0])
        raise IngestError(
            f"{_shown(execute, relation, name)} is written with {signs[name]!r} before decimals, where the build's files have "
            f"{own[name]!r}; write the file as those are, or with '.' throughout."
        )
    for name, one in found.items():
        if min(one.only_point, one.only_comma) > _STRAY * one.present:
            raise IngestError(f"{_shown(execute, relation, name)} is written with '.' and with ',' before decimals.")
        could_be_plain = not odd and own[name] == "," and "." in signs.values() and is_plain
        could_be_comma = not styles and "." not in signs.values() and name in unclear and unclear[name]
        if name in unclear and (could_be_plain or could_be_comma):
            raise IngestError(
                f"{_shown(execute, relation, name)} may have '.' or ',' before decimals, and nothing tells which; write the "
                "file as the build's are, or without signs between thousands."
            )
    return {
        name: reading
        for name, one in found.items()
        if (reading := _reading(one, "." if odd else own[name], None if odd else built.get(name))) is not None
    }


def _reading(one: Evidence, sign: str, built: Reading | None) -> Reading | None:
    """How a column with this decimal sign is read; None: plainly."""
    if built is not None and built.style is not None:
        return built
    return Reading(NumberStyle(sign)) if sign == "," or one.point > one.plain else None


def _signs(
    execute: Execute, relation: Relation, found: Mapping[str, Evidence]
) -> tuple[dict[str, str | None], dict[str, bool]]:
    """The decimal sign of each column, None where none is sure; and of these the ones that mean another number with the other.

    For them, whether it is a comma that could be either.
    """
    signs: dict[str, str | None] = {}
    for name, one in found.items():
        more = one.only_comma - one.only_point
        signs[name] = "," if more > 0 else "." if more < 0 else None
    cells = [cell for cell in relation.cells if signs.get(cell.name, "") is None]
    unclear: dict[str, bool] = {}
    for cell, (dots, grouped, commas) in zip(cells, marks(execute, relation, cells), strict=True):
        if dots > grouped:
            signs[cell.name] = "."
        elif dots or commas:
            unclear[cell.name] = commas > 0
    return signs, unclear


def _shown(execute: Execute, relation: Relation, name: str) -> str:
    """The column, and what it holds, for a message."""
    cell = relation.cell(name, "the model")
    rows = execute(
        "Looking at columns",
        f"SELECT {cell.written} FROM {relation.sql} WHERE regexp_matches({cell.written}, '[.,]') LIMIT 3",
    ).fetchall()
    return f"{relation.path}: the column {name!r} ({', '.join(row[0] for row in rows)})"
