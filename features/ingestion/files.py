"""Data files as one relation in DuckDB, whatever their format: CSV, CSV.gz, Parquet, a folder or a glob of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.errors import IngestError
from features.ingestion import csv_reader
from features.ingestion.cells.casts import Cell, cleaned, literal, quoted
from features.ingestion.cells.whole_ids import with_decimals
from features.ingestion.csv_reader import Dialect, instead
from features.ingestion.quarantine import BadLine, raw_row
from features.ingestion.source_files import Progress, find, unread
from features.reasons import Reason
from features.words import is_untidy_sql, word

# Columns that every relation has beside its own: the file's position (from 0), the line in it, the row in all files.
FILE, LINE, ROW = "file_position", "line_number", "row_position"
NOT_UTF8: Final = "Invalid string encoding"
"""What DuckDB says of Parquet whose text is not UTF-8; `read` with `check_text` then finds the rows."""
_OWN: Final = "c"
_ROWS: Final = 1 << 16
_AT_ONCE: Final = 50  # columns per query: planning takes time in the square of them


class Format(StrEnum):
    """How a file is written, by its content."""

    CSV = "CSV"
    PARQUET = "Parquet"


@dataclass(frozen=True, slots=True)
class Relation:
    """The rows of a source: `sql` is what stands after FROM; `bad` the same for lines that are no rows."""

    path: Path
    files: tuple[Path, ...]
    sql: str
    cells: tuple[Cell, ...]
    rows: int  # bad lines included
    bad: str | None = None  # SQL with columns file_position, line_number, row_position, reason, raw
    notes: tuple[str, ...] = ()  # what was found out of how the files are written
    dialect: Dialect | None = None  # of CSV

    def cell(self, name: str, key: str) -> Cell:
        """The column `name`, which `key` of the TOML names.

        Raises:
            IngestError: the files have no such column.
        """
        for cell in self.cells:
            if cell.name == word(name):
                return cell
        raise IngestError(f"{self.path}: there is no column {name!r}, which {key} names{self._instead(name)}")

    def optional(self, name: str | None, canonical: str, key: str) -> Cell | None:
        """The column that `key` names, else the one of the canonical name, else None."""
        if name is not None:
            return self.cell(name, key)
        return next((cell for cell in self.cells if cell.name == canonical), None)

    def required(self, name: str | None, canonical: str, key: str) -> Cell:
        """As `optional`, but one of them must exist."""
        cell = self.optional(name, canonical, key)
        if cell is None:
            instead = self._instead(canonical)
            raise IngestError(f"{self.path}: there is no column {canonical!r}, and {key} names no other{instead}")
        return cell

    def _instead(self, name: str) -> str:
        return instead(self.files[0], self.dialect, name, [cell.name for cell in self.cells])

    @property
    def raw(self) -> str:
        """SQL: the row as a JSON object."""
        return f"json_object({', '.join(f'{literal(cell.name)}, {cell.json}' for cell in self.cells)})"

    @property
    def file_names(self) -> str:
        """SQL: the file's path, by its position."""
        names = ", ".join(literal(str(file)) for file in self.files)
        return f"list_extract([{names}], {FILE} + 1)"


def read(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    dialect: Dialect,
    work: Path,
    progress: Progress,
    check_text: bool = False,
    only: tuple[Path, ...] | None = None,
    *,
    may_be_empty: bool = False,
) -> Relation:
    """Make the files at `path`, or `only` these of them, a relation; CSV is taken apart into Parquet under `work`, Parquet is read where it is.

    `check_text` takes Parquet apart too, so that text which is not UTF-8 becomes bad rows instead of an error.

    Raises:
        IngestError: a file is missing, empty, damaged, or not in a format that is known.
    """
    files = find(path) if only is None else only
    try:
        formats = {file: _format(file) for file in files}
    except OSError as error:
        raise IngestError(f"{path}: the file cannot be read ({error.strerror}).") from None
    if len(set(formats.values())) > 1:
        odd = next(file for file in files if formats[file] is not formats[files[0]])
        raise IngestError(
            f"{path}: {files[0].name} is {formats[files[0]]} but {odd.name} is {formats[odd]}; one at a time."
        )
    if formats[files[0]] is Format.CSV:
        relation = _staged_csv(connection, path, files, dialect, work, progress)
    elif check_text:
        relation = _staged_parquet(connection, path, files, work, progress)
    else:
        relation = _parquet_in_place(connection, path, files)
    if only is None:
        relation = replace(relation, notes=(*relation.notes, *unread(path, files, formats[files[0]])))
    if relation.rows == 0 and not may_be_empty:
        raise IngestError(
            f"{path}: there is a header, but no rows." if len(files) == 1 else f"{path}: there are no rows."
        )
    return relation


