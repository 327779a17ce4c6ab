"""A build: from a business's files to a new live generation, which a kill at any moment leaves undone or done."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from features.config.business import Business, EventsData, TableData
from features.config.suggestions import near_matches
from features.damage import damage_in
from features.errors import ConfigError, FeaturesError, HomeError, IngestError, StoreUnavailable
from features.event_log import segments
from features.generation import ANSWERS_FILE, EMBEDDED, PURCHASES_FILE, Generation, SourceSummary, event_files
from features.home import Home
from features.ingestion.csv_reader import Dialect
from features.ingestion.files import columns
from features.ingestion.losses import refuse_losses
from features.ingestion.manifest import Manifest
from features.ingestion.run import IngestSummary, ingest
from features.schema import FeatureSchema
from features.snapshots.builder import Progress, build_snapshots, build_table_snapshot, table_schema
from features.snapshots.cutoffs import Moments, moments_of_events, moments_of_table
from features.snapshots.event_table import EventLog, declared_schema, refuse_unknown
from features.snapshots.purchases import write_purchases
from features.snapshots.touch_responses import write_answers
from features.store.offline import OfflineStore, forget

CANCELLED = "subscription_cancelled"
REGISTERING = "Registering features"
MATERIALIZING = "Filling the online store"


@dataclass(frozen=True, slots=True)
class Built:
    """A build that succeeded: its generation, and what the user should know of it."""

    generation: Generation
    replaced: Generation | None
    notes: tuple[str, ...]


def build(
    business: Business,
    home: Home,
    now: datetime,
    progress: Progress,
    online_store: str = EMBEDDED,
    *,
    accept_loss: bool = False,
    event_log: str | None = None,
) -> Built:
    """Ingest, describe, apply, materialize, and make the result the live generation.

    Args:
        online_store: where current features go: embedded, or a redis:// URL.
        accept_loss: go on however many rows are set aside, and however few customers have events.
        event_log: the database of events that came in live, by its URL; the home's own by default.

    Raises:
        ConfigError, IngestError: the TOML or a file is not as it should be.
        HomeError: the home is another business's, or another build is running in it.
        StoreUnavailable: the online store does not answer.
        DatabaseUnavailable: the log of live events does not answer.
    """
    if business.data is None or business.churn is None:
        raise ConfigError(f"{business.path}: a build needs the tables [data] and [churn].")
    if home.business is not None:
        home.claim(business.name)
    with home.lock("build"):
        home.protect()
        notes: list[str] = []

        def forgotten(generation_id: str, generation: Generation | None) -> None:
            if generation is not None and not generation.is_made_in(home):
                return  # its rows may be what the home that this one was copied from serves
            project = Generation.project_name(business.name, generation_id)
            try:
                forget(generation.online_store if generation else online_store, project)
            except StoreUnavailable as error:
                notes.append(f"Old features could not be deleted: {error}")

        Generation.collect(home, forgotten)
        generation_id = Generation.new_id(now)
        path = home.generations / generation_id
        path.mkdir(parents=True)
        try:
            replaced = base = _live(home)
            log = event_log or f"sqlite:///{home.event_log}"
            live = segments.take(log, home.live_events) if isinstance(business.data, EventsData) else None
            try:
                generation = describe(business, path, now, online_store, progress, base, live, accept_loss=accept_loss)
            except Exception as error:
                if base is None or isinstance(error, FeaturesError) or (harm := damage_in(base.path)) is None:
                    raise
                notes.append(f"{harm}; nothing of that build was taken over.")
                base = None
                shutil.rmtree(path)
                path.mkdir()
                generation = describe(business, path, now, online_store, progress, None, live, accept_loss=accept_loss)
            notes += _refused(log, path) if isinstance(business.data, EventsData) else []
            offline = OfflineStore(generation)
            progress(REGISTERING, 0.0)
            offline.apply()
            if base is not None:
                gone = offline.carry_services(base)
                notes += [f"{name} reads features that are gone: train and promote a new model." for name in gone]
            progress(REGISTERING, 1.0)
            _materialize(offline, progress)
            generation.write()
        except BaseException:
            forgotten(generation_id, None)
            shutil.rmtree(path, ignore_errors=True)
            raise
        home.claim(business.name)
        generation.commit(home)
        Generation.collect(home, forgotten)
    return Built(generation, replaced, (*generation.sources.notes, *notes))


def _refused(log: str, path: Path) -> list[str]:
    """Write the events that were refused when they came in beside the rows of files that were; a note of them."""
    file = path / "quarantine" / "live.parquet"
    reasons = segments.write_refused(log, file)
    listed = ", ".join(f"{events:,} × {reason}" for reason, events in reasons.items())
    return [f"Events that were refused when they came in, so far: {listed}; see {file}."] if reasons else []


def _live(home: Home) -> Generation | None:
    try:
        return Generation.current(home)
    except HomeError:  # one that was damaged, too: it is what this build replaces
        return None


def describe(
    business: Business,
    path: Path,
    now: datetime,
    online_store: str,
    progress: Progress,
    base: Generation | None = None,
    live: Path | None = None,
    *,
    accept_loss: bool = False,
) -> Generation:
    """Ingest and describe into the directory `path`; what a `base` has already is taken over, and the result is the same.

    `live` is the folder of events that came in live.

    The generation is not registered, materialized or written yet.
    """
    assert business.data is not None
    assert business.churn is not None
    if isinstance(business.data, EventsData) and business.data.drop:
        own = business.data.customers
        refuse_unknown(business, business.data.drop, () if own is None else columns(own.path, Dialect.of(own)))
    summary = ingest(business, path, now, progress, base.path if base else None, live)
    if not accept_loss:
        _refuse_losses(business.data, summary, path, live)
    shutil.copyfile(business.path, path / "business.toml")
    if isinstance(business.data, TableData):
        schema = table_schema(business, path)
        moments = moments_of_table(now)
        customers = build_table_snapshot(schema, moments.as_of, path)
        unread: tuple[str, ...] = ()
    else:
        schema, moments, customers, unread = _describe_events(business, summary, path, now, progress, base)
    if not customers:
        raise IngestError(f"{business.path}: nobody is a customer any more at {moments.as_of:%Y-%m-%d}.")
    return Generation(
        id=path.name,
        path=path,
        business=business.name,
        kind=business.data.kind,
        as_of=moments.as_of,
        before=moments.before,
        cutoffs=moments.cutoffs,
        horizon_days=business.churn.horizon_days,
        schema=schema,
        project=Generation.project_name(business.name, path.name),
        online_store=online_store,
        sources=SourceSummary(
            rows_read=summary.rows_read,
            rows_accepted=summary.rows_accepted,
            rows_filtered=summary.rows_filtered,
            rejected=dict(summary.rejected),
            first_event=summary.first_event,
            last_event=summary.last_event,
            customers=customers,
            notes=(*summary.notes, *unread),
        ),
        fingerprint=summary.fingerprint,
        configuration=business.fingerprint,
    )


def _refuse_losses(data: TableData | EventsData, summary: IngestSummary, path: Path, live: Path | None) -> None:
    refuse_losses(summary.counts, data.max_set_aside, path, live)
    if isinstance(data, EventsData) and data.customers is not None and summary.acquaintance is not None:
        summary.acquaintance.refuse_strangers(data.customers.path, data.max_set_aside)


def _describe_events(
    business: Business,
    summary: IngestSummary,
    path: Path,
    now: datetime,
    progress: Progress,
    base: Generation | None,
) -> tuple[FeatureSchema, Moments, int, tuple[str, ...]]:
    data = business.data
    assert isinstance(data, EventsData)
    assert business.churn is not None
    assert summary.first_event is not None
    assert summary.last_event is not None
    moments = moments_of_events(business, summary.first_event, summary.last_event, now)
    with contextlib.closing(EventLog.open(business, path)) as log:
        schema = declared_schema(log, data.drop)
        for name in data.drop:
            if name not in schema.names:
                known = near_matches(name, schema.names)
                raise ConfigError(f"{business.path}: [data] drop: there is no feature {name!r}{known}")
        left_by = business.churn.event or CANCELLED
        kept = _kept(schema, path, base)
        customers = build_snapshots(log, schema, moments, path, left_by, progress, kept)
        events = Path(event_files(path))
        if log.evidence.says("purchase", "item"):
            write_purchases(events, moments.as_of, path / PURCHASES_FILE)
        if log.evidence.seen("touch"):
            write_answers(events, moments.as_of, business.timezone, path / ANSWERS_FILE)
        return schema, moments, customers, log.evidence.unread


def _kept(schema: FeatureSchema, path: Path, base: Generation | None) -> dict[datetime, Path]:
    """The moments that an earlier generation described as this one would, and where.

    Nothing was added to its log that is visible at them, its features are the same, of the same customers' file.
    """
    manifest = Manifest.load(path)
    former = None if base is None else Manifest.load(base.path)
    if base is None or manifest is None or former is None or manifest.base != base.id:
        return {}
    if former.customers != manifest.customers or schema.to_json() != base.schema.to_json():
        return {}
    until = (
        None
        if manifest.added_from is None
        else datetime.fromtimestamp(0, UTC) + timedelta(microseconds=manifest.added_from)
    )
    moments = {*base.cutoffs, base.as_of, *([base.before] if base.before else [])}
    stood = dict.fromkeys(base.weeks, base.path / "weeks") | dict.fromkeys(moments, base.path / "snapshots")
    return {moment: folder for moment, folder in stood.items() if until is None or moment <= until}


def _materialize(offline: OfflineStore, progress: Progress) -> None:
    total, done = offline.rows_to_materialize(), 0
    progress(MATERIALIZING, 0.0)

    def advance(rows: int) -> None:
        nonlocal done
        done += rows
        progress(MATERIALIZING, done / total)

    offline.materialize(advance)
