"""One run over a business's files: a DuckDB database that reads them, and the books on what became of every row."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb

from features.config.business import Business
from features.errors import IngestError
from features.ingestion import files
from features.ingestion.cells.casts import literal
from features.ingestion.csv_reader import Dialect
from features.ingestion.files import FILE, LINE, ROW, Relation
from features.ingestion.quarantine import cure, example
from features.ingestion.source_files import Progress
from features.reasons import Reason

_MEMORY: Final = "2GB"
_HEARTBEAT: Final = 0.2  # seconds
WIDE: Final = 100  # columns; beyond it, DuckDB's search for common subexpressions takes longer than it saves


@dataclass(frozen=True, slots=True)
class SourceCount:
    """What became of one source's rows."""

    path: Path
    read: int
    accepted: int
    filtered: int
    rejected: Mapping[str, int]
    times: Mapping[str, str] = field(default_factory=dict)
    """The columns of times, by the reason for which a row is set aside where they cannot be read."""

    def plus(self, more: SourceCount) -> SourceCount:
        """The books of both together."""
        reasons = sorted({*self.rejected, *more.rejected})
        rejected = {reason: self.rejected.get(reason, 0) + more.rejected.get(reason, 0) for reason in reasons}
        read, accepted = self.read + more.read, self.accepted + more.accepted
        return SourceCount(self.path, read, accepted, self.filtered + more.filtered, rejected, more.times)


