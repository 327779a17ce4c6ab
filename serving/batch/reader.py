"""Files of customers that others bring: rows in their order, parsed as the build parsed its own, bad ones with why."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.config.business import Business, CustomersSource, EventsData, TableData, Written
from features.config.suggestions import near_matches
from features.errors import IngestError
from features.ingestion import files
from features.ingestion.cells.casts import Cell, literal
from features.ingestion.cells.truths import truth
from features.ingestion.column_reading import Execute, Reading, applied, with_missing
from features.ingestion.csv_reader import Dialect, header_below
from features.ingestion.files import LINE, ROW, Relation
from features.ingestion.staging import WIDE
from features.schema import Column, DType, FeatureSchema
from features.words import word
from serving.batch.layouts import file_readings, written_as
from serving.errors import CommandError
from serving.platform.progress import Bar, progress

CSV_ENDINGS = (".csv", ".csv.gz")
PARQUET_ENDINGS = (".parquet", ".pq")
CUSTOMER_ID = "customer_id"
CHUNK = 8192
"""Rows that are scored at a time."""
_NO_ID = "no customer_id"
_MEMORY = "2GB"


@dataclass(frozen=True, slots=True)
class Customers:
    """Some rows of a file in its order: where `errors` is not None, the row is bad and its features are missing.

    `columns` are features by name: arrays of float32 with NaN, or lists of words with None.
    """

    ids: list[str | None]
    columns: Mapping[str, Column]
    errors: list[str | None]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class FileRows:
    """Some rows of a file, parsed: a column `id`, `error` (None: good), and of the n-th feature `f<n>`.

    `w<n>` is what stands there where a number is none.
    """

    table: pa.Table
    first: int
    """The number of the first row, from 1."""


@dataclass(frozen=True, slots=True)
class CustomerFile:
    """A CSV or Parquet file with customers' ids and, for a table business, their columns."""

    path: Path
    names: tuple[str, ...]
    dialect: Dialect
    """Of a CSV."""

    @classmethod
    def open(cls, path: Path, wanted: Collection[str], written: Written | None = None) -> CustomerFile:
        """Look at the file's head; `written` is how the TOML says that the build's files are.

        Raises:
            CommandError: there is no such file, or its ending is none that is known.
            IngestError: the file is empty, damaged, or not what its ending says.
        """
        check(path)
        if ending(path) in PARQUET_ENDINGS:
            try:
                names = pq.read_schema(path).names
            except (pa.ArrowInvalid, OSError) as error:
                raise IngestError(f"{path}: this is no Parquet file that can be read ({_first_line(error)}).") from None
            return cls(path, _distinct(path, tuple(map(word, names))), Dialect())
        said = Dialect() if written is None else Dialect.of(written)
        try:
            header, dialect = written_as(path, frozenset(map(word, wanted)), said)
        except OSError as error:
            raise CommandError(f"{path}: the file cannot be read ({error.strerror}).") from None
        return cls(path, _distinct(path, header), dialect)

    def instead(self, name: str) -> str:
        """The end of a message about a column that the file lacks: where its header is, or what there is."""
        below = None if ending(self.path) in PARQUET_ENDINGS else header_below(self.path, self.dialect, name)
        if below is None:
            return near_matches(name, self.names)
        return f"; line {below + 1} names it: take away the lines before it."


