"""A bundle's folder: a manifest of plain data under one hash, and the files beside it, written whole or not at all."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from models.atomic_write import put, sync
from models.errors import BundleError, EffectError, ScorecardError

FORMAT_VERSION = 1


class Bundle(Protocol):
    """What can be kept in such a folder."""

    @property
    def run_id(self) -> str | None:
        """The run that made it; not hashed, as are the next two."""
        ...

    @property
    def commit(self) -> str | None:
        """The commit of the code that made it."""
        ...

    @property
    def trained_at(self) -> datetime:
        """When it was made."""
        ...

    @property
    def hash(self) -> str:
        """SHA-256 of what it is."""
        ...

    def content(self) -> dict[str, Any]:
        """What its manifest says of it, as plain JSON."""
        ...


B = TypeVar("B", bound=Bundle)


@dataclass(frozen=True, slots=True)
class BundleFolder:
    """How bundles of one kind lie on disk.

    Attributes:
        noun: what people call one.
        manifest: the file that says what it is, and its hash; it is written last.
        indent: of the manifest's JSON.
    """

    noun: str
    manifest: str
    indent: int | None = None

    def save(self, path: Path, bundle: Bundle, files: Mapping[str, bytes]) -> None:
        """Write a bundle as the new folder `path`, whole or not at all; `files` lie beside the manifest.

        Raises:
            BundleError: something already stands there, a figure is not finite, or the disk refuses.
        """
        made_by = {
            "run_id": bundle.run_id,
            "commit": bundle.commit,
            "trained_at": bundle.trained_at.astimezone(UTC).isoformat(),
        }
        manifest = {"format_version": FORMAT_VERSION, "hash": bundle.hash, "content": bundle.content(), "run": made_by}
        write_folder(path, {**files, self.manifest: (canonical(manifest, self.indent) + "\n").encode()})

    def load(self, path: Path, parse: Callable[[Mapping[str, Any], dict[str, Any]], B]) -> B:
        """The bundle that `save` wrote, verified against its hash.

        Args:
            parse: makes it of its `content()` and of `run_id`, `commit` and `trained_at`; it reads the files beside them.

        Raises:
            BundleError: a file is missing, damaged or changed, or of another format.
        """
        try:
            manifest = json.loads((path / self.manifest).read_bytes())
            version = manifest.get("format_version") if isinstance(manifest, dict) else None
            if version != FORMAT_VERSION:
                raise BundleError(
                    f"The {self.noun} in {path} has format {version}, but this keepwell reads format {FORMAT_VERSION}: "
                    f"train again."
                )
            run = manifest["run"]
            made_by = {
                "run_id": run["run_id"],
                "commit": run["commit"],
                "trained_at": datetime.fromisoformat(run["trained_at"]),
            }
            bundle, stated = parse(manifest["content"], made_by), str(manifest["hash"])
        except OSError as error:
            missing = Path(error.filename).name if error.filename else self.manifest
            raise BundleError(
                f"{path} is no whole {self.noun}: {missing} cannot be read ({error.strerror})."
            ) from error
        except (KeyError, TypeError, ValueError, AttributeError, ScorecardError, EffectError) as error:
            raise BundleError(f"The {self.noun} in {path} is damaged: it lacks or mangles {error}.") from error
        if bundle.hash != stated:
            raise BundleError(
                f"The {self.noun} in {path} was changed after training: its hash is {bundle.hash[:12]}, not {stated[:12]}."
            )
        return bundle


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write the new folder `path` with these files, in their order, whole or not at all.

    Raises:
        BundleError: something already stands there, or the disk refuses.
    """
    if path.exists():
        raise BundleError(f"A bundle cannot be written to {path}: something stands there already.")
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        aside.mkdir(parents=True)
        for name, content in files.items():
            (aside / name).write_bytes(content)
            sync(aside / name)
        put(aside, path)
    except OSError as error:
        raise BundleError(f"The bundle cannot be written to {path}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def canonical(data: object, indent: int | None = None) -> str:
    """JSON that is the same text for the same data; a figure that is not finite has no JSON.

    Raises:
        BundleError: it is no plain, finite data.
    """
    try:
        return json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent)
    except (TypeError, ValueError) as error:
        raise BundleError(f"The bundle holds something that is no plain, finite data: {error}.") from error
