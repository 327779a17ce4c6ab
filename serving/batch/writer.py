"""Files of scores: written aside, some thousand rows at a time, and put into place when they are whole."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from features.atomic_write import replacing
from serving.batch.reader import PARQUET_ENDINGS, ending
from serving.current_scores.table import SCHEMA
from serving.errors import CommandError

_DECISION = pa.schema([("decision_id", pa.string()), ("pscore", pa.float64()), ("channel", pa.string())])
_ERROR = pa.field("error", pa.string())
DECIDED: tuple[str, ...] = tuple(_DECISION.names)


class _Writer(Protocol):
    def write(self, table: pa.Table) -> None: ...
    def close(self) -> None: ...


def file_schema(*, decided: bool) -> pa.Schema:
    """The columns of a file of scores."""
    return pa.schema([*SCHEMA, *(_DECISION if decided else ()), _ERROR])


class ScoreFile:
    """Scores on their way into a file."""

    def __init__(self, writer: _Writer, *, times_as_text: bool) -> None:
        self._writer = writer
        self._times_as_text = times_as_text

    def write(self, table: pa.Table) -> None:
        """Append the rows of `table`, which has the columns of `file_schema`."""
        self._writer.write(_with_times_as_text(table) if self._times_as_text else table)


@contextlib.contextmanager
def writing(path: Path, *, decided: bool) -> Iterator[ScoreFile]:
    """A file by its ending, which appears under `path` when the block ends, and not at all if it raises.

    Raises:
        CommandError: the ending is none that is known, or the file cannot be written there.
    """
    kind = ending(path)
    schema = file_schema(decided=decided)
    if path.is_dir():
        raise CommandError(f"{path}: this is a folder; name a file in it.")
    try:
        with replacing(path, mode=0o666) as file:
            if kind in PARQUET_ENDINGS:
                with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                    yield ScoreFile(writer, times_as_text=False)
            else:
                with _compressed(file, kind) as stream, pyarrow.csv.CSVWriter(stream, _text_schema(schema)) as writer:
                    yield ScoreFile(writer, times_as_text=True)
    except OSError as error:
        raise CommandError(f"{path}: the file cannot be written ({error.strerror or error}).") from None


@contextlib.contextmanager
def _compressed(file: IO[bytes], kind: str) -> Iterator[IO[bytes]]:
    if kind.endswith(".gz"):
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6) as stream:
            yield stream  # type: ignore[misc]
    else:
        yield file


def _text_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema(
        [(field.name, pa.string() if pa.types.is_timestamp(field.type) else field.type) for field in schema]
    )


def _with_times_as_text(table: pa.Table) -> pa.Table:
    columns = [
        pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ") if pa.types.is_timestamp(column.type) else column
        for column in table.columns
    ]
    return pa.table(columns, schema=_text_schema(table.schema))
