"""One customer's features of one view as one packed row: the codec of the online store.

A row is little-endian and self-describing by the id of its layout:

    u32 layout id | i64 event time | i64 created time | null bitmap | float32 × floats | u32 × lengths of words | UTF-8

Times are microseconds since 1970 UTC. A null float is stored as NaN with its bit set, so that the floats of a row are a
vector that a model can read as it is, while a NaN that was written as such stays one.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import StoreUnavailable
from features.schema import DType, Value

_HEADER = struct.Struct("<Iqq")
_NO_TIME = -(2**63)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NULL_FLOAT = struct.pack("<I", 0x7FC00000)
# Keys of LMDB hold 511 bytes; longer ids are known by their hash.
_LONGEST_ID = 400
_ID, _ENTITY, _HASHED = b"\x01", b"\x02", b"\x03"


def key_of_id(customer_id: str) -> bytes:
    """The key of an entity that is one string."""
    raw = customer_id.encode("utf-8", "surrogatepass")  # a terminal's bytes need not be text: an id that nobody has
    return _ID + raw if len(raw) <= _LONGEST_ID else _HASHED + hashlib.sha256(_ID + raw).digest()


def key_of_entity(serialized: bytes) -> bytes:
    """The key of any other entity, from Feast's serialized entity key."""
    return _ENTITY + serialized if len(serialized) <= _LONGEST_ID else _HASHED + hashlib.sha256(serialized).digest()


