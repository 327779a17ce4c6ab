"""Files of customers that others bring: rows in their order, parsed as the build parsed its own, bad ones with why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.config.suggestions import near_matches
from features.errors import IngestError
from features.ingestion import csv_reader
from features.ingestion.cells.casts import Cell, cleaned, literal
from features.ingestion.cells.truths import truth
from features.ingestion.cells.whole_ids import with_decimals
from features.ingestion.column_reading import PLAIN, Reading
from features.schema import Column, DType, FeatureSchema
from features.words import word
from serving.errors import CommandError
from serving.platform.progress import Bar

CSV_ENDINGS = (".csv", ".csv.gz")
PARQUET_ENDINGS = (".parquet", ".pq")
CHUNK = 8192
"""Rows that are scored at a time."""
_NO_ID = "no customer_id"


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
    """Some rows as they stand in the file; `bad` maps positions among them to why they are none."""

    table: pa.Table
    first: int
    """The number of the first row, from 1."""
    bad: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class CustomerFile:
    """A CSV or Parquet file with customers' ids and, for a table business, their columns."""

    path: Path
    names: tuple[str, ...]
    layout: csv_reader.Layout | None
    """None for Parquet."""

    @classmethod
    def open(cls, path: Path, wanted: Collection[str], delimiter: str | None = None) -> CustomerFile:
        """Look at the file's head; `delimiter` is tried where the one that it seems to have gives no column that is wanted.

        Raises:
            CommandError: there is no such file, or its ending is none that is known.
            IngestError: the file is empty, damaged, or not what its ending says.
        """
        kind = ending(path)
        if not path.is_file():
            siblings = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
            raise CommandError(f"{path}: there is no such file{near_matches(path.name, siblings)}")
        if kind in PARQUET_ENDINGS:
            try:
                names = tuple(map(word, pq.read_schema(path).names))
            except (pa.ArrowInvalid, OSError) as error:
                raise IngestError(f"{path}: this is no Parquet file that can be read ({_first_line(error)}).") from None
            return cls(path, _distinct(path, names), None)
        try:
            layout = csv_reader.layout(path, csv_reader.Dialect())
            if delimiter is not None and not set(layout.header) & set(map(word, wanted)):
                layout = csv_reader.layout(path, csv_reader.Dialect(delimiter))
        except OSError as error:
            raise CommandError(f"{path}: the file cannot be read ({error.strerror}).") from None
        return cls(path, _distinct(path, layout.header), layout)

    def read(self, bar: Bar, chunk: int = CHUNK) -> Iterator[FileRows]:
        """All rows in their order, `chunk` at a time at most.

        Raises:
            IngestError: the file turns out to be damaged.
        """
        return self._parquet_rows(bar, chunk) if self.layout is None else self._csv_rows(self.layout, bar, chunk)

    def _parquet_rows(self, bar: Bar, chunk: int) -> Iterator[FileRows]:
        first = 1
        try:
            with pq.ParquetFile(self.path) as file:
                bar.expect(file.metadata.num_rows)
                for batch in file.iter_batches(batch_size=chunk):
                    yield FileRows(pa.Table.from_batches([batch]), first, {})
                    first += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise IngestError(f"{self.path}: the file is damaged at row {first} ({_first_line(error)}).") from None

    def _csv_rows(self, layout: csv_reader.Layout, bar: Bar, chunk: int) -> Iterator[FileRows]:
        size, done = max(1, self.path.stat().st_size), 0

        def note(read: int) -> None:
            nonlocal done
            done = read

        for block in csv_reader.blocks(layout, note):
            reasons = {bad.row: f"line {bad.line}: {bad.reason.value}" for bad in block.bad}
            numbers = np.sort(np.concatenate([block.rows, np.array(sorted(reasons), dtype=np.int64)]))
            # A bad line takes its place as a row of nulls, so that all come back in their order.
            taken = pa.array(np.where(np.isin(numbers, block.rows), np.searchsorted(block.rows, numbers), -1))
            taken = pa.compute.if_else(pa.compute.less(taken, 0), None, taken)
            whole = pa.table(
                [column.take(taken) for column in block.columns], names=[str(i) for i in range(len(block.columns))]
            ).rename_columns(list(layout.header))
            if len(numbers):
                bar.expect(int(numbers[-1] * size / max(done, 1)))
            for start in range(0, len(numbers), chunk):
                here = numbers[start : start + chunk]
                bad = {place: reasons[number] for place, number in enumerate(here.tolist()) if number in reasons}
                yield FileRows(whole.slice(start, chunk), int(here[0]), bad)


