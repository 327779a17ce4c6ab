"""Reports as files, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from features.atomic_write import write_atomically
from training.errors import TrainingError


def write_json(path: Path, content: object) -> None:
    """Write a report.

    Raises:
        TrainingError: the disk refuses.
    """
    write_page(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_page(path: Path, content: str) -> None:
    """Write a report that is text already.

    Raises:
        TrainingError: the disk refuses.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise TrainingError(f"The report cannot be written to {path}: {error.strerror}.") from error
