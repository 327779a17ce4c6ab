"""Files of scores: written aside, a thousand rows at a time, and put into place when they are whole."""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from serving.customer_file import PARQUET_ENDINGS, ending
from serving.errors import CommandError
from serving.rows import COLUMNS, BatchRow

_TIME = pa.timestamp("us", "UTC")
_TYPES: dict[str, pa.DataType] = {
    "churn_probability": pa.float64(),
    "health_score": pa.float64(),
    "feature_timestamp": _TIME,
    "scored_at": _TIME,
    "pscore": pa.float64(),
}
_DECIDED = ("decision_id", "pscore", "channel")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the output: a row, a row that was decided about, or a customer of whom there is only an `error`."""

    customer_id: str | None
    row: BatchRow | None = None
    decision_id: str | None = None
    pscore: float | None = None
    channel: str | None = None
    error: str | None = None


class _Writer(Protocol):
    def write(self, table: pa.Table) -> None: ...
    def close(self) -> None: ...


class ScoreFile:
    """Lines on their way into a file."""

    def __init__(self, writer: _Writer, schema: pa.Schema, *, times_as_text: bool) -> None:
        self._writer = writer
        self._schema = schema
        self._times_as_text = times_as_text

    def write(self, lines: Sequence[Line]) -> None:
        """Append these lines."""
        arrays = [pa.array([_cell(line, field.name) for line in lines], field.type) for field in self._schema]
        table = pa.table(arrays, schema=self._schema)
        self._writer.write(_with_times_as_text(table) if self._times_as_text else table)


@contextlib.contextmanager
def writing(path: Path, *, decided: bool) -> Iterator[ScoreFile]:
    """A file by its ending, which appears under `path` when the block ends, and not at all if it raises.

    Raises:
        CommandError: the ending is none that is known, or the file cannot be written there.
    """
    kind = ending(path)
    names = [*COLUMNS, *(_DECIDED if decided else ()), "error"]
    schema = pa.schema([(name, _TYPES.get(name, pa.string())) for name in names])
    if path.is_dir():
        raise CommandError(f"{path}: this is a folder; name a file in it.")
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("xb") as file:
            if kind in PARQUET_ENDINGS:
                with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                    yield ScoreFile(writer, schema, times_as_text=False)
            else:
                with _compressed(file, kind) as stream, pyarrow.csv.CSVWriter(stream, _text_schema(schema)) as writer:
                    yield ScoreFile(writer, schema, times_as_text=True)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise CommandError(f"{path}: the file cannot be written ({error.strerror or error}).") from None
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


@contextlib.contextmanager
def _compressed(file: IO[bytes], kind: str) -> Iterator[IO[bytes]]:
    if kind.endswith(".gz"):
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6) as stream:
            yield stream  # type: ignore[misc]
    else:
        yield file


def _cell(line: Line, name: str) -> Any:
    if name in COLUMNS and name != "customer_id":
        return None if line.row is None else getattr(line.row, name)
    return getattr(line, name)


def _text_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(field.name, pa.string() if field.type == _TIME else field.type) for field in schema])


def _with_times_as_text(table: pa.Table) -> pa.Table:
    columns = [
        pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ") if column.type == _TIME else column for column in table.columns
    ]
    return pa.table(columns, schema=_text_schema(table.schema))
