"""Scoring a file of customers: each row comes back in its place, a bad one with its error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from features.config.business import Business, TableData
from features.errors import SchemaMismatch, UnknownCustomer
from features.ingestion.column_reading import load_readings
from features.schema import Column, FeatureSchema
from features.words import word
from serving.auth.api_keys import Principal, Role
from serving.batch.decided_file import DecidedFile, digest_of
from serving.batch.pool import Score, on_all_cores
from serving.batch.reader import CHUNK, CUSTOMER_ID, CustomerFile, Customers, FileRows, RowReader, ending, own_file
from serving.batch.writer import DECIDED, file_schema, writing
from serving.current_scores.record import COLUMNS, BatchRow
from serving.current_scores.table import ScoreTable
from serving.decisions.log import LoggedDecision
from serving.decisions.playbook import Playbook
from serving.decisions.service import DecisionService
from serving.platform.database import Database
from serving.platform.progress import progress
from serving.platform.settings import Settings
from serving.releases.follower import ReleaseSource
from serving.releases.release import Release, ReleaseParts
from serving.scores.scorer import CustomerScore, Explain, Scorer, score_as_of_now

COMMAND = Principal("serving batch", Role.ADMIN)
"""Who decides, in the log, when nobody came with a key."""


@dataclass(frozen=True, slots=True)
class BatchJob:
    """All that any process needs to score the rows of one file by one release; it pickles."""

    source: Path
    database: str
    release: ReleaseParts

    def start(self) -> Score:
        """What scores rows of the file, in a process of its own."""
        return open_batch(self.source, Release.load(self.release), Database(self.database)).table


@dataclass(frozen=True, slots=True)
class Batch:
    """One run: what reads rows of the file, what scores them, and what suggests or decides."""

    reader: RowReader
    release: Release
    playbook: Playbook
    database: Database
    from_file: bool
    """A table business: the features stand in the file, not in the store."""

    def table(self, rows: FileRows) -> pa.Table:
        """A line per row, in order, as the file of scores holds them."""
        customers = self.reader.parse(rows)
        good = _good(customers)
        if self.from_file:
            ids, columns = _of(customers, good)
            matrix = self.release.schema.to_matrix(columns, self.release.bundle.categories)
            scored = self._suggested(ScoreTable.of(self.release, ids, columns, matrix))
            return _assembled(customers, good, scored, good, decided=False)
        ids = [str(customers.ids[place]) for place in good]
        table, among = ScoreTable.as_of_now(self.release, ids)
        return _assembled(customers, good, self._suggested(table), [good[place] for place in among], decided=False)

    def decided(self, rows: FileRows, file: DecidedFile) -> pa.Table:
        """A line per row, in order, each with its decision: what an earlier run of the file decided, or one that is logged."""
        kept = file.find(rows.first)
        if kept is not None:
            return kept
        customers = self.reader.parse(rows)
        good = _good(customers)
        scores, places = self._scores(customers, good)
        # What takes long is done: meanwhile nobody else can write.
        with self.database.begin() as connection:
            kept = file.claim(connection, rows.first)
            if kept is not None:
                return kept
            decisions = DecisionService(self.database).decide_scored(connection, self.release, scores, COMMAND)
            table = _assembled(customers, good, _decided(scores, decisions), places, decided=True)
            file.keep(connection, rows.first, table)
        return table

    def _scores(self, customers: Customers, good: Sequence[int]) -> tuple[list[CustomerScore], Sequence[int]]:
        """The scores of those of the `good` rows that can be scored, and the places of these."""
        if self.from_file:
            ids, columns = _of(customers, good)
            return Scorer(self.release).score_rows(ids, columns, Explain.TOP), good
        ids = [str(customers.ids[place]) for place in good]
        results = zip(good, score_as_of_now(Scorer(self.release), ids), strict=True)
        known = [(place, score) for place, score in results if isinstance(score, CustomerScore)]
        return [score for _, score in known], [place for place, _ in known]

    def _suggested(self, table: ScoreTable) -> dict[str, pa.Array]:
        with self.database.read() as connection:
            return table.to_arrow(table.suggestions(self.playbook, connection))


def _good(customers: Customers) -> list[int]:
    return [place for place, error in enumerate(customers.errors) if error is None]


def _of(customers: Customers, good: Sequence[int]) -> tuple[list[str], Mapping[str, Column]]:
    """Ids and features of the `good` rows."""
    columns = customers.columns
    if len(good) < len(customers):
        columns = {
            name: column[good] if isinstance(column, np.ndarray) else [column[place] for place in good]
            for name, column in columns.items()
        }
    return [str(customers.ids[place]) for place in good], columns


def _decided(scores: Sequence[CustomerScore], decisions: Sequence[LoggedDecision]) -> dict[str, pa.Array]:
    rows = [BatchRow.of(score, decision.action) for score, decision in zip(scores, decisions, strict=True)]
    columns = {name: [getattr(row, name) for row in rows] for name in COLUMNS}
    columns |= {name: [getattr(decision, name) for decision in decisions] for name in DECIDED}
    schema = file_schema(decided=True)
    return {name: pa.array(column, schema.field(name).type) for name, column in columns.items()}


def _assembled(
    customers: Customers, good: Sequence[int], scored: Mapping[str, pa.Array], places: Sequence[int], *, decided: bool
) -> pa.Table:
    """All rows: the columns of those that were scored stand at their `places`, and the others say why they were not."""
    errors = list(customers.errors)
    for place in set(good) - set(places):
        errors[place] = str(UnknownCustomer((str(customers.ids[place]),)))
    take = np.full(len(customers), -1)
    take[list(places)] = np.arange(len(places))
    chosen = pa.array(take, mask=take < 0)
    schema = file_schema(decided=decided)
    whole = {"customer_id": pa.array(customers.ids, pa.string()), "error": pa.array(errors, pa.string())}
    columns = [whole[name] if name in whole else scored[name].take(chosen) for name in schema.names]
    return pa.table([column.cast(field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)


def score_file(
    settings: Settings, source: Path, target: Path, *, decide: bool, anew: bool = False, chunk: int = CHUNK
) -> str:
    """Score the customers of `source` into `target` by what stands; with `decide`, decide about each and log it.

    A file that a run began to decide about, or has within 24 hours, keeps those decisions, unless it is decided `anew`.

    Returns:
        a sentence that says how many there were.

    Raises:
        CommandError, IngestError: a file is not there, or not what it should be; `target` is as it was.
        NoRelease: nothing was built or promoted.
    """
    ending(source)
    ending(target)
    releases = ReleaseSource(settings)
    release = releases.load(releases.newest())
    database = Database(settings.database)
    written = bad = 0
    try:
        database.migrate()
        batch = open_batch(source, release, database)
        book = DecidedFile(database, digest_of(source, release.generation.business, chunk)) if decide else None
        if book is not None:
            book.begin(anew=anew)
        with (
            writing(target, decided=decide) as output,
            progress("Scoring customers", None) as bar,
            closing(batch.reader.read(bar, chunk)) as chunks,
        ):
            # Decisions wait for the database, not for a processor, and are drawn here in the order of the file.
            job = BatchJob(source, settings.database, release.parts)
            tables = (
                on_all_cores(batch.table, job.start, chunks)
                if book is None
                else (batch.decided(rows, book) for rows in chunks)
            )
            for table in tables:
                output.write(table)
                written += table.num_rows
                bad += table.num_rows - table.column("error").null_count
                bar.advance(table.num_rows)
        if book is not None:
            book.complete()
    finally:
        database.close()
        release.store.close()
    failed = f", {bad:,} with an error" if bad else ""
    before = f", {book.repeated:,} as they were decided about before" if book is not None and book.repeated else ""
    return f"{written:,} rows{failed}{before}: {target}"


def open_batch(source: Path, release: Release, database: Database) -> Batch:
    """How a release scores the rows of the file `source`.

    Raises:
        CommandError, IngestError, SchemaMismatch: the file is not there, or not what it should be.
    """
    business = Business.of(release.generation)
    own = own_file(business)
    names = [CUSTOMER_ID, *([own.customer_id] if own is not None and own.customer_id is not None else [])]
    playbook = Playbook.of_release(release)
    file = CustomerFile.open(source, [*names, *release.schema.names], own)
    reader = _reader(file, business, release, playbook)
    return Batch(reader, release, playbook, database, from_file=isinstance(business.data, TableData))


def _reader(file: CustomerFile, business: Business, release: Release, playbook: Playbook) -> RowReader:
    """What to read of the file.

    Raises:
        SchemaMismatch: it lacks columns.
    """
    data = business.data
    if not isinstance(data, TableData):
        own = own_file(business)
        named = CUSTOMER_ID if own is None or CUSTOMER_ID in file.names else own.customer_id or CUSTOMER_ID
        _require(file, [named], "which an event business is scored by")
        return RowReader(file, named, FeatureSchema(()), {}, business.timezone, own)
    id_name = data.customer_id
    if id_name is None and CUSTOMER_ID in file.names and CUSTOMER_ID not in data.drop:
        id_name = CUSTOMER_ID
    if id_name is not None:
        _require(file, [id_name], "which holds the customers' ids")
    needed = dict.fromkeys([*release.schema.names, *playbook.features])
    _require(file, [name for name in release.generation.schema.names if name in needed], "which the model reads")
    return RowReader(
        file,
        id_name,
        release.generation.schema,
        release.bundle.categories,
        business.timezone,
        data,
        load_readings(release.generation.path),
    )


def _require(file: CustomerFile, names: Sequence[str], why: str) -> None:
    missing = [name for name in names if word(name) not in file.names]
    if not missing:
        return
    if len(missing) == 1:
        raise SchemaMismatch(f"{file.path}: there is no column {missing[0]!r}, {why}{file.instead(missing[0])}")
    shown = ", ".join(repr(name) for name in missing[:5])
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    raise SchemaMismatch(f"{file.path}: there are no columns {shown}{more}, {why}{file.instead(missing[0])}")
