"""Files that are there whole or not at all: written aside, on the disk, and then put into place by one rename."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_DESCRIPTORS = "/proc/self/fd"


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = 0o600, durable: bool = True) -> Iterator[BinaryIO]:
    """A file to write bytes to, which takes the place of `path` when the block ends, and of nothing if it raises.

    A reader, or a kill at any moment, sees the old file or the new one. The folder must be there.

    Args:
        mode: its permissions, of which the umask takes away.
        durable: whether a loss of power must not lose it once the block has ended; that waits for the disk.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor, is_named = _open_aside(aside, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
            if not is_named:
                _name(file.fileno(), aside)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if durable:
        try:
            sync(path.parent)
        except OSError as error:
            # The file is in its place; a folder may be written and not read, or lie where folders cannot be synced.
            if error.errno not in (errno.EACCES, errno.EINVAL):
                raise


def _open_aside(aside: Path, mode: int) -> tuple[int, bool]:
    """A file to write to, and whether it has the name `aside` already: one without a name is gone after a kill."""
    if hasattr(os, "O_TMPFILE") and Path(_DESCRIPTORS).is_dir():
        try:
            return os.open(aside.parent, os.O_WRONLY | os.O_TMPFILE, mode), False
        except OSError as error:
            # Not every file system has such files.
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
    return os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), True


def _name(descriptor: int, aside: Path) -> None:
    folder = os.open(aside.parent, os.O_PATH)  # which needs no right to read it
    try:
        aside.unlink(missing_ok=True)
        # The file itself, rather than the link to it, is followed only for a source that is looked for in a folder.
        os.link(f"{_DESCRIPTORS}/{descriptor}", aside.name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        os.close(folder)


def write_atomically(path: Path, content: str | bytes, *, mode: int = 0o600) -> None:
    """Put a file with `content`, text as UTF-8, in the place of `path`, and make its folder: see `replacing`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, mode=mode) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def sync(path: Path) -> None:
    """Have what was written to a file, or what was named in a folder, be on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
