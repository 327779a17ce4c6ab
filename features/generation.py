"""A build's result as one immutable directory, and the pointer that says which one is live."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pyarrow.parquet as pq

from features.atomic_write import sync, write_atomically
from features.errors import HomeError, NoGeneration
from features.home import Home, read_json
from features.schema import FeatureSchema

MANIFEST = "generation.json"
KEPT = 3
BUILD_AGAIN = "run 'python -m features build CONFIG' again"
_ID = re.compile(r"\w[\w-]*")
_MADE = re.compile(r"\d{8}T\d{12}Z")
EMBEDDED = "embedded"
PURCHASES_FILE = "purchases.parquet"
ANSWERS_FILE = "answers.parquet"
EVENTS = "events"
EVIDENCE = "evidence"
FORMAT = 2
"""1: sums over events in whatever order the engine took; 2: exact ones, see `features.pillars.exact_sum`."""


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """What became of the sources' rows: read, accepted, filtered by `where`, and rejected by reason; `notes` are sentences."""

    rows_read: int
    rows_accepted: int
    rows_filtered: int
    rejected: Mapping[str, int]
    first_event: datetime | None
    last_event: datetime | None
    customers: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """One build of one business's features: its directory, its moments, and what Feast calls it.

    `as_of` is the moment of the current snapshot, `before` that of the comparison 30 days earlier (None for tables),
    `cutoffs` those of training, oldest first; all are UTC. `project` is Feast's, `<project>_before` the comparison's.
    `format` says how its figures were computed (see `FORMAT`).
    `online_store` is "embedded" or a redis:// URL. `fingerprint` hashes the sources' bytes, `configuration` the TOML's.
    """

    id: str
    path: Path
    business: str
    kind: str
    as_of: datetime
    before: datetime | None
    cutoffs: tuple[datetime, ...]
    horizon_days: int
    schema: FeatureSchema
    project: str
    online_store: str
    sources: SourceSummary
    fingerprint: str
    configuration: str
    format: int = FORMAT
    made_in: str | None = field(default=None, compare=False)
    """The home that built it: rows in a Redis are that home's, and not a copy's. None before homes were written down."""

    @property
    def customers_file(self) -> Path:
        return self.path / "customers.parquet"

    @property
    def events_files(self) -> str:
        """Canonical events, as the pattern of their Parquet files; there are none for tables."""
        former = self.path / "events.parquet"  # one file, until the log came to be kept by the month
        return str(former) if former.exists() else event_files(self.path)

    @property
    def event_parts(self) -> tuple[Path, ...]:
        """The files of `events_files`."""
        former = self.path / "events.parquet"
        return (former,) if former.exists() else tuple(sorted((self.path / EVENTS).glob("*.parquet")))

    @property
    def purchases_file(self) -> Path:
        """Who bought what on which day; absent where no purchase names an item."""
        return self.path / PURCHASES_FILE

    @property
    def answers_file(self) -> Path:
        """Which touches were answered, by channel and hour; absent where no touch has a channel."""
        return self.path / ANSWERS_FILE

    @property
    def registry_file(self) -> Path:
        return self.path / "registry.db"

    @property
    def online_file(self) -> Path:
        """The embedded online store, packed rows in LMDB; absent when the online store is Redis."""
        return self.path / "online.lmdb"

    @property
    def is_embedded(self) -> bool:
        """Whether the online store is a file of this generation."""
        return not is_redis(self.online_store)

    @property
    def online_place(self) -> tuple[Path | None, str | None]:
        """The online store's file or its URL, the other being None."""
        return (self.online_file, None) if self.is_embedded else (None, self.online_store)

    @property
    def online_name(self) -> str:
        """The online store, as messages name it: a Redis URL may hold a password."""
        return str(self.online_file) if self.is_embedded else "Redis"

    @property
    def business_file(self) -> Path:
        """The TOML that this was built from, as it was then."""
        return self.path / "business.toml"

    @property
    def quarantine(self) -> Path:
        return self.path / "quarantine"

    @property
    def project_before(self) -> str:
        """The Feast project of the comparison snapshot."""
        return f"{self.project}_before"

    def snapshot_file(self, pillar: str) -> Path:
        """The pillar's features at all moments."""
        return self.path / "snapshots" / f"{pillar}.parquet"

    def weeks_file(self, pillar: str) -> Path:
        """The pillar's features of each of the last weeks, one row group a week; absent for tables and young logs."""
        return self.path / "weeks" / f"{pillar}.parquet"

    @property
    def weeks(self) -> tuple[datetime, ...]:
        """The moments that the weeks' files describe, oldest first."""
        path = self.weeks_file(self.schema.pillars[0].name)
        if not path.exists():
            return ()
        file = pq.ParquetFile(path)
        column = file.schema_arrow.get_field_index("event_timestamp")
        groups = (file.metadata.row_group(number) for number in range(file.metadata.num_row_groups))
        # A week before the first customer has a row group without rows, one with a million customers has several.
        moments = {group.column(column).statistics.min.astimezone(UTC) for group in groups if group.num_rows}
        return tuple(sorted(moments))

    @staticmethod
    def project_name(business: str, generation_id: str) -> str:
        """Feast's name for a generation's project, which no other generation of any business shares."""
        # Feast keeps what it resolved in one cache per process, keyed by project: a name that two generations shared
        # would mix them while a server swaps one for the other.
        safe = re.sub(r"[^a-z0-9]+", "_", business.lower()).strip("_") or "business"
        return f"{safe}_{generation_id.lower()}"

    @staticmethod
    def new_id(now: datetime) -> str:
        """The id of a build that starts at `now`: sorts by time."""
        return now.astimezone(UTC).strftime("%Y%m%dT%H%M%S%fZ")

    @classmethod
    def current(cls, home: Home) -> Generation:
        """The live generation.

        Raises:
            NoGeneration: nothing was built yet.
        """
        generation_id = home.live
        if generation_id is None:
            raise NoGeneration(f"{home.path} holds no features yet: run 'python -m features build CONFIG' first.")
        return cls.load(home, generation_id)

    @classmethod
    def load(cls, home: Home, generation_id: str) -> Generation:
        """The generation `generation_id` of this home.

        Raises:
            NoGeneration: it is not there, or was never finished.
            HomeError: its manifest can't be read, or is of a newer version.
        """
        path = home.generations / generation_id
        try:
            if not _ID.fullmatch(generation_id):
                raise FileNotFoundError(generation_id)
            generation = read_json(path / MANIFEST, lambda data: cls._from_json(data, path), BUILD_AGAIN)
        except (FileNotFoundError, NotADirectoryError):
            raise NoGeneration(f"{home.path} holds no finished generation '{generation_id}': {BUILD_AGAIN}.") from None
        if home.online_store is not None and not generation.is_embedded:
            return replace(generation, online_store=home.online_store)
        return generation

    @classmethod
    def complete(cls, home: Home) -> tuple[Generation, ...]:
        """All finished generations, oldest first; one whose manifest is damaged is as good as unfinished."""
        found: list[Generation] = []
        for generation_id in sorted(path.parent.name for path in home.generations.glob(f"*/{MANIFEST}")):
            with contextlib.suppress(HomeError):
                found.append(cls.load(home, generation_id))
        return tuple(found)

    def is_made_in(self, home: Home) -> bool:
        """Whether `home` built it, rather than a home that it was copied or moved from."""
        return self.made_in in (None, str(home.path))

    def write(self) -> None:
        """Write the manifest, which makes this generation complete, after all its files are on disk."""
        _sync_tree(self.path)
        write_atomically(self.path / MANIFEST, json.dumps(self._to_json(), indent=1, ensure_ascii=False) + "\n")

    def commit(self, home: Home) -> None:
        """Make this the live generation: one `os.replace`, so that a reader sees the old one or this one."""
        write_atomically(home.current_file, self.id + "\n")

    @classmethod
    def collect(cls, home: Home, forget: Callable[[str, Generation | None], None]) -> tuple[str, ...]:
        """Remove unfinished generations, and finished ones but the newest 3 and the live one; return the ids removed.

        Before a directory goes, `forget` hears of its id, with the generation if it was finished, so that what lives
        elsewhere goes with it. Only under `home.lock("build")`: an unfinished directory is then a killed build's.
        """
        live = home.live
        finished = {generation.id: generation for generation in cls.complete(home)}
        kept = {*list(finished)[-KEPT:], live}
        # Whatever else lies there is not keepwell's to remove.
        found = sorted(path.name for path in home.generations.glob("*") if _MADE.fullmatch(path.name))
        removed = tuple(name for name in found if name not in kept)
        for name in removed:
            forget(name, finished.get(name))
            # The manifest goes first, so that a kill in the middle leaves an unfinished directory, not a broken one.
            (home.generations / name / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(home.generations / name)
        return removed

    def _to_json(self) -> dict[str, Any]:
        return {
            "format": self.format,
            "made_in": self.made_in or str(self.path.parent.parent),
            "id": self.id,
            "business": self.business,
            "kind": self.kind,
            "as_of": self.as_of.isoformat(),
            "before": self.before.isoformat() if self.before else None,
            "cutoffs": [cutoff.isoformat() for cutoff in self.cutoffs],
            "horizon_days": self.horizon_days,
            "project": self.project,
            "online_store": without_credentials(self.online_store),
            "fingerprint": self.fingerprint,
            "configuration": self.configuration,
            "sources": {
                **asdict(replace(self.sources, rejected=dict(self.sources.rejected))),
                "first_event": self.sources.first_event.isoformat() if self.sources.first_event else None,
                "last_event": self.sources.last_event.isoformat() if self.sources.last_event else None,
            },
            "schema": self.schema.to_json(),
        }

    @classmethod
    def _from_json(cls, data: Mapping[str, Any], path: Path) -> Generation:
        sources, format_ = data["sources"], data.get("format", 1)
        if format_ > FORMAT:
            raise HomeError(
                f"{path} was built by a newer keepwell (format {format_}): run that version, or build again."
            )
        return cls(
            id=data["id"],
            path=path,
            business=data["business"],
            kind=data["kind"],
            as_of=datetime.fromisoformat(data["as_of"]),
            before=_moment(data["before"]),
            cutoffs=tuple(datetime.fromisoformat(cutoff) for cutoff in data["cutoffs"]),
            horizon_days=data["horizon_days"],
            schema=FeatureSchema.from_json(data["schema"]),
            project=data["project"],
            online_store=data["online_store"],
            sources=SourceSummary(
                **{
                    **sources,
                    "first_event": _moment(sources["first_event"]),
                    "last_event": _moment(sources["last_event"]),
                    "notes": tuple(sources.get("notes", ())),
                }
            ),
            fingerprint=data["fingerprint"],
            configuration=data["configuration"],
            format=format_,
            made_in=data.get("made_in"),
        )


def event_files(folder: Path) -> str:
    """The pattern of the event files of a generation in `folder`, one a month, as DuckDB reads them."""
    return f"{_no_pattern(folder / EVENTS)}/*.parquet"


def evidence_files(folder: Path) -> str:
    """The pattern of the files that say what the event files hold, by type: see `features.ingestion.partitions.write`."""
    return f"{_no_pattern(folder / EVIDENCE)}/*.parquet"


def _no_pattern(folder: Path) -> str:
    """The folder within a pattern, where a bracket in its own name is a bracket."""
    return re.sub(r"([*?\[])", r"[\1]", str(folder))


def is_redis(online_store: str) -> bool:
    """Whether an online store is a Redis, by its URL."""
    return online_store.startswith(("redis://", "rediss://"))


def without_credentials(online_store: str) -> str:
    """An online store as it may be written down: the URL of a Redis without user and password."""
    if not is_redis(online_store):
        return online_store
    parts = urlsplit(online_store)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _sync_tree(path: Path) -> None:
    for folder, _, names in os.walk(path):
        for name in [*names, "."]:
            with contextlib.suppress(FileNotFoundError):  # SQLite's journal may go while we walk
                sync(Path(folder) / name)
