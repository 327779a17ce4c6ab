"""A business's files -> canonical customers and events; bad rows -> quarantine, with file, line and reason.

Events: event_id, customer_id, occurred_at and received_at (UTC), type, channel, value (double), text, properties (a JSON
object as text), sorted by customer and time. Customers: customer_id, created_at, name, owner, plan, mrr (double), then
attributes, each double or string; who is known only from events is a row too. A table: customer_id, its features under
their own names, each double or string, then `__outcome` (1: churned), `__order` (rank in time, from 1) and `__group`.

Everything happens in DuckDB, on disk beside the result, in bounded memory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow.parquet

from features import source
from features.business import Business, EventsData, TableData
from features.customer_table import read_table
from features.errors import ConfigError, IngestError
from features.event_log import read_customers, read_events
from features.intake import Intake
from features.source import Progress

__all__ = ["IngestSummary", "Progress", "ingest"]


@dataclass(frozen=True, slots=True)
class IngestSummary:
    """What became of all rows: read = accepted + filtered + the sum of rejected, which counts by reason.

    `first_event` and `last_event` are UTC, None for a table; `fingerprint` is the SHA-256 of the files' content;
    `customers` counts those of the result, the ones known only from events included.
    """

    rows_read: int
    rows_accepted: int
    rows_filtered: int
    rejected: Mapping[str, int]
    first_event: datetime | None
    last_event: datetime | None
    fingerprint: str
    customers: int


def ingest(business: Business, out: Path, now: datetime, progress: Progress | None = None) -> IngestSummary:
    """Read a business's files into `out`: customers.parquet, events.parquet (events only) and quarantine/.

    `now` is aware; what claims to be later is quarantined. `progress` hears what is being done, and the share of it done.

    Raises:
        ConfigError: the TOML has no data, or a format in it is none.
        IngestError: a file is not what the TOML says, or holds no usable row; `out` is then as it was.
    """
    if business.data is None:
        raise ConfigError(f"{business.path}: there is no table [data], so there is nothing to build.")
    existed = out.exists()
    work = out / f".ingest-{os.getpid()}"
    try:
        try:
            summary = _run(business, work, now, progress or _silent, check_text=False)
        except duckdb.InvalidInputException as error:
            if "Invalid string encoding" not in str(error):
                raise
            # Parquet whose text is not UTF-8: DuckDB refuses the file, so take it apart and find the rows.
            shutil.rmtree(work)
            summary = _run(business, work, now, progress or _silent, check_text=True)
        _publish(work / "result", out)
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise IngestError(f"{business.path}: its data cannot be read ({reason}).") from error
    except OSError as error:
        raise IngestError(f"{error.filename or out}: reading or writing failed ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if not existed and out.exists() and not any(out.iterdir()):
            out.rmdir()
    return summary


def _silent(task: str, share: float) -> None:
    """Nobody listens."""


def _run(business: Business, work: Path, now: datetime, progress: Progress, check_text: bool) -> IngestSummary:
    data = business.data
    paths: list[Path] = []
    if isinstance(data, TableData):
        paths = [data.path]
    elif isinstance(data, EventsData):
        paths = [one.path for one in data.events] + ([data.customers.path] if data.customers else [])
    files = [file for path in paths for file in source.find(path)]
    stamps = [_stamp(file) for file in files]
    fingerprint = source.fingerprint(files, progress)
    first = last = None
    with Intake.begun(business, work, now, progress, check_text) as intake:
        if isinstance(data, TableData):
            read_table(intake, data)
        elif isinstance(data, EventsData):
            first, last = read_events(intake, data)
            read_customers(intake, data.customers)
        for file, stamp in zip(files, stamps, strict=True):
            if _stamp(file) != stamp:
                raise IngestError(f"{file}: the file changed while it was being read; build again.")
        intake.write_quarantine(fingerprint)
        customers = pyarrow.parquet.read_metadata(intake.result / "customers.parquet").num_rows
        return IngestSummary(
            rows_read=sum(count.read for count in intake.counts),
            rows_accepted=sum(count.accepted for count in intake.counts),
            rows_filtered=sum(count.filtered for count in intake.counts),
            rejected=intake.rejected,
            first_event=first,
            last_event=last,
            fingerprint=fingerprint,
            customers=customers,
        )


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _publish(result: Path, out: Path) -> None:
    """Move the finished files into place, on the disk before they are seen."""
    folders = {out}
    for file in sorted(result.rglob("*")):
        if not file.is_file():
            continue
        with file.open("rb") as written:
            os.fsync(written.fileno())
        target = out / file.relative_to(result)
        target.parent.mkdir(parents=True, exist_ok=True)
        folders.add(target.parent)
        file.replace(target)
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