class RowReader:
    """Reads a file's rows as ids and features, cell by cell as the build does.

    Args:
        file: the file.
        id_name: the column of customers' ids; None makes the row's number the id.
        schema: the features to read; a column that the file lacks is missing throughout.
        categories: of word features, the categories that the model knows.
        timezone: what a time without a zone means.
        written: how the TOML says that files are written.
        readings: how columns write their numbers, as the build found out.
    """

    def __init__(
        self,
        file: CustomerFile,
        id_name: str | None,
        schema: FeatureSchema,
        categories: Mapping[str, Sequence[str]],
        timezone: str,
        written: Written | None = None,
        readings: Mapping[str, Reading] | None = None,
    ) -> None:
        self._file = file
        self._id_name = None if id_name is None else word(id_name)
        self._written = Written() if written is None else written
        self._readings = readings or {}
        self._schema = schema
        self._categories = categories
        self._timezone = timezone

    def read(self, bar: Bar, chunk: int = CHUNK) -> Generator[FileRows]:
        """All rows in their order, `chunk` at a time.

        Raises:
            IngestError: the file turns out to be damaged, or writes numbers in another way than the build's.
        """
        first = 1
        with tempfile.TemporaryDirectory(prefix="keepwell-") as folder, duckdb.connect() as connection:
            connection.execute(f"SET TimeZone = {literal(self._timezone)}")
            connection.execute(f"SET memory_limit = '{_MEMORY}'")
            connection.execute(f"SET temp_directory = {literal(folder)}")
            try:
                relation = files.read(
                    connection, self._file.path, self._file.dialect, Path(folder), lambda *_: None, may_be_empty=True
                )
                bar.expect(relation.rows)
                sql = self._sql(lambda _, sql: connection.execute(sql), relation)
                for table in _in_chunks(connection.sql(sql).to_arrow_reader(chunk), chunk):
                    yield FileRows(table, first)
                    first += table.num_rows
            except duckdb.Error as error:
                raise IngestError(
                    f"{self._file.path}: the rows from {first} on cannot be read ({_first_line(error)})."
                ) from None

    def parse(self, rows: FileRows) -> Customers:
        """Ids and features of the rows."""
        table = rows.table
        n = table.num_rows
        ids: list[str | None] = table.column("id").to_pylist()
        errors: list[str | None] = table.column("error").to_pylist()
        columns: dict[str, Column] = {}
        for position, feature in enumerate(self._schema):
            if f"f{position}" not in table.column_names:
                words = feature.dtype is DType.STRING
                columns[feature.name] = [None] * n if words else np.full(n, np.nan, dtype=np.float32)
                continue
            values = table.column(f"f{position}")
            if feature.dtype is DType.STRING:
                columns[feature.name] = values.to_pylist()
                continue
            columns[feature.name] = values.to_numpy(zero_copy_only=False).astype(np.float32)
            wrong = table.column(f"w{position}")
            for place in np.flatnonzero(wrong.is_valid().to_numpy()).tolist():
                if errors[place] is None:
                    errors[place] = f"{feature.name}: {wrong[place].as_py()!r} is no finite number"
        for place in range(n):
            if ids[place] is None and errors[place] is None:
                errors[place] = _NO_ID
        return Customers(ids, columns, errors)

    def _sql(self, execute: Execute, relation: Relation) -> str:
        """The rows in their order as `FileRows` has them; a bad line takes its place."""
        relation = with_missing(relation, self._written)
        numbers = [word(feature.name) for feature in self._schema if feature.dtype is not DType.STRING]
        relation = applied(relation, file_readings(execute, relation, numbers, self._written, self._readings))
        cells = {cell.name: cell for cell in relation.cells}
        id = f"CAST({ROW} AS VARCHAR)" if self._id_name is None else cells[self._id_name].id
        selected = [f"{ROW} AS place", f"{id} AS id", "NULL::VARCHAR AS error"]
        for position, feature in enumerate(self._schema):
            cell = cells.get(word(feature.name))
            if cell is None:
                continue
            if feature.dtype is DType.STRING:
                said = _spelled(cell, self._categories.get(feature.name, ()))
                selected.append(f"CAST({said} AS VARCHAR) AS f{position}")
            else:
                wrong = f"CASE WHEN {cell.junk} OR {cell.infinite} THEN CAST({cell.raw or cell.sql} AS VARCHAR) END"
                selected += [f"CAST({cell.number} AS DOUBLE) AS f{position}", f"{wrong} AS w{position}"]
        if len(selected) > WIDE:
            execute("", "SET disabled_optimizers = 'common_subexpressions'")
        sql = f"SELECT {', '.join(selected)} FROM {relation.sql}"
        if relation.bad is None:
            return sql
        id = f"CAST({ROW} AS VARCHAR)" if self._id_name is None else "NULL::VARCHAR"
        bad = f"SELECT {ROW} AS place, {id} AS id, 'line ' || {LINE} || ': ' || reason AS error FROM {relation.bad}"
        return f"SELECT * FROM ({sql} UNION ALL BY NAME {bad}) ORDER BY place"


