"""Files that are no UTF-8 text: those of another encoding are read as it, and what is no text at all is named."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Final, Protocol

from features.errors import IngestError

_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF8: Final = ("utf-8", "utf-8-sig")
_SHEETS: Final = (".xlsx", ".xlsm", ".xlsb", ".ods", ".xls")
_AS_PARQUET: Final = "write it as CSV or Parquet, as `duckdb -c \"COPY (FROM '{}') TO 'data.parquet'\"` does"
_MAC_LETTERS: Final = b"\x80\x83\x85\x86\x87\x88\x89\x8a\x8d\x8e\x8f\x90\x91\x96\x97\x9a\x9c\x9d\x9e\x9f"
"""Ä É Ö Ü á à â ä ç é è ê ë ñ ó ö ú ù û ü on old Macs; Windows has dashes and quotes there, or nothing."""


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes; none at the end."""

    def close(self) -> None:
        """Done with it."""


class Recoded:
    """A stream of bytes in some encoding, read as UTF-8."""

    def __init__(self, stream: Readable, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ready = b""
        self._ended = False

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""
        while len(self._ready) < size and not self._ended:
            content = self._stream.read(size)
            self._ended = not content
            self._ready += self._decoder.decode(content, final=self._ended).encode()
        found, self._ready = self._ready[:size], self._ready[size:]
        return found

    def close(self) -> None:
        """Close the stream beneath."""
        self._stream.close()


def recoding(encoding: str | None, start: bytes) -> str | None:
    """The encoding to read a file as that starts so, where it is not UTF-8; without a key, UTF-16 says what it is."""
    if encoding is None:
        return "utf-16" if start.startswith(_UTF16) else None
    name = codecs.lookup(encoding).name
    return None if name in _UTF8 else name


def likely(sample: bytes) -> str:
    """What text that is no UTF-8 probably is."""
    mac = sum(byte in _MAC_LETTERS for byte in sample)
    western = sum(byte >= 0xC0 for byte in sample)
    return "mac_roman" if mac > western else "cp1252"


def refuse_other(path: Path, sample: bytes) -> None:
    """Refuse what is no CSV by its name, with what to do.

    Raises:
        IngestError: the file that starts so is something else.
    """
    ending = path.suffix.lower()
    kind = None
    if sample.startswith(b"PK\x03\x04"):
        kind = (
            "a spreadsheet; save its sheet as CSV"
            if ending in _SHEETS
            else "a ZIP archive; unpack it, or pack the CSV alone with gzip"
        )
    elif sample.startswith(b"\xd0\xcf\x11\xe0"):
        kind = "a spreadsheet; save its sheet as CSV"
    elif sample.startswith((b"BZh", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"\xfd7zXZ")):
        kind = "packed, but not with gzip; unpack it"
    elif sample.startswith(b"SQLite format 3"):
        kind = f"an SQLite database; {_AS_PARQUET.format(path.name)}"
    elif _is_json(sample):
        kind = f"JSON; {_AS_PARQUET.format(path.name)}"
    elif b"\0" in sample:
        kind = "binary"
    if kind is not None:
        raise IngestError(f"{path}: this is not a CSV file: its content is {kind}.")


def _is_json(sample: bytes) -> bool:
    text = sample.removeprefix(codecs.BOM_UTF8).lstrip()
    if text[:1] not in (b"{", b"["):
        return False
    try:
        json.loads(text.splitlines()[0])
    except ValueError:
        return text.rstrip().endswith((b"}", b"]")) or text.split(b"\n")[0].strip() in (b"{", b"[", b"[{")
    return True
