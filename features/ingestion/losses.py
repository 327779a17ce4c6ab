"""What a build would lose: rows that are set aside, and customers whose events go by other ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from features.errors import IngestError
from features.generation import event_files
from features.ingestion.cells.casts import literal
from features.ingestion.quarantine import cure, example
from features.ingestion.staging import SourceCount
from features.reasons import Reason

NO_CUSTOMER_LIMIT: Final = 0.5
"""The share of a source's rows that may lack a customer's id: guests are nothing unusual."""
_HARDLY: Final = 0.05  # of the customers of the smaller file: with no more in common, the files name them differently
_REGARDLESS: Final = "`features build --accept-loss` goes on regardless"


def refuse_losses(counts: Sequence[SourceCount], limit: float, folder: Path, live: Path | None = None) -> None:
    """Stop where a source loses more than `limit` of the rows that its `where` leaves; `folder` has the quarantine.

    Rows without a customer's id have a limit of their own, `NO_CUSTOMER_LIMIT`. Events that came in `live` were checked when
    they did: what of them is not counted yet is no sign of a wrong TOML.

    Raises:
        IngestError: it does; the message has the reasons, a line and the likely cure.
    """
    for number, count in enumerate(counts):
        wanted = count.read - count.filtered
        if count.path == live:
            continue
        if not wanted:
            raise IngestError(f"{count.path}: `where` leaves none of the {count.read:,} rows; {_REGARDLESS}.")
        nameless = count.rejected.get(Reason.NO_CUSTOMER, 0)
        others = sum(count.rejected.values()) - nameless - count.rejected.get(Reason.NO_ROW, 0)
        if others <= limit * wanted and nameless <= max(limit, NO_CUSTOMER_LIMIT) * wanted:
            continue
        lost, allowed = (others, limit) if others > limit * wanted else (nameless, max(limit, NO_CUSTOMER_LIMIT))
        why = {
            reason: rows
            for reason, rows in count.rejected.items()
            if reason != Reason.NO_ROW and (reason != Reason.NO_CUSTOMER) == (lost is others)
        }
        reasons = ", ".join(f"{rows:,} × {reason}" for reason, rows in sorted(why.items(), key=lambda item: -item[1]))
        main = max(why, key=lambda reason: why[reason])
        with duckdb.connect() as connection:
            rejected = f"read_parquet({literal(str(folder / 'quarantine' / 'rejected.parquet'))})"
            line, raw = example(connection, rejected, number, main)
            advice = cure(connection, rejected, number, main, count.times.get(main), some_read=count.accepted > 0)
        raise IngestError(
            f"{count.path}: {lost:,} of {wanted:,} rows would be set aside, and at most {allowed:.0%} may be: {reasons} "
            f"(line {line}: {raw[:200]}){advice}; {_REGARDLESS}, as does a higher [data] max_set_aside."
        )


@dataclass(frozen=True, slots=True)
class Acquaintance:
    """How the customers of the customers' file and those of the events are the same.

    `twins` counts ids of the file that no event has, while an id that differs in zeros, case, blanks or signs has some;
    `pairs` are up to three of those, the file's id first.
    """

    known: int
    seen: int
    both: int
    twins: int
    pairs: tuple[tuple[str, str], ...]
    strangers: tuple[str, str]
    """An id of either side that the other has not, empty where there is none."""

    def refuse_strangers(self, path: Path, limit: float) -> None:
        """Stop where hardly a customer of the file at `path` has an event, or more than `limit` have a twin.

        Raises:
            IngestError: so it is; the message has examples.
        """
        smaller = min(self.known, self.seen)
        if self.twins > limit * smaller:
            shown = ", ".join(f"{one!r} against {other!r}" for one, other in self.pairs)
            raise IngestError(
                f"{path}: {self.known - self.both:,} of {self.known:,} customers have no event, and {self.twins:,} of them go by "
                f"another id among the events, the file's against theirs: {shown}; write them alike, or they count as lost; "
                f"{_REGARDLESS}."
            )
        if self.known and self.both <= _HARDLY * smaller:
            raise IngestError(
                f"{path}: {self.both:,} of {self.known:,} customers have an event, of {self.seen:,} whom events name; ids such as "
                f"{self.strangers[0]!r} are not among the events', such as {self.strangers[1]!r}; does customer_id name the "
                f"right column? {_REGARDLESS[0].upper()}{_REGARDLESS[1:]}."
            )


def acquaintance(folder: Path, known: str, connection: duckdb.DuckDBPyConnection) -> Acquaintance:
    """Compare the ids of `known` (SQL with the column customer_id) with those of the event files in `folder`."""
    seen = f"SELECT DISTINCT customer_id FROM read_parquet({literal(event_files(folder))})"
    alike = "ltrim(regexp_replace(lower(customer_id), '[^[:alnum:]]', '', 'g'), '0')"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE ghosts AS SELECT customer_id, {alike} AS alike FROM "
        f"(SELECT customer_id FROM ({known})) AS known ANTI JOIN ({seen}) AS seen USING (customer_id);"
        f"CREATE OR REPLACE TEMP TABLE unknown AS SELECT customer_id, {alike} AS alike FROM "
        f"({seen}) AS seen ANTI JOIN ({known}) AS known USING (customer_id)"
    )
    counts = connection.execute(
        f"SELECT (SELECT count(*) FROM ({known})), (SELECT count(*) FROM ghosts), (SELECT count(*) FROM unknown), "
        "(SELECT count(*) FROM ghosts SEMI JOIN unknown USING (alike)), "
        "coalesce((SELECT min(customer_id) FROM ghosts), ''), coalesce((SELECT min(customer_id) FROM unknown), '')"
    ).fetchall()[0]
    pairs = connection.execute(
        "SELECT ghosts.customer_id, unknown.customer_id FROM ghosts JOIN unknown USING (alike) WHERE alike <> '' "
        "ORDER BY ALL LIMIT 3"
    ).fetchall()
    rows, ghosts, strangers, twins, ghost, stranger = counts
    both = rows - ghosts
    return Acquaintance(rows, both + strangers, both, twins, tuple(pairs), (ghost, stranger))