def _in_chunks(batches: pa.RecordBatchReader, chunk: int) -> Iterator[pa.Table]:
    """The same rows, so many at a time whatever comes: who goes on with a file must find them as they were."""
    pending: list[pa.RecordBatch] = []
    for batch in batches:
        pending.append(batch)
        if sum(map(len, pending)) >= chunk:
            table = pa.Table.from_batches(pending)
            whole = table.num_rows - table.num_rows % chunk
            yield from (table.slice(start, chunk) for start in range(0, whole, chunk))
            pending = table.slice(whole).to_batches()
    if sum(map(len, pending)):
        yield pa.Table.from_batches(pending)


def _spelled(cell: Cell, categories: Sequence[str]) -> str:
    """SQL of a word; yes and no as the model knows them, however this file spells them, and words as they were trained on.

    A model that was trained on words with blanks around them, by an earlier version, knows them so.
    """
    known = {truth(word(category)): category for category in categories}
    if known and None not in known and len(known) == len(categories):
        arms = [f"WHEN {cell.truth} = {meant} THEN {literal(category)}" for meant, category in known.items()]
        return f"CASE {' '.join(arms)} ELSE {cell.text} END"
    former = [
        f"WHEN {literal(word(category))} THEN {literal(category)}"
        for category in categories
        if word(category) != category
    ]
    return f"CASE {cell.text} {' '.join(former)} ELSE {cell.text} END" if former else cell.text


def own_file(business: Business) -> CustomersSource | TableData | None:
    """The business's own file of customers: others are written as it is, or plainly, and may call their ids as it does."""
    return business.data.customers if isinstance(business.data, EventsData) else business.data


def read_ids(path: Path, business: Business) -> tuple[list[str], int]:
    """The customers of a file, each once, in its order, and how many rows name none that can be read.

    Raises:
        CommandError, IngestError: the file is not there, or not what it should be.
    """
    own = own_file(business)
    candidates = [CUSTOMER_ID, *([own.customer_id] if own is not None and own.customer_id is not None else [])]
    file = CustomerFile.open(path, candidates, own)
    name = next((name for name in candidates if word(name) in file.names), None)
    if name is None:
        raise CommandError(f"{path}: there is no column {CUSTOMER_ID!r}{file.instead(CUSTOMER_ID)}")
    reader = RowReader(file, name, FeatureSchema(()), {}, business.timezone, own)
    with progress("Reading customers", None) as bar:
        found = [id for rows in reader.read(bar) for id in reader.parse(rows).ids]
    return [id for id in dict.fromkeys(found) if id is not None], found.count(None)


def check(path: Path) -> None:
    """Refuse what is no file of a known kind.

    Raises:
        CommandError: there is no such file, or its ending is none that is known.
    """
    ending(path)
    if not path.is_file():
        siblings = (
            sorted(entry.name for entry in path.parent.iterdir() if entry.exists()) if path.parent.is_dir() else []
        )
        raise CommandError(f"{path}: there is no such file{near_matches(path.name, siblings)}")


def ending(path: Path) -> str:
    """The ending that says how a file is written.

    Raises:
        CommandError: it is none that is known.
    """
    found = next((known for known in (*CSV_ENDINGS, *PARQUET_ENDINGS) if path.name.lower().endswith(known)), None)
    if found is None:
        known = ", ".join((*CSV_ENDINGS, *PARQUET_ENDINGS))
        raise CommandError(f"{path}: the ending says neither CSV nor Parquet; it must be one of {known}.")
    return found


def _distinct(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice is not None:
        raise IngestError(f"{path}: the column {twice!r} appears twice; rename one.")
    return tuple(names)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
