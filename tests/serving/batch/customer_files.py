"""Files of customers, what a run makes of one, and whom it decided about."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from sqlalchemy import select

from serving.batch.job import score_file
from serving.batch.reader import CHUNK
from serving.platform.database import Database
from serving.platform.settings import Settings
from serving.platform.tables import decisions

Rows = list[dict[str, Any]]


def score(settings: Settings, source: Path, target: Path, *, decide: bool = False, chunk: int = CHUNK) -> Rows:
    """The output's rows; missing is None."""
    score_file(settings, source, target, decide=decide, chunk=chunk)
    if target.suffix == ".parquet":
        return list(pq.read_table(target).to_pylist())
    content = target.read_bytes()
    text = (gzip.decompress(content) if target.suffix == ".gz" else content).decode()
    return [{name: value or None for name, value in row.items()} for row in csv.DictReader(io.StringIO(text))]


def write_csv(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]], delimiter: str = ",") -> Path:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(names)
    writer.writerows(rows)
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def logged(settings: Settings) -> list[str]:
    """The ids of the customers who were decided about, sorted."""
    database = Database(settings.database)
    with database.read() as connection:
        found = sorted(connection.scalars(select(decisions.c.customer_id)))
    database.close()
    return found
