"""A bundle's folder: plain files, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from models.errors import BundleError


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
            _write(aside / name, content)
        _sync_folder(aside)
        aside.rename(path)
        _sync_folder(path.parent)
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


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
