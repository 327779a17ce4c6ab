"""Opening the online store's rows, wherever they are; neither LMDB nor Redis is imported before it is needed."""

from __future__ import annotations

from pathlib import Path

from features.errors import StoreUnavailable
from features.store.rows import PackedRows


def open_rows(path: Path | None, url: str | None, patience: float = 10.0) -> PackedRows:
    """The rows in the file `path`, or in the Redis at `url`; connects when it is first used.

    Args:
        patience: how many seconds a Redis may take for an answer.

    Raises:
        StoreUnavailable: there is neither a path nor a URL.
    """
    if url is not None:
        from features.store.redis_rows import PackedRedis

        return PackedRedis(url, patience)
    if path is None:
        raise StoreUnavailable("The online store has neither a path nor a URL.")
    from features.store.lmdb_rows import PackedFile

    return PackedFile(path)