def columns(path: Path, dialect: Dialect) -> tuple[str, ...]:
    """The columns of the files at `path`, by their heads alone.

    Raises:
        IngestError: a file is missing, empty, or not in a format that is known.
    """
    names: dict[str, None] = {}
    for file in find(path):
        is_csv = _format(file) is Format.CSV
        own = csv_reader.layout(file, dialect).header if is_csv else _metadata(file).schema.to_arrow_schema().names
        names |= dict.fromkeys(map(word, own))
    return tuple(names)


def _format(file: Path) -> Format:
    with file.open("rb") as stream:
        magic = stream.read(4)
    if magic == b"PAR1":
        return Format.PARQUET
    if not magic:
        raise IngestError(f"{file}: the file is empty.")
    if file.suffix.lower() in (".parquet", ".pq"):
        raise IngestError(f"{file}: this is not a Parquet file, though it is named as one.")
    return Format.CSV


def _distinct(names: Sequence[str], path: Path) -> None:
    seen: dict[str, str] = {}
    for name in names:
        twin = seen.get(word(name).casefold())
        if twin is not None:
            what = (
                f"column {name!r} appears twice"
                if twin == name
                else f"columns {twin!r} and {name!r} differ only in case or blanks"
            )
            raise IngestError(f"{path}: the {what}; rename one, or name all of them in `columns`, with skip_lines = 1.")
        seen[word(name).casefold()] = name


def _parquet_in_place(connection: duckdb.DuckDBPyConnection, path: Path, files: tuple[Path, ...]) -> Relation:
    names: dict[str, None] = {}
    schemas: list[Any] = []
    starts: list[int] = []
    rows = 0
    for file in files:
        metadata = _metadata(file)
        starts.append(rows)
        rows += metadata.num_rows
        schemas.append(metadata.schema.to_arrow_schema())
        _distinct(schemas[-1].names, file)
        names |= dict.fromkeys(schemas[-1].names)
    _distinct(list(names), path)
    for reserved in ("file_index", "file_row_number"):
        if reserved in names:
            raise IngestError(f"{path}: the column name {reserved!r} is reserved; rename the column.")
    columns = ", ".join(f"{_as_text(name, schemas)} AS {_OWN}{position}" for position, name in enumerate(names))
    # hive_partitioning off: a folder named year=2011 adds no column that the files do not have.
    scan = f"read_parquet([{', '.join(literal(str(file)) for file in files)}], union_by_name = true, binary_as_string = true, hive_partitioning = false)"
    first = f"list_extract([{', '.join(map(str, starts))}], file_index::BIGINT + 1)"
    sql = (
        f"(SELECT file_index::BIGINT AS {FILE}, file_row_number + 1 AS {LINE}, file_row_number + 1 + {first} AS {ROW}, "
        f"{columns} FROM {scan})"
    )
    return _relation(connection, path, files, sql, list(names), rows)


def _as_text(name: str, schemas: Sequence[Any]) -> str:
    """SQL of a column; where it is text in some files and fractions in others, whole numbers are written without a point."""
    types = {position: schema.field(name).type for position, schema in enumerate(schemas) if name in schema.names}
    fractions = [position for position, type in types.items() if pa.types.is_floating(type)]
    if not fractions or not any(_is_text(type) for type in types.values()):
        return quoted(name)
    whole = (
        f"file_index::BIGINT IN ({', '.join(map(str, fractions))}) AND abs(TRY_CAST({quoted(name)} AS DOUBLE)) < 1e15"
    )
    return f"CASE WHEN {whole} THEN regexp_replace({quoted(name)}, '[.]0$', '') ELSE {quoted(name)} END"


def _metadata(file: Path) -> Any:
    try:
        with pq.ParquetFile(file) as parquet:
            return parquet.metadata
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise IngestError(f"{file}: this Parquet file is damaged ({_first_line(error)}).") from None


