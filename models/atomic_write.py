"""Files that are there whole or not at all, as `features.atomic_write`, which models may not import: neither knows the other."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Put a file with `content` in the place of `path`, in a folder that is there.

    A reader, or a kill at any moment, sees the old file or the new one.

    Args:
        durable: whether a loss of power must not lose or tear it; that waits for the disk.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content)
        put(aside, path, durable=durable)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def put(aside: Path, path: Path, *, durable: bool = True) -> None:
    """Put what was written aside, a file or a folder, in the place of `path`."""
    if durable:
        sync(aside)
    aside.replace(path)
    if durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Have what was written to a file, or what was named in a folder, be on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
