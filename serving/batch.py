"""Scoring a file of customers: each row comes back in its place, a bad one with its error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from features.business import Business, TableData
from features.errors import SchemaMismatch, UnknownCustomer
from features.near import near_matches
from features.schema import FeatureSchema
from serving.champion import ReleaseSource
from serving.customer_file import CustomerFile, Customers, RowReader, ending
from serving.database import Database
from serving.decisions import DecisionService, LoggedDecision
from serving.keys import Principal, Role
from serving.playbook import Playbook
from serving.progress import progress
from serving.release import Release
from serving.rows import BatchRow, score_as_of_now
from serving.score_file import Line, writing
from serving.scorer import CustomerScore, Explain, Scorer
from serving.settings import Settings

CUSTOMER_ID = "customer_id"
COMMAND = Principal("serving batch", Role.ADMIN)
"""Who decides, in the log, when nobody came with a key."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """One run: what scores, who suggests or decides, and what is read of the file."""

    scorer: Scorer
    playbook: Playbook
    database: Database
    decide: bool
    from_file: bool
    """A table business: the features stand in the file, not in the store."""

    def lines(self, customers: Customers) -> list[Line]:
        """A line per row, in order."""
        good = [place for place, error in enumerate(customers.errors) if error is None]
        lines = [Line(id, error=error) for id, error in zip(customers.ids, customers.errors, strict=True)]
        scored: list[tuple[int, CustomerScore]] = []
        for place, result in zip(good, self._scores(customers, good), strict=True):
            if isinstance(result, UnknownCustomer):
                lines[place] = Line(customers.ids[place], error=str(result))
            else:
                scored.append((place, result))
        for (place, _), line in zip(scored, self._scored_lines([score for _, score in scored]), strict=True):
            lines[place] = line
        return lines

    def _scores(self, customers: Customers, good: Sequence[int]) -> Sequence[CustomerScore | UnknownCustomer]:
        ids = [str(customers.ids[place]) for place in good]
        if not self.from_file:
            return score_as_of_now(self.scorer, ids)
        columns = {name: [column[place] for place in good] for name, column in customers.columns.items()}
        return self.scorer.score_rows(ids, columns, Explain.TOP)

    def _scored_lines(self, scores: Sequence[CustomerScore]) -> Iterator[Line]:
        if not scores:
            return
        if self.decide:
            decisions = DecisionService(self.database).decide_scored(self.scorer.release, scores, COMMAND)
            for score, decision in zip(scores, decisions, strict=True):
                yield _decided(score, decision)
            return
        with self.database.read() as connection:
            actions = self.playbook.suggest(connection, scores, scores[0].scored_at)
        for score, action in zip(scores, actions, strict=True):
            yield Line(score.customer_id, BatchRow.of(score, action))


def score_file(settings: Settings, source: Path, target: Path, *, decide: bool) -> str:
    """Score the customers of `source` into `target` by what stands; with `decide`, decide about each and log it.

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
    business = Business.load(release.generation.path / "business.toml")
    table = business.data if isinstance(business.data, TableData) else None
    playbook = Playbook.of(release.generation)
    file = CustomerFile.open(source, release.schema.names, None if table is None else table.delimiter)
    reader = _reader(file, business, release, playbook)
    database = Database(settings.database)
    rows = bad = 0
    try:
        database.migrate()
        batch = _Batch(Scorer(release), playbook, database, decide, from_file=table is not None)
        with writing(target, decided=decide) as output, progress("Scoring customers", None) as bar:
            for customers in file.read(reader, bar):
                lines = batch.lines(customers)
                output.write(lines)
                rows += len(lines)
                bad += sum(line.error is not None for line in lines)
                bar.advance(len(lines))
    finally:
        database.close()
        release.store.close()
    failed = f", {bad:,} with an error" if bad else ""
    return f"{rows:,} rows{failed}: {target}"


def _reader(file: CustomerFile, business: Business, release: Release, playbook: Playbook) -> RowReader:
    """What to read of the file.

    Raises:
        SchemaMismatch: it lacks columns.
    """
    data = business.data
    if not isinstance(data, TableData):
        _require(file, [CUSTOMER_ID], "which an event business is scored by")
        return RowReader(file.path, file.names, CUSTOMER_ID, FeatureSchema(()), {}, business.timezone)
    id_name = data.customer_id
    if id_name is None and CUSTOMER_ID in file.names and CUSTOMER_ID not in data.drop:
        id_name = CUSTOMER_ID
    if id_name is not None:
        _require(file, [id_name], "which holds the customers' ids")
    at_stake = () if playbook.at_stake is None else sorted(playbook.at_stake.columns)
    needed = dict.fromkeys([*release.schema.names, *at_stake])
    _require(file, [name for name in release.generation.schema.names if name in needed], "which the model reads")
    return RowReader(
        file.path, file.names, id_name, release.generation.schema, release.bundle.categories, business.timezone
    )


def _require(file: CustomerFile, names: Sequence[str], why: str) -> None:
    missing = [name for name in names if name not in file.names]
    if not missing:
        return
    if len(missing) == 1:
        near = near_matches(missing[0], file.names)
        raise SchemaMismatch(f"{file.path}: there is no column {missing[0]!r}, {why}{near}")
    shown = ", ".join(repr(name) for name in missing[:5])
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    raise SchemaMismatch(f"{file.path}: there are no columns {shown}{more}, {why}.")


def _decided(score: CustomerScore, decision: LoggedDecision) -> Line:
    return Line(
        score.customer_id,
        BatchRow.of(score, decision.action),
        decision_id=decision.decision_id,
        pscore=decision.pscore,
        channel=decision.channel,
    )