def _relation(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    files: tuple[Path, ...],
    sql: str,
    names: Sequence[str],
    rows: int,
    bad: str | None = None,
) -> Relation:
    """The relation of what `sql` gives, its texts cleaned; as the files have them they are there too, for the quarantine."""
    found = _cells(connection, sql, names, path)
    cells, selected = cleaned(with_decimals(connection.execute, sql, found), _untidy(connection, sql, found))
    return Relation(path, files, f"(SELECT {FILE}, {LINE}, {ROW}, {selected} FROM {sql})", cells, rows, bad)


def _untidy(connection: duckdb.DuckDBPyConnection, sql: str, cells: Sequence[Cell]) -> set[str]:
    """The text columns that hold something to be cleaned: most don't, and what isn't asked for costs no later query time."""
    texts = [cell for cell in cells if cell.type == "VARCHAR"]
    found: set[str] = set()
    for start in range(0, len(texts), _AT_ONCE):
        some = texts[start : start + _AT_ONCE]
        tests = ", ".join(f"bool_or({is_untidy_sql(cell.sql)})" for cell in some)
        row = connection.execute(f"SELECT {tests} FROM {sql}").fetchall()[0]
        found |= {cell.name for cell, is_untidy in zip(some, row, strict=True) if is_untidy}
    return found


