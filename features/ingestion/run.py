"""A business's files -> canonical customers and events; bad rows -> quarantine, with file, line and reason.

Events: event_id, customer_id, occurred_at and received_at (UTC), type, channel, value (double), text, properties (a JSON
object as text), and what features read most (see `event_files`), sorted by type, customer and time. Customers:
customer_id, created_at, name, owner, plan, mrr (double), then attributes, each double or string; who is known only from
events is a row too. A table: customer_id, its features under their own names, each double or string, then `__outcome`
(1: churned), `__order` (rank in time, from 1) and `__group`.

Everything happens in DuckDB, on disk beside the result, in bounded memory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow.parquet

from features.atomic_write import sync
from features.config.business import Business, EventsData, TableData
from features.config.data import LiveSource
from features.errors import ConfigError, IngestError
from features.ingestion import source_files as source
from features.ingestion.customers import read_customers, read_table
from features.ingestion.events import Base, NotAppendable, read_events
from features.ingestion.files import NOT_UTF8
from features.ingestion.losses import Acquaintance
from features.ingestion.manifest import File, Manifest, Source, added, code, configuration
from features.ingestion.source_files import Progress
from features.ingestion.staging import SourceCount, Staging

__all__ = ["IngestSummary", "Progress", "ingest"]


@dataclass(frozen=True, slots=True)
class IngestSummary:
    """What became of all rows: read = accepted + filtered + the sum of rejected, which counts by reason.

    `first_event` and `last_event` are UTC, None for a table; `fingerprint` is the SHA-256 of the files' content;
    `customers` counts those of the result, the ones known only from events included; `notes` say what to look at;
    `counts` has the books of each source, and `acquaintance` compares the customers of their file with those of events.
    """

    rows_read: int
    rows_accepted: int
    rows_filtered: int
    rejected: Mapping[str, int]
    first_event: datetime | None
    last_event: datetime | None
    fingerprint: str
    customers: int
    notes: tuple[str, ...] = ()
    counts: tuple[SourceCount, ...] = ()
    acquaintance: Acquaintance | None = None


def ingest(
    business: Business,
    out: Path,
    now: datetime,
    progress: Progress | None = None,
    base: Path | None = None,
    live: Path | None = None,
) -> IngestSummary:
    """Read a business's files into `out`: customers.parquet, events/ and evidence/ (events only) and quarantine/.

    `now` is aware; what claims to be later is quarantined. `progress` hears what is being done, and the share of it done.
    `base` is the directory of an earlier generation: if files were only added since, only those are read, and the result
    is the same. `live` is the folder of events that came in live, which are one more source.

    Raises:
        ConfigError: the TOML has no data, or a format in it is none.
        IngestError: a file is not what the TOML says, or holds no usable row; `out` is then as it was.
    """
    if business.data is None:
        raise ConfigError(f"{business.path}: there is no table [data], so there is nothing to build.")
    if live is not None and isinstance(business.data, EventsData):
        sources = (*business.data.events, LiveSource(path=str(live)))  # type: ignore[arg-type]
        business = replace(business, data=business.data.model_copy(update={"events": sources}))
    existed = out.exists()
    work = out / f".ingest-{os.getpid()}"
    try:
        try:
            summary = _with_base(business, work, now, progress or _silent, base)
            if summary is None:
                summary = _run(business, work, now, progress or _silent, check_text=False)
        except duckdb.InvalidInputException as error:
            if NOT_UTF8 not in str(error):
                raise
            # Parquet whose text is not UTF-8: DuckDB refuses the file, so take it apart and find the rows.
            shutil.rmtree(work)
            summary = _run(business, work, now, progress or _silent, check_text=True)
        _publish(work / "result", out)
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise IngestError(f"{business.path}: its data cannot be read ({reason}).") from error
    except OSError as error:
        place = error.filename or business.path
        raise IngestError(f"{place}: reading or writing failed ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if not existed and out.exists() and not any(out.iterdir()):
            out.rmdir()
    return summary


def _silent(task: str, share: float) -> None:
    """Nobody listens."""


def _with_base(
    business: Business, work: Path, now: datetime, progress: Progress, base: Path | None
) -> IngestSummary | None:
    """Read what was added to the log at `base`; None where everything has to be read."""
    manifest = None if base is None else Manifest.load(base)
    if base is None or manifest is None or not isinstance(business.data, EventsData):
        return None
    if not manifest.fits(business, int(now.timestamp() * 1e6)):
        return None
    try:
        return _run(business, work, now, progress, False, base, manifest)
    except (NotAppendable, IngestError, duckdb.Error):
        # What is wrong with the files is for a whole reading to say.
        shutil.rmtree(work)
        return None


def _run(
    business: Business,
    work: Path,
    now: datetime,
    progress: Progress,
    check_text: bool,
    base: Path | None = None,
    manifest: Manifest | None = None,
) -> IngestSummary:
    data = business.data
    paths: list[Path] = []
    if isinstance(data, TableData):
        paths = [data.path]
    elif isinstance(data, EventsData):
        paths = [one.path for one in data.events] + ([data.customers.path] if data.customers else [])
    found = [source.find(path) for path in paths]
    files = [file for part in found for file in part]
    stamps = [_stamp(file) for file in files]
    known = {} if manifest is None else manifest.known
    unchanged = {file: known[str(file)].digest for file in files if _is_unchanged(file, known)}
    digests = source.digests(files, progress, unchanged)
    fingerprint = source.fingerprint(files, digests)
    first = last = met = None
    with Staging.begun(business, work, now, progress, check_text) as staging:
        if isinstance(data, TableData):
            read_table(staging, data)
        elif isinstance(data, EventsData):
            since = None if base is None or manifest is None else _base(base, manifest, found, digests)
            read = read_events(staging, data, since)
            first, last = read.first, read.last
            met = read_customers(staging, data.customers)
            books = [
                Source(tuple(_file(file, digests) for file in part), columns, count.read, count.accepted, count.filtered,
                       count.rejected, readings)
                for part, columns, count, readings in zip(
                    found, read.columns, staging.counts, read.readings, strict=False
                )
            ]  # fmt: skip
            told = ""
            if data.customers:
                told = f"{[digests[file] for file in found[-1]]} {dict(staging.counts[-1].rejected)}"
            Manifest(
                code(), configuration(business), tuple(books), told, read.due, base.name if base and since else None,
                read.added_from,
            ).write(staging.result)  # fmt: skip
        for file, stamp in zip(files, stamps, strict=True):
            if _stamp(file) != stamp:
                raise IngestError(f"{file}: the file changed while it was being read; build again.")
        staging.write_quarantine(fingerprint)
        customers = pyarrow.parquet.read_metadata(staging.result / "customers.parquet").num_rows
        return IngestSummary(
            rows_read=sum(count.read for count in staging.counts),
            rows_accepted=sum(count.accepted for count in staging.counts),
            rows_filtered=sum(count.filtered for count in staging.counts),
            rejected=staging.rejected,
            first_event=first,
            last_event=last,
            fingerprint=fingerprint,
            customers=customers,
            notes=tuple(staging.notes),
            counts=tuple(staging.counts),
            acquaintance=met,
        )


def _base(path: Path, manifest: Manifest, found: Sequence[tuple[Path, ...]], digests: Mapping[Path, str]) -> Base:
    new = [added(known, part, digests) for known, part in zip(manifest.sources, found, strict=False)]
    if any(part is None for part in new):
        raise NotAppendable
    return Base(path, manifest, tuple(part for part in new if part is not None))


def _is_unchanged(file: Path, known: Mapping[str, File]) -> bool:
    return str(file) in known and known[str(file)].is_unchanged(file)


def _file(file: Path, digests: Mapping[Path, str]) -> File:
    status = file.stat()
    return File(str(file), status.st_size, status.st_mtime_ns, status.st_ctime_ns, digests[file])


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _publish(result: Path, out: Path) -> None:
    """Move the finished files into place, on the disk before they are seen."""
    folders = {out}
    for file in sorted(result.rglob("*")):
        if not file.is_file():
            continue
        sync(file)
        target = out / file.relative_to(result)
        target.parent.mkdir(parents=True, exist_ok=True)
        folders.add(target.parent)
        file.replace(target)
    for folder in folders:
        sync(folder)