class RowReader:
    """Turns rows of a file into ids and features, cell by cell as the build does.

    Args:
        path: the file, for messages.
        names: its columns.
        id_name: the column of customers' ids; None makes the row's number the id.
        schema: the features to read; a column that the file lacks is missing throughout.
        categories: of word features, the categories that the model knows.
        timezone: what a time without a zone means.
        missing: what means missing, where the TOML says it.
        readings: how columns write their numbers, as the build found out.
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        id_name: str | None,
        schema: FeatureSchema,
        categories: Mapping[str, Sequence[str]],
        timezone: str,
        missing: tuple[str, ...] | None = None,
        readings: Mapping[str, Reading] | None = None,
    ) -> None:
        self._path = path
        self._names = tuple(names)
        self._id_name = None if id_name is None else word(id_name)
        self._missing = missing
        self._readings = readings or {}
        self._schema = schema
        self._categories = categories
        self._connection = duckdb.connect(":memory:", config={"threads": 1})
        self._connection.execute(f"SET TimeZone = '{timezone}'")

    def parse(self, rows: FileRows) -> Customers:
        """Ids and features of the rows.

        Raises:
            IngestError: the file holds text that is no UTF-8.
        """
        table, first, n = rows.table, rows.first, rows.table.num_rows
        errors: list[str | None] = [rows.bad.get(place) for place in range(n)]
        try:
            parsed = self._query(table)
        except duckdb.Error as error:
            raise IngestError(
                f"{self._path}: the rows from {first} on cannot be read ({_first_line(error)})."
            ) from None
        ids: list[str | None] = (
            [str(first + place) for place in range(n)] if self._id_name is None else parsed.column("id").to_pylist()
        )
        columns: dict[str, Column] = {}
        for position, feature in enumerate(self._schema):
            if word(feature.name) not in self._names:
                words = feature.dtype is DType.STRING
                columns[feature.name] = [None] * n if words else np.full(n, np.nan, dtype=np.float32)
            elif feature.dtype is DType.STRING:
                columns[feature.name] = parsed.column(f"f{position}").to_pylist()
            else:
                values = parsed.column(f"f{position}").to_numpy(zero_copy_only=False).astype(np.float32)
                columns[feature.name] = values
                for place in np.flatnonzero(parsed.column(f"b{position}").to_numpy(zero_copy_only=False)).tolist():
                    if errors[place] is None:
                        value = table.column(self._names.index(word(feature.name)))[place].as_py()
                        errors[place] = f"{feature.name}: {value!r} is no finite number"
        for place in range(n):
            if ids[place] is None and errors[place] is None:
                errors[place] = _NO_ID
        return Customers(ids, columns, errors)

    def _query(self, table: pa.Table) -> pa.Table:
        # DuckDB's names ignore case, and a file's don't.
        renamed = table.rename_columns([f"c{position}" for position in range(table.num_columns)])
        self._connection.register("rows", renamed)
        described = self._connection.execute("DESCRIBE rows").fetchall()
        found = [Cell(name, column, kind) for name, (column, kind, *_) in zip(self._names, described, strict=True)]
        ids = [cell for cell in found if cell.name == self._id_name]
        whole = {cell.name: cell for cell in with_decimals(self._connection.execute, "rows", ids)}
        clean, columns = cleaned([whole.get(cell.name, cell) for cell in found])
        cells = {
            cell.name: self._readings.get(cell.name, PLAIN).applied(replace(cell, missing=self._missing))
            for cell in clean
        }
        selected = ["NULL AS nothing"]
        if self._id_name is not None:
            selected.append(f"{cells[self._id_name].id} AS id")
        for position, feature in enumerate(self._schema):
            cell = cells.get(word(feature.name))
            if cell is None:
                continue
            if feature.dtype is DType.STRING:
                said = _spelled(cell, self._categories.get(feature.name, ()))
                selected.append(f"CAST({said} AS VARCHAR) AS f{position}")
            else:
                selected.append(f"CAST({cell.number} AS DOUBLE) AS f{position}")
                selected.append(f"({cell.junk} OR {cell.infinite}) AS b{position}")
        try:
            return self._connection.sql(
                f"SELECT {', '.join(selected)} FROM (SELECT {columns} FROM rows)"
            ).to_arrow_table()
        finally:
            self._connection.unregister("rows")


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
