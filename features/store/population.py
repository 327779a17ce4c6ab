"""Whom a build wrote to the online store, so that a customer whom the store lost is told apart from one who never was there."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_WITNESSES = 64


class Population:
    """The customers of a snapshot at a moment, read when they are first asked for; 8 bytes are kept of each.

    Where the snapshot is not there, nobody is known to have been written.
    """

    def __init__(self, snapshot: Path, moment: datetime) -> None:
        self._snapshot = snapshot
        self._moment = moment
        self._lock = threading.Lock()
        self._hashes: npt.NDArray[np.int64] | None = None
        self._witnesses: tuple[str, ...] = ()

    @property
    def witnesses(self) -> tuple[str, ...]:
        """Some customers from all over the snapshot, whose rows tell whether the store still has what was written."""
        self._read()
        return self._witnesses

    def written(self, customer_ids: Iterable[str]) -> list[str]:
        """Those of `customer_ids` whom the build wrote."""
        hashes = self._read()
        asked = list(customer_ids)
        wanted = np.fromiter(map(hash, asked), np.int64, len(asked))
        places = np.minimum(np.searchsorted(hashes, wanted), max(len(hashes) - 1, 0))
        found = hashes[places] == wanted if len(hashes) else np.zeros(len(asked), dtype=bool)
        return [name for name, is_known in zip(asked, found, strict=True) if is_known]

    def _read(self) -> npt.NDArray[np.int64]:
        with self._lock:
            if self._hashes is None:
                kept: list[str] = []
                parts: list[npt.NDArray[np.int64]] = []
                for ids in self._ids():
                    parts.append(np.fromiter(map(hash, ids), np.int64, len(ids)))
                    kept += ids[:: max(1, len(ids) // _WITNESSES)]
                self._witnesses = tuple(kept[:: max(1, len(kept) // _WITNESSES)][:_WITNESSES])
                self._hashes = np.sort(np.concatenate([np.empty(0, np.int64), *parts]))
            return self._hashes

    def _ids(self) -> Iterator[list[str]]:
        if not self._snapshot.exists():
            return
        at = pa.scalar(self._moment.astimezone(UTC), pa.timestamp("us", "UTC"))
        with pq.ParquetFile(self._snapshot) as file:
            for batch in file.iter_batches(65_536, columns=["customer_id", "event_timestamp"]):
                ids = batch.filter(pc.equal(batch.column("event_timestamp"), at)).column("customer_id").to_pylist()
                if ids:
                    yield ids
