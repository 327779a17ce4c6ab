"""What a log was made of, kept beside it, so that the next build reads only what was added."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import duckdb

from features.config.business import Business
from features.errors import HomeError
from features.generation import BUILD_AGAIN
from features.home import read_json

NAME: Final = "ledger.json"


@dataclass(frozen=True, slots=True)
class File:
    """A source's file as it was read: two stamps that are the same mean that it is, else the content decides."""

    path: str
    size: int
    modified: int
    changed: int
    digest: str

    def is_unchanged(self, file: Path) -> bool:
        """Whether nobody touched it since."""
        status = file.stat()
        return (self.size, self.modified, self.changed) == (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Source:
    """One source's files, the columns that they have together, and what became of their rows."""

    files: tuple[File, ...]
    columns: tuple[tuple[str, str], ...]
    read: int
    accepted: int
    filtered: int
    rejected: Mapping[str, int]
    readings: tuple[tuple[str, str], ...] = ()
    """How its columns are read, those aside that are written plainly; see `features.ingestion.column_reading`."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The books of one ingest of events.

    `code` hashes the programs that wrote the log, `configuration` what the TOML says, `customers` is the customers' file
    and which of its rows were refused. `due` is the
    earliest moment (microseconds) from which a row that lay in the future would be accepted, `added_from` the earliest
    from which an event that this ingest added to the log of `base` (a generation's id) is visible; None where there is none.
    """

    code: str
    configuration: str
    sources: tuple[Source, ...]
    customers: str
    due: int | None
    base: str | None = None
    added_from: int | None = None
    known: Mapping[str, File] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Keep it in a generation's directory."""
        content = {name: value for name, value in asdict(self).items() if name != "known"}
        (folder / NAME).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Manifest | None:
        """The books of the generation at `folder`, or None where it has none."""
        try:
            return read_json(folder / NAME, cls._from_json, BUILD_AGAIN)
        except (FileNotFoundError, HomeError):
            return None

    @classmethod
    def _from_json(cls, data: dict[str, Any]) -> Manifest:
        sources = tuple(
            Source(
                **{
                    **source,
                    "files": tuple(File(**file) for file in source["files"]),
                    "columns": tuple((name, kind) for name, kind in source["columns"]),
                    "readings": tuple((name, reading) for name, reading in source.get("readings", ())),
                }
            )
            for source in data.pop("sources")
        )
        known = {file.path: file for source in sources for file in source.files}
        return cls(**data, sources=sources, known=known)

    def fits(self, business: Business, now_us: int) -> bool:
        """Whether a log of this code and these sources is a part of what a whole ingest would write now."""
        same = self.code == code() and self.configuration == configuration(business)
        return same and (self.due is None or now_us < self.due)


def added(known: Source, files: Sequence[Path], digests: Mapping[Path, str]) -> tuple[Path, ...] | None:
    """The files that came after those that are known; None where a known one is gone, changed, or after a new one."""
    old = [(file.path, file.digest) for file in known.files]
    found = [(str(file), digests[file]) for file in files]
    return tuple(files[len(old) :]) if found[: len(old)] == old else None


def configuration(business: Business) -> str:
    """A hash of all that decides how events are read and customers described, moments apart."""
    assert business.data is not None
    assert business.churn is not None
    said = [business.timezone, str(business.currency), business.data.model_dump_json()]
    said += [business.churn.model_dump_json(include={"event", "activity"})]
    said += [action.model_dump_json(include={"name", "consent", "cap"}) for action in business.actions]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


@functools.cache
def code() -> str:
    """A hash of the programs that read events and describe customers: what others wrote is not taken over."""
    whole = hashlib.sha256(duckdb.__version__.encode())
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        whole.update(file.read_bytes())
    return whole.hexdigest()