def to_microseconds(moment: datetime) -> int:
    """Microseconds since 1970; a moment without a zone is UTC, as in Feast."""
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def to_moment(microseconds: int) -> datetime:
    """The moment that many microseconds after 1970, UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


@dataclass(frozen=True, slots=True)
class RowLayout:
    """The columns of a view, in their stored order, and where each stands in a packed row."""

    columns: tuple[tuple[str, DType], ...]
    id: bytes = field(init=False)
    """The first 4 bytes of every row of this layout."""
    floats: Mapping[str, int] = field(init=False, repr=False, compare=False)
    """Column name -> its place among the floats."""
    words: Mapping[str, int] = field(init=False, repr=False, compare=False)
    """Column name -> its place among the words."""
    bit: Mapping[str, int] = field(init=False, repr=False, compare=False)
    floats_at: int = field(init=False, repr=False, compare=False)
    lengths_at: int = field(init=False, repr=False, compare=False)
    words_at: int = field(init=False, repr=False, compare=False)
    no_floats: bytes = field(init=False, repr=False, compare=False)
    """The floats of a row that is not there."""
    _lengths: struct.Struct = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        def place(dtype: DType) -> dict[str, int]:
            return {name: n for n, name in enumerate(name for name, kind in self.columns if kind is dtype)}

        floats, words = place(DType.FLOAT), place(DType.STRING)
        floats_at = _HEADER.size + (len(self.columns) + 7) // 8
        lengths_at = floats_at + 4 * len(floats)
        for name, value in {
            "id": struct.pack("<I", zlib.crc32(json.dumps(self.to_json(), ensure_ascii=True).encode())),
            "floats": floats,
            "words": words,
            "bit": {name: n for n, (name, _) in enumerate(self.columns)},
            "floats_at": floats_at,
            "lengths_at": lengths_at,
            "words_at": lengths_at + 4 * len(words),
            "no_floats": _NULL_FLOAT * len(floats),
            "_lengths": struct.Struct(f"<{len(words)}I"),
        }.items():
            object.__setattr__(self, name, value)

    def to_json(self) -> list[list[str]]:
        """The columns as plain JSON."""
        return [[name, dtype.value] for name, dtype in self.columns]

    @classmethod
    def from_json(cls, data: Sequence[Sequence[str]]) -> RowLayout:
        """A layout from the JSON of `to_json`."""
        return cls(tuple((name, DType(dtype)) for name, dtype in data))

    def pack(self, values: Mapping[str, Value], event_time: int, created_time: int | None) -> bytes:
        """The row of `values`; a column that is absent or None is null."""
        nulls = bytearray(self.floats_at - _HEADER.size)
        numbers, texts = bytearray(), []
        for n, (name, dtype) in enumerate(self.columns):
            value = values.get(name)
            if value is None:
                nulls[n >> 3] |= 1 << (n & 7)
            if dtype is DType.STRING:
                texts.append(b"" if value is None else str(value).encode())
            else:
                numbers += _NULL_FLOAT if value is None else np.float32(value).astype("<f4").tobytes()
        return b"".join(
            (
                self.id,
                struct.pack("<qq", event_time, _NO_TIME if created_time is None else created_time),
                nulls,
                numbers,
                self._lengths.pack(*map(len, texts)),
                *texts,
            )
        )

    def check(self, row: bytes) -> None:
        """Refuse a row that ends before its floats or words do.

        Raises:
            StoreUnavailable: the row is damaged.
        """
        if len(row) < self.words_at or len(row) != self.words_at + sum(self._lengths.unpack_from(row, self.lengths_at)):
            raise StoreUnavailable("The online store holds a damaged row: build the features again.")

    def is_null(self, row: bytes, name: str) -> bool:
        """Whether the column is null in this row."""
        n = self.bit[name]
        return bool(row[_HEADER.size + (n >> 3)] >> (n & 7) & 1)

    def words_of(self, row: bytes) -> list[str | None]:
        """The row's words in stored order, null as None."""
        found: list[str | None] = []
        start = self.words_at
        for name, length in zip(self.words, self._lengths.unpack_from(row, self.lengths_at), strict=True):
            found.append(None if self.is_null(row, name) else row[start : start + length].decode())
            start += length
        return found

    def unpack(self, row: bytes) -> dict[str, Value]:
        """All values by column, null as None."""
        self.check(row)
        numbers = np.frombuffer(row, "<f4", len(self.floats), self.floats_at).tolist()
        words = self.words_of(row)
        return {
            name: words[self.words[name]]
            if dtype is DType.STRING
            else None
            if self.is_null(row, name)
            else numbers[self.floats[name]]
            for name, dtype in self.columns
        }

    def pack_table(
        self, table: Any, columns: Mapping[str, str], event_time: int, created: Sequence[int] | None
    ) -> Iterator[bytes]:
        """The packed rows of an Arrow table, vectorised; NaN is null, as everywhere in files.

        `columns` maps layout columns to the table's. `created` has microseconds per row; None says the event time.
        """
        n = table.num_rows
        fixed = np.zeros((n, self.words_at), dtype=np.uint8)
        fixed[:, :4] = np.frombuffer(self.id, np.uint8)
        times = np.full((n, 2), event_time, dtype="<i8")
        if created is not None:
            times[:, 1] = created
        fixed[:, 4:20] = times.view(np.uint8).reshape(n, 16)
        nulls = np.zeros((n, 8 * (self.floats_at - _HEADER.size)), dtype=bool)
        numbers = np.empty((n, len(self.floats)), dtype="<f4")
        lengths = np.zeros((n, len(self.words)), dtype="<u4")
        texts = []
        for position, (name, dtype) in enumerate(self.columns):
            column = table.column(columns[name]).combine_chunks()
            if dtype is DType.STRING:
                nulls[:, position] = pc.is_null(column).to_numpy(zero_copy_only=False)
                text = pc.fill_null(column.cast(pa.binary()), b"")
                lengths[:, self.words[name]] = pc.binary_length(text).to_numpy(zero_copy_only=False)
                texts.append(text)
            else:
                values = column.cast(pa.float32()).to_numpy(zero_copy_only=False)
                empty = np.isnan(values)
                nulls[:, position] = empty
                numbers[:, self.floats[name]] = values
        bits = numbers.view("<u4")
        bits[np.isnan(numbers)] = 0x7FC00000
        fixed[:, _HEADER.size : self.floats_at] = np.packbits(nulls, axis=1, bitorder="little")
        fixed[:, self.floats_at : self.lengths_at] = numbers.view(np.uint8).reshape(n, -1)
        fixed[:, self.lengths_at :] = lengths.view(np.uint8).reshape(n, -1)
        block, size = fixed.tobytes(), self.words_at
        rows = (block[start : start + size] for start in range(0, n * size, size))
        if not texts:
            return rows
        joined = pc.binary_join_element_wise(*texts, pa.scalar(b"", pa.binary())).to_pylist()
        return (row + tail for row, tail in zip(rows, joined, strict=True))


def times_of(row: bytes) -> tuple[int, int | None]:
    """Event and created time of a row, in microseconds since 1970."""
    _, event_time, created = _HEADER.unpack_from(row)
    return event_time, None if created == _NO_TIME else created
