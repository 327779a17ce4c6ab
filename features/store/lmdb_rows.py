"""Packed rows in an LMDB file: many processes read it without a system call, one writes."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import struct
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lmdb

from features.errors import StoreUnavailable
from features.home import has_room
from features.store.rows import Item

# Address space, not memory or disk: room for some 50 million customers.
_MAP_SIZE = 1 << 36
_PROJECTS = 64
_READERS = 1024
_CATALOG = b"\x00"
_FIRST_ROW = b"\x01"
_MAGIC = struct.pack("<II", 0xBEEFC0DE, 1)
_MAGIC_AT = 16
_PAGE = 4096


class _Environment:
    """An open file. LMDB allows one per process, so that all stores of this file share it; the last one closes it."""

    def __init__(self, path: Path, create: bool) -> None:
        # A lock makes reading safe beside `feast push`; where nothing can be written, nobody can push either.
        options: dict[str, Any] = {
            "subdir": False,
            "map_size": _MAP_SIZE,
            "max_dbs": _PROJECTS,
            "max_readers": _READERS,
            "max_spare_txns": 16,
        }
        try:
            self.lmdb = lmdb.open(str(path), create=create, readahead=True, **options)
        except (lmdb.ReadonlyError, PermissionError):
            self.lmdb = lmdb.open(str(path), readonly=True, lock=False, **options)
        except lmdb.Error as error:
            if not _is_read_only(error):
                raise
            self.lmdb = lmdb.open(str(path), readonly=True, lock=False, **options)
        # Readers that were killed hold pages and places; those of the living are left alone.
        with contextlib.suppress(lmdb.Error):
            self.lmdb.reader_check()
        self.pid = os.getpid()
        self.databases: dict[str, Any] = {}
        self.guard = threading.Lock()
        self.seen = _stamp(path.stat())

    @property
    def used(self) -> int:
        """Bytes up to the last page in use."""
        return int(self.lmdb.info()["last_pgno"] + 1) * int(self.lmdb.stat()["psize"])

    def check(self, path: Path, found: os.stat_result) -> None:
        """Make sure that the file on disk is still whole: LMDB would answer from one that was overwritten, or die."""
        stamp = _stamp(found)
        if stamp != self.seen:
            _check_head(path, found.st_size)
            if found.st_size < self.used:
                raise StoreUnavailable(f"The online store ({path}) does not answer: it was cut off.")
            self.seen = stamp

    def database(self, project: str, create: bool) -> Any:
        handle = self.databases.get(project)
        if handle is None:
            with self.guard:
                handle = self.lmdb.open_db(project.encode(), create=create)
                self.databases[project] = handle
        return handle


def _is_read_only(error: lmdb.Error) -> bool:
    return any(os.strerror(code) in str(error) for code in (errno.EROFS, errno.EACCES, errno.EPERM))


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_dev, found.st_ino, found.st_mtime_ns


_open: weakref.WeakValueDictionary[tuple[int, int, int], _Environment] = weakref.WeakValueDictionary()
_opening = threading.Lock()


class PackedFile:
    """Rows in one LMDB file: a database a project, a key a view and entity."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._environment: _Environment | None = None

    def catalog(self, project: str) -> bytes | None:
        with self._answering():
            if not self.path.exists():
                return None
            environment = self._ready()
            try:
                handle = environment.database(project, create=False)
            except (lmdb.NotFoundError, lmdb.ReadonlyError):
                return None
            with environment.lmdb.begin(handle) as transaction:
                found: bytes | None = transaction.get(_CATALOG)
                return found

    def declare(self, project: str, catalog: bytes) -> None:
        with self._writing(project) as (transaction, _):
            transaction.put(_CATALOG, catalog)

    def get(self, project: str, numbers: Sequence[int], keys: Sequence[bytes]) -> list[bytes | None]:
        with self._answering():
            environment = self._ready()
            handle = environment.databases.get(project) or environment.database(project, create=False)
            with environment.lmdb.begin(handle) as transaction:
                get = transaction.get
                if len(keys) == 1:
                    (key,) = keys
                    return [get(_VIEWS[number] + key) for number in numbers]
                return [get(_VIEWS[number] + key) for number in numbers for key in keys]

    def get_entity(self, places: Sequence[tuple[str, int]], key: bytes) -> list[bytes | None]:
        with self._answering():
            environment = self._ready()
            databases = environment.databases
            handles = [databases.get(project) or environment.database(project, create=False) for project, _ in places]
            with environment.lmdb.begin() as transaction:
                get = transaction.get
                return [
                    get(_VIEWS[view] + key, None, handle) for (_, view), handle in zip(places, handles, strict=True)
                ]

    def put(self, project: str, number: int, items: Sequence[Item]) -> None:
        if not items:
            return
        view = _VIEWS[number]
        with self._writing(project) as (transaction, handle), transaction.cursor(handle) as cursor:
            rising = all(a[0] < b[0] for a, b in itertools.pairwise(items))
            append = rising and (not cursor.last() or cursor.key() < view + items[0][0])
            cursor.putmulti([(view + key, row) for key, row in items], append=append)

    def drop(self, project: str, numbers: Sequence[int] | None = None) -> None:
        with self._answering():
            if not self.path.exists():
                return
        with self._writing(project) as (transaction, handle):
            if numbers is None:
                transaction.drop(handle, delete=False)
                return
            with transaction.cursor(handle) as cursor:
                for number in numbers:
                    found = cursor.set_range(_VIEWS[number])
                    while found and cursor.key().startswith(_VIEWS[number]):
                        found = cursor.delete()

    def close(self) -> None:
        self._environment = None

    @contextlib.contextmanager
    def _writing(self, project: str) -> Iterator[tuple[Any, Any]]:
        with self._answering():
            environment = self._ready(create=True)
            handle = environment.database(project, create=True)
            with environment.lmdb.begin(handle, write=True) as transaction:
                yield transaction, handle
            _fill(self.path, environment.used)

    def _ready(self, create: bool = False) -> _Environment:
        """The open file, as long as it is the one that was opened and is whole."""
        environment = self._environment
        try:
            found = self.path.stat()
        except FileNotFoundError:
            if not create:
                raise StoreUnavailable(f"The online store {self.path} is gone: build the features again.") from None
            return self._opened(create)
        if environment is None or environment.pid != os.getpid():
            return self._opened(create)
        if (found.st_dev, found.st_ino) != environment.seen[:2]:
            return self._opened(create)
        environment.check(self.path, found)
        return environment

    def _opened(self, create: bool) -> _Environment:
        with _opening:
            environment = None
            if not create or (self.path.exists() and self.path.stat().st_size):
                found = self.path.stat()
                environment = _open.get((os.getpid(), found.st_dev, found.st_ino))
                _check_head(self.path, found.st_size)
            if environment is None:
                environment = _Environment(self.path, create)
                found = self.path.stat()
                if found.st_size < environment.used:
                    raise StoreUnavailable(f"The online store ({self.path}) does not answer: it was cut off.")
                _open[os.getpid(), found.st_dev, found.st_ino] = environment
            else:
                environment.check(self.path, found)
        self._environment = environment
        return environment

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except lmdb.MapFullError:
            raise StoreUnavailable(f"The online store ({self.path}) is full at {_MAP_SIZE >> 30} GiB.") from None
        except (lmdb.Error, OSError) as error:
            # Where a file cannot grow, LMDB says "Input/output error".
            if not has_room(self.path.parent):
                raise StoreUnavailable(
                    f"The online store ({self.path}) cannot be written: the disk is full."
                ) from error
            raise StoreUnavailable(f"The online store ({self.path}) does not answer: {error}.") from error


_VIEWS = tuple(bytes((1, number)) for number in range(256))


def _check_head(path: Path, size: int) -> None:
    with path.open("rb") as file:
        head = file.read(_MAGIC_AT + len(_MAGIC))
    if size < 2 * _PAGE or head[_MAGIC_AT:] != _MAGIC:
        raise StoreUnavailable(f"The online store ({path}) does not answer: it is damaged.")


def _fill(path: Path, size: int) -> None:
    """Let the file reach to its last page in use: LMDB leaves out a last page that was freed before it was written."""
    if path.stat().st_size < size and hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), size - 1, 1)
