"""A folder that is written aside and exchanged for the old one in one step."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from experiments.simulation.errors import SimulationError
from features.atomic_write import sync

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def replaced(folder: Path, *, marker: str) -> Iterator[Path]:
    """Give an empty folder beside `folder` to write to; when the block ends well, it becomes `folder` at once.

    A kill leaves the old folder, or the new; what a kill left aside is removed by the next call. `marker` is the file by
    which an old folder is known to be ours, and may go.

    Raises:
        SimulationError: `folder` holds something else, cannot be written, or another process is replacing it.
    """
    folder = folder.absolute()
    aside = folder.with_name(f".{folder.name}.aside")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists() and not folder.is_dir():
            raise SimulationError(f"{folder} is a file: give a folder that is empty, new or holds a simulation.")
        if folder.is_dir() and any(folder.iterdir()) and not (folder / marker).exists():
            raise SimulationError(
                f"{folder} holds other files than a simulated business: give a folder that is empty, new or holds one."
            )
        with _locked(folder):
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            try:
                yield aside
                _sync(aside)
                if folder.is_dir():
                    _exchange(aside, folder)
                else:
                    aside.rename(folder)
                sync(folder.parent)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise SimulationError(f"{folder} cannot be written: {error.strerror or error}.") from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    # the lock is on the parent itself, so that it leaves no file behind; the kernel frees it when the process dies
    descriptor = os.open(folder.parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SimulationError(
                f"Another simulation is being written to {folder.parent}: wait for it to end, then try again."
            ) from None
        yield
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> None:
    """Let two folders change names in one step (Linux's renameat2), or in two where the file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    rename = getattr(libc, "renameat2", None)
    if rename is not None:
        if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(code, os.strerror(code))
    old = one.with_name(f"{one.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    other.rename(old)
    one.rename(other)
    shutil.rmtree(old)


def _sync(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)
