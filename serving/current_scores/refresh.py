"""Bringing the table of current scores up to date: everybody scored by what stands now."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.errors import StoreUnavailable, UnknownCustomer
from features.generation import Generation
from features.home import Home
from serving.current_scores.feed import CurrentScores
from serving.current_scores.record import BatchRow
from serving.current_scores.table import ScoreTable
from serving.decisions.playbook import Playbook
from serving.errors import NoRelease
from serving.platform.database import Database
from serving.platform.progress import progress
from serving.platform.settings import Settings
from serving.releases.follower import ReleaseSource
from serving.releases.release import Release

_CHUNK = 4096


class Superseded(NoRelease):
    """A newer build or champion stands: what was to be made current no longer is."""

    def __init__(self) -> None:
        super().__init__("A newer build or champion came while this one was being made ready.")


def bring_up_to_date(
    current: CurrentScores, source: ReleaseSource, release: Release, *, quiet: bool = False
) -> Release:
    """Make the table of current scores that of `release` if it is not; give the release with its population.

    One process of a home does it at a time; the others wait, and find it done.

    Raises:
        Superseded: `release` no longer stands, and rewriting the table would turn time back.
        StoreUnavailable, DatabaseUnavailable: nothing was rewritten.
    """
    with Home(release.generation.path.parent.parent).lock("refresh", wait=True):
        if not current.is_current(release.key):
            if source.newest().key != release.key:
                raise Superseded
            total = sum(len(ids) for ids in population(release.generation))
            with progress("Scoring customers", total, quiet=quiet) as bar:
                current.rewrite(release.key, scored_population(current.database, release, bar.advance))
        probabilities = current.probabilities(release.key)
    if probabilities is None:
        raise Superseded
    return release.with_population(probabilities)


def refresh(
    settings: Settings, refreshed: Callable[[Database, Release], object] = lambda *_: None, *, quiet: bool = False
) -> str:
    """Bring the table up to date with what stands, if anything does; give a sentence that says what was done.

    Args:
        refreshed: told of the release of which the table now is.
        quiet: shows no progress, where another command of which this is a part may show its own.

    Raises:
        FeaturesError, ModelsError, ServingError: it could not be; the table is as it was.
    """
    source = ReleaseSource(settings)
    try:
        candidate = source.newest()
    except NoRelease as error:
        return f"There are no current scores to refresh. {error}"
    database = Database(settings.database)
    try:
        database.migrate()
        current = CurrentScores(database)
        while not current.is_current(candidate.key):
            try:
                release = bring_up_to_date(current, source, source.load(candidate), quiet=quiet)
            except Superseded:
                candidate = source.newest()
                continue
            refreshed(database, release)
            return f"{release.population.size:,} current scores, by model version {release.model_version}."
        return "The current scores are up to date."
    finally:
        database.close()


def population(generation: Generation) -> Iterator[list[str]]:
    """The ids of the customers at the generation's moment, some at a time."""
    file = pq.ParquetFile(generation.snapshot_file(generation.schema.pillars[0].name))
    waiting: list[str] = []
    for batch in file.iter_batches(batch_size=65_536, columns=["customer_id", "event_timestamp"]):
        now = batch.filter(pc.equal(batch.column("event_timestamp"), generation.as_of))
        waiting += now.column("customer_id").to_pylist()
        while len(waiting) >= _CHUNK:
            yield waiting[:_CHUNK]
            waiting = waiting[_CHUNK:]
    if waiting:
        yield waiting


def scored_population(database: Database, release: Release, advance: Callable[[int], None]) -> Iterator[BatchRow]:
    """A row for every customer of the release's build.

    Raises:
        StoreUnavailable: the store does not answer, or lacks customers that the build wrote.
    """
    playbook = Playbook.of_release(release)
    for customer_ids in population(release.generation):
        table, places = ScoreTable.as_of_now(release, customer_ids)
        if len(places) < len(customer_ids):
            # To leave them out would say that they are gone.
            gone = UnknownCustomer(tuple(sorted(set(customer_ids) - set(table.customer_ids))))
            raise StoreUnavailable(f"The online store lost customers of the build: {gone}; build the features again.")
        with database.read() as connection:
            actions = table.suggestions(playbook, connection)
        yield from table.rows(actions)
        advance(len(table))