@dataclass(slots=True)
class Staging:
    """The database of one run, in `work`; `result` is the folder that is published if all goes well."""

    business: Business
    work: Path
    now: datetime
    progress: Progress
    check_text: bool
    connection: duckdb.DuckDBPyConnection
    counts: list[SourceCount] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    times: dict[int, dict[str, str]] = field(default_factory=dict)
    """Of each source, the columns of times as `SourceCount` has them."""
    _relations: dict[tuple[Path, Dialect], Relation] = field(default_factory=dict)
    _sources: list[Relation | None] = field(default_factory=list)

    @classmethod
    @contextmanager
    def begun(
        cls, business: Business, work: Path, now: datetime, progress: Progress, check_text: bool
    ) -> Iterator[Staging]:
        """A run with an empty database under `work`, closed at the end."""
        (work / "result" / "quarantine").mkdir(parents=True)
        with duckdb.connect(str(work / "work.duckdb")) as connection:
            connection.execute(f"SET memory_limit = '{_MEMORY}'")
            connection.execute(f"SET temp_directory = {literal(str(work / 'spill'))}")
            connection.execute(f"SET TimeZone = {literal(business.timezone)}")
            connection.execute("SET preserve_insertion_order = false")
            connection.execute("SET enable_progress_bar = true")
            connection.execute("SET enable_progress_bar_print = false")
            connection.execute(
                "CREATE TABLE rejected (source INT, file VARCHAR, line BIGINT, reason VARCHAR, raw VARCHAR)"
            )
            yield cls(business, work, now, progress, check_text, connection)

    @property
    def result(self) -> Path:
        """Where the canonical files are written, to be published together."""
        return self.work / "result"

    @property
    def now_sql(self) -> str:
        """SQL: the moment of this build; what is later has not happened yet."""
        return f"TIMESTAMPTZ {literal(self.now.astimezone(UTC).isoformat())}"

    def skip(self, count: SourceCount) -> int:
        """The number of a source that has nothing to be read; its books are those of an earlier run."""
        self._sources.append(None)
        self.counts.append(count)
        return len(self._sources) - 1

    def open(self, path: Path, dialect: Dialect, only: tuple[Path, ...] | None = None) -> tuple[int, Relation]:
        """A new source's number, and its relation; two sources that name the same files share one."""
        key = (path, dialect)
        if key not in self._relations:
            self._relations[key] = files.read(
                self.connection, path, dialect, self.work, self.progress, self.check_text, only
            )
            self.notes += self._relations[key].notes
        self._sources.append(self._relations[key])
        return len(self._sources) - 1, self._relations[key]

    def reread(self, number: int, relation: Relation) -> Relation:
        """Take a source for this relation of the same rows from now on."""
        self._sources[number] = relation
        return relation

    def execute(self, task: str, sql: str, part: tuple[int, int] = (0, 1)) -> Any:
        """Run one statement, telling how far it is while it runs; `part` is its number, from 0, of so many of the task."""
        done = threading.Event()
        before, parts = part

        def watch() -> None:
            while not done.wait(_HEARTBEAT):
                self.progress(task, (before + max(0.0, self.connection.query_progress()) / 100) / parts)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            return self.connection.execute(sql)
        finally:
            done.set()
            watcher.join()
            self.progress(task, (before + 1) / parts)

    def copy(self, task: str, rows: str, name: str) -> None:
        """Write rows to the result's file `name`."""
        self.execute(task, f"COPY ({rows}) TO {literal(str(self.result / name))} (FORMAT parquet, COMPRESSION zstd)")

    def reject(self, number: int, rows: str) -> None:
        """Put rows of a source into quarantine; `rows` is SQL with columns file_position, line_number, reason, raw."""
        names = self._relation(number).file_names
        self.execute(
            "Setting bad rows aside",
            f"INSERT INTO rejected SELECT {number}, {names}, {LINE}, reason, raw FROM ({rows})",
        )

    def reject_bad_lines(self, number: int) -> None:
        """Put a source's lines that are no rows into quarantine."""
        if self._relation(number).bad is not None:
            self.reject(number, f"SELECT * FROM {self._relation(number).bad}")

    def reject_by_position(self, number: int, positions: str) -> None:
        """Put rows of a source into quarantine; `positions` is SQL with columns file_position, line_number, reason."""
        relation = self._relation(number)
        self.reject(
            number,
            f"SELECT {FILE}, {LINE}, refused.reason AS reason, {relation.raw} AS raw "
            f"FROM {relation.sql} AS content JOIN ({positions}) AS refused USING ({FILE}, {LINE})",
        )

    def stage_customers(self, table: str, number: int, columns: Sequence[str], reasons: Sequence[str]) -> None:
        """Stage one row per customer in `table`: position, `reason` (NULL: accepted) and `columns`, of which one is `id`.

        Of several good rows with one id, the first is kept. `reasons` are the arms of a CASE.
        """
        relation = self._relation(number)
        position = f"{FILE}, {LINE}, {ROW}"
        if len(columns) > WIDE:
            self.connection.execute("SET disabled_optimizers = 'common_subexpressions'")
        self.execute(
            "Reading customers",
            f"CREATE TABLE {table} AS SELECT {position}, CASE {' '.join(reasons)} ELSE NULL END AS reason, "
            f"{', '.join(columns)} FROM {relation.sql}",
        )
        self.connection.execute("RESET disabled_optimizers")
        self.execute(
            "Looking for duplicates",
            f"UPDATE {table} SET reason = {literal(Reason.DUPLICATE_CUSTOMER)} WHERE {ROW} IN ("
            f"SELECT {ROW} FROM (SELECT {ROW}, row_number() OVER (PARTITION BY id ORDER BY {ROW}) AS occurrence "
            f"FROM {table} WHERE reason IS NULL) WHERE occurrence > 1)",
        )
        self.reject_bad_lines(number)
        self.reject_by_position(number, f"SELECT {FILE}, {LINE}, reason FROM {table} WHERE reason IS NOT NULL")
        self.count(number, self.scalar(f"SELECT count(*) FROM {table} WHERE reason IS NULL"), 0)

    def _relation(self, number: int) -> Relation:
        relation = self._sources[number]
        assert relation is not None, "nothing is read of this source"
        return relation

    def scalar(self, sql: str) -> Any:
        """The only value of a query."""
        return self.connection.execute(sql).fetchall()[0][0]

    def count(self, number: int, accepted: int, filtered: int, before: SourceCount | None = None) -> None:
        """Close the books of a source, whose bad rows are in quarantine by now; those of an earlier run are added."""
        relation = self._relation(number)
        rows = self.connection.execute(
            f"SELECT reason, count(*) FROM rejected WHERE source = {number} GROUP BY 1 ORDER BY 1"
        )
        times = self.times.get(number, {})
        count = SourceCount(relation.path, relation.rows, accepted, filtered, dict(rows.fetchall()), times)
        if accepted + filtered + sum(count.rejected.values()) != relation.rows:
            raise AssertionError(f"rows are missing from the books: {count}")
        self.counts.append(count if before is None else before.plus(count))

    def refuse_if_useless(self, numbers: Sequence[int], what: str) -> None:
        """Sources without a single usable row are not what the TOML says: tell what is wrong with the first.

        Raises:
            IngestError: no row of these sources was accepted.
        """
        if any(self.counts[number].accepted for number in numbers):
            return
        count = next(
            (self.counts[number] for number in numbers if self.counts[number].rejected), self.counts[numbers[0]]
        )
        if not count.rejected:
            raise IngestError(f"{count.path}: `where` leaves none of the {count.read:,} rows, so there are no {what}.")
        reason = max(count.rejected, key=lambda reason: count.rejected[reason])
        number = self.counts.index(count)
        line, raw = example(self.connection, "rejected", number, reason)
        advice = cure(self.connection, "rejected", number, reason, count.times.get(reason))
        raise IngestError(
            f"{count.path}: none of the {count.read:,} rows can be used, {count.rejected[reason]:,} because of {reason} "
            f"(line {line}: {raw[:200]}){advice}."
        )

    def write_quarantine(self, fingerprint: str) -> None:
        """Write every rejected row, and the counts, to the result's quarantine."""
        self.copy(
            "Writing the quarantine",
            "SELECT source, file, line, reason, raw FROM rejected ORDER BY source, file, line",
            "quarantine/rejected.parquet",
        )
        summary = {
            "rows_read": sum(count.read for count in self.counts),
            "rows_accepted": sum(count.accepted for count in self.counts),
            "rows_filtered": sum(count.filtered for count in self.counts),
            "rejected": self.rejected,
            "fingerprint": fingerprint,
            "sources": [
                {
                    "path": str(count.path),
                    "read": count.read,
                    "accepted": count.accepted,
                    "filtered": count.filtered,
                    "rejected": dict(count.rejected),
                }
                for count in self.counts
            ],
        }
        (self.result / "quarantine" / "summary.json").write_text(
            json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
        )

    @property
    def rejected(self) -> dict[str, int]:
        """Rows in quarantine by reason, over all sources, the commonest first."""
        totals: dict[str, int] = {}
        for count in self.counts:
            for reason, rows in count.rejected.items():
                totals[reason] = totals.get(reason, 0) + rows
        return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))
