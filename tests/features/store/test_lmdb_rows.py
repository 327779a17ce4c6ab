"""Rows in a file whose disk has no room left."""

from __future__ import annotations

from pathlib import Path

import lmdb
import pytest

from features.errors import StoreUnavailable
from features.store import lmdb_rows
from features.store.lmdb_rows import PackedFile


@pytest.mark.parametrize(
    ("has_room", "sentence"),
    [(False, "cannot be written: the disk is full."), (True, "does not answer: mdb_txn_commit")],
)
def test_a_full_disk_is_said_to_be_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_room: bool, sentence: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        # What LMDB says where the file cannot grow.
        raise lmdb.Error("mdb_txn_commit: Input/output error")

    rows = PackedFile(tmp_path / "online.lmdb")
    rows.declare("shop", b"catalog")
    monkeypatch.setattr(lmdb_rows, "_fill", refuse)
    monkeypatch.setattr(lmdb_rows, "has_room", lambda _: has_room)
    with pytest.raises(StoreUnavailable, match=sentence):
        rows.declare("shop", b"another")