def _cells(connection: duckdb.DuckDBPyConnection, sql: str, names: Sequence[str], path: Path) -> tuple[Cell, ...]:
    try:
        types = {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {sql}").fetchall()}
    except duckdb.Error as error:
        raise IngestError(f"{path}: the files cannot be read together ({_first_line(error)}).") from None
    return tuple(
        Cell(word(name), f"{_OWN}{position}", types[f"{_OWN}{position}"]) for position, name in enumerate(names)
    )


def _staged_csv(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    files: tuple[Path, ...],
    dialect: Dialect,
    work: Path,
    progress: Progress,
) -> Relation:
    layouts = [csv_reader.layout(file, dialect) for file in files]
    names: dict[str, int] = {}
    for layout in layouts:
        _distinct(layout.header, layout.path)
        if not set(layout.header) & set(layouts[0].header):
            raise IngestError(
                f"{layout.path}: the first line names none of the columns of {layouts[0].path.name}; if the file has no header, "
                "give it the same, or take it out."
            )
        for name in layout.header:
            names.setdefault(name, len(names))
    _distinct(list(names), path)
    schema = pa.schema([(column, pa.int64()) for column in (FILE, LINE, ROW)])
    for position in range(len(names)):
        schema = schema.append(pa.field(f"{_OWN}{position}", pa.string()))
    sizes = [file.stat().st_size for file in files]
    bad = _BadLines(work)
    rows = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal rows
        for position, layout in enumerate(layouts):
            before = rows
            done = sum(sizes[:position])

            def advance(count: int, done: int = done) -> None:
                progress("Reading", (done + count) / sum(sizes))

            for block in csv_reader.blocks(layout, advance):
                bad.add(position, block.bad, before)
                own = {names[name]: column for name, column in zip(layout.header, block.columns, strict=True)}
                count = len(block.rows)
                rows += count + len(block.bad)
                missing = pa.nulls(count, pa.string())
                arrays = [
                    pa.repeat(position, count).cast(pa.int64()),
                    pa.array(block.lines),
                    pa.array(block.rows + before),
                ]
                arrays += [own.get(index, missing) for index in range(len(names))]
                yield pa.record_batch(arrays, schema=schema)

    sql = _stage(work, schema, batches())
    relation = _relation(connection, path, files, sql, list(names), rows, bad.close())
    return replace(relation, notes=tuple(note for layout in layouts for note in layout.notes), dialect=dialect)


def _staged_parquet(
    connection: duckdb.DuckDBPyConnection, path: Path, files: tuple[Path, ...], work: Path, progress: Progress
) -> Relation:
    """Parquet whose text is not all UTF-8: DuckDB refuses the file, so the bad rows are taken out of it first."""
    total = sum(_metadata(file).num_rows for file in files)
    names = list(dict.fromkeys(name for file in files for name in _metadata(file).schema.to_arrow_schema().names))
    bad = _BadLines(work)
    staged: list[str] = []
    before = 0
    for position, file in enumerate(files):
        with pq.ParquetFile(file) as parquet:
            fields = [
                field.with_name(f"{_OWN}{names.index(field.name)}") for field in map(_decoded, parquet.schema_arrow)
            ]
            schema = pa.schema([*((column, pa.int64()) for column in (FILE, LINE, ROW)), *fields])

            def batches(parquet: Any = parquet, schema: Any = schema, position: int = position) -> Iterator[Any]:
                nonlocal before
                first = before
                for batch in parquet.iter_batches(_ROWS):
                    wrong = _not_utf8(batch)
                    start = before - first + 1
                    for index in wrong:
                        cells = [_python(column[index]) for column in batch.columns]
                        raw = raw_row(batch.schema.names, cells)
                        bad.add(position, [BadLine(start + index, before + index + 1, Reason.BAD_UTF8, raw)], 0)
                    lines = pa.array(range(start, start + len(batch)), pa.int64())
                    keep = pa.array([index for index in range(len(batch)) if index not in wrong], pa.int64())
                    numbers = [pa.repeat(position, len(batch)).cast(pa.int64()), lines, pc.add(lines, first)]
                    columns = [column.take(keep) for column in [*numbers, *batch.columns]]
                    yield pa.record_batch(
                        [column.cast(field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
                    )
                    before += len(batch)
                    progress("Reading", before / total)

            staged.append(_stage(work, schema, batches()))
    sql = f"({' UNION ALL BY NAME '.join(f'SELECT * FROM {part}' for part in staged)})"
    return _relation(connection, path, files, sql, names, total, bad.close())


def _python(value: Any) -> object:
    """A cell as Python has it; bytes, where it is text, for that may be no UTF-8."""
    if _is_text(value.type):
        return value.cast(pa.binary()).as_py()
    try:
        return value.as_py()
    except (OverflowError, ValueError):  # a time beyond Python's
        return value.cast(pa.string()).as_py()


def _is_text(type: Any) -> bool:
    return bool(pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_binary(type))


def _decoded(field: Any) -> Any:
    return field.with_type(pa.string()) if _is_text(field.type) else field


def _not_utf8(batch: Any) -> set[int]:
    wrong: set[int] = set()
    for column in batch.columns:
        if not _is_text(column.type):
            continue
        content = column.cast(pa.binary())
        try:
            content.cast(pa.string())
        except pa.ArrowInvalid:
            for index, value in enumerate(content.to_pylist()):
                try:
                    (value or b"").decode()
                except UnicodeDecodeError:
                    wrong.add(index)
    return wrong


class _BadLines:
    """Bad lines on their way to the quarantine, on disk: there may be as many as there are rows."""

    def __init__(self, work: Path) -> None:
        self._file = _new_file(work)
        self._writer: Any = None
        self._pending: list[dict[str, object]] = []

    def add(self, position: int, lines: Sequence[BadLine], before: int) -> None:
        """Lines of the file at `position`, `before` whose rows came so many of others."""
        self._pending += [
            {FILE: position, LINE: line.line, ROW: before + line.row, "reason": str(line.reason), "raw": line.raw}
            for line in lines
        ]
        if len(self._pending) >= _ROWS // 16:
            self._write()

    def close(self) -> str | None:
        if self._pending:
            self._write()
        if self._writer is None:
            return None
        self._writer.close()
        return f"read_parquet({literal(str(self._file))})"

    def _write(self) -> None:
        numbers = [(name, pa.int64()) for name in (FILE, LINE, ROW)]
        schema = pa.schema([*numbers, ("reason", pa.string()), ("raw", pa.string())])
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, schema, compression="lz4")
        self._writer.write_table(pa.Table.from_pylist(self._pending, schema))
        self._pending = []


def _new_file(work: Path) -> Path:
    descriptor, name = tempfile.mkstemp(".parquet", "staged", work)
    os.close(descriptor)
    return Path(name)


def _stage(work: Path, schema: Any, batches: Iterator[Any]) -> str:
    """Write batches to a Parquet file under `work`; the SQL that reads it."""
    file = _new_file(work)
    with pq.ParquetWriter(file, schema, compression="lz4", use_dictionary=[FILE]) as writer:
        pending: list[Any] = []
        for batch in batches:
            pending.append(batch)
            if sum(map(len, pending)) >= _ROWS:
                writer.write_table(pa.Table.from_batches(pending, schema))
                pending = []
        writer.write_table(pa.Table.from_batches(pending, schema))
    return f"read_parquet({literal(str(file))})"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
