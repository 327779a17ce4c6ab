"""Files that are no UTF-8 text: those of another encoding are read as it, and what is no text at all is named."""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from features.errors import IngestError

_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""With what a file begins that says how it is written; UTF-8's own mark is taken away where the header is read."""
BLOCK: Final = 1 << 20
"""Bytes that are read at a time."""
_GZIP: Final = b"\x1f\x8b"
_UTF8: Final = ("utf-8", "utf-8-sig")
UTF: Final = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
"""Encodings of which there is no doubt."""
_MARKUP: Final = re.compile(rb"(?i)(?:\xef\xbb\xbf)?\s*<(?:[?!]|html|table|meta|head|[a-z:]+[ >])")
_SQL: Final = re.compile(
    rb"(?is)(?:\s*--[^\n]*\n|\s*/\*.*?\*/;?|\s*SET [^\n]*;|\s)*(?:INSERT INTO|CREATE TABLE|DROP TABLE|COPY [^\n]* FROM stdin;)"
)
_SHEETS: Final = (".xlsx", ".xlsm", ".xlsb", ".ods", ".xls")
_AS_PARQUET: Final = "write it as CSV or Parquet, as `duckdb -c \"COPY (FROM '{}') TO 'data.parquet'\"` does"
WESTERN: Final = {"cp1252": "Windows-1252", "mac_roman": "Mac Roman", "cp850": "DOS (code page 850)"}
"""Encodings of a byte a letter that are told apart by what comes of a file's words, and what people call them."""
_ALPHABETS: Final = tuple(
    map(
        frozenset,
        (
            *("àâæçéèêëîïôœùûü", "äöüßé", "áéíóúüñ", "àáâãçéêíóôõú", "àèéìíîòóùú", "àçèéíïòóúü"),
            *("åäöéàü", "æøåéèêóòôâ", "éëïöüèêáóíúâîôû", "áâàéêèëíîïóôòöúûùü"),
        ),
    )
)
"""Letters beside a to z: French, German, Spanish, Portuguese, Italian, Catalan; Swedish, Danish, Dutch, Welsh."""
_STRANGE: Final = re.compile(
    "õ(?!e)|ã(?![oes]|$)|è[aeiouyáéíóúý]|ñ(?![aeiouáéíóúü])|[aeiou]æ|(?<=i)ê(?!n)|ç(?![aouàáâãóôõúûü]|$)"
)
"""What none of these languages writes: the letters of Eastern Europe come out so."""
_TOKEN: Final = re.compile("[0-9A-Za-z\u0080-\uffff]+(?:(?<=[0-9]) [\u0080-\uffff](?![0-9A-Za-z\u0080-\uffff]))?")
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_MONEY: Final = "€£"
_BETWEEN: Final = "’–—"
_BEFORE: Final = "“‘«‹„‚¿¡–—•·©§"
_AFTER: Final = "”’»›“…™®ªº°–—·²³"
_ALONE: Final = "–—•·€£°©®™§½¼¾²³±µ×…«»"
_NEARLY: Final = 0.02  # of all words may be odd where an encoding is the right one: files hold typing errors
_MOST: Final = 0.5  # of all words must be odd under each of the others
_ENOUGH: Final = 1 << 20  # bytes of lines that say something


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


def normal(encoding: str) -> str:
    """One name of an encoding that has several; ISO 8859-1 is Windows-1252 in all that is text."""
    name = codecs.lookup(encoding).name
    return "utf-8" if name in _UTF8 else {"iso8859-1": "cp1252", "mac-roman": "mac_roman"}.get(name, name)


def recoding(encoding: str | None, start: bytes) -> str | None:
    """The encoding to read a file as that starts so, where it is not UTF-8; without a key, UTF-16 says what it is."""
    if encoding is None:
        return marked(start)
    name = codecs.lookup(encoding).name
    return None if name in _UTF8 else name


def marked(start: bytes) -> str | None:
    """The encoding, not UTF-8, that the first four bytes of a file say: by their mark, or by every other being zero."""
    for mark, name in _MARKS:
        if start.startswith(mark):
            return name
    zeros = [byte == 0 for byte in start[:4]]
    return "utf-16-le" if zeros == [False, True] * 2 else "utf-16-be" if zeros == [True, False] * 2 else None


def recognised(lines: Iterable[bytes]) -> str | None:
    """Which of the `WESTERN` encodings lines that are no UTF-8 have; None where that is not near certain.

    Under the right one the bytes beyond ASCII are letters of a language among others of its alphabet, or signs where
    signs may stand; under each of the others most words have letters of no language, capitals after small letters, or
    signs among their letters.
    """
    taken: list[bytes] = []
    size = 0
    for line in lines:
        if line.isascii():
            continue
        if _is_utf8(line):
            return None  # a file of UTF-8, with some damage
        taken.append(line)
        size += len(line)
        if size > _ENOUGH:
            break
    content = b"\n".join(taken)
    odd: dict[str, float] = {}
    sound: list[str] = []
    for encoding in WESTERN:
        found = _TOKEN.findall(content.decode(encoding, "replace"))
        words = {token.replace(" ", "") for token in found if not token.isascii()}
        verdicts = [_verdict(word) for word in words]
        odd[encoding] = verdicts.count(False) / max(len(words), 1)
        if True in verdicts and odd[encoding] <= _NEARLY and not any("\ufffd" in word for word in words):
            sound.append(encoding)
    others = [share for encoding, share in odd.items() if encoding not in sound]
    return sound[0] if len(sound) == 1 and min(others) >= _MOST else None


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _verdict(word: str) -> bool | None:
    """Whether a word with characters beyond ASCII is one of a language; None where it says nothing."""
    found = None
    for match in _LETTERS.finditer(word):
        if match[0].isascii():
            continue
        if len(match[0]) == 1:
            beside = word[: match.start()][-1:] + word[match.end() :][:1]
            if any(sign.isdigit() for sign in beside):
                return False
        elif not _is_of_a_language(match[0]):
            return False
        else:
            found = True
    for position, sign in enumerate(word):
        if sign.isascii() or sign.isalpha() or sign == "\u00a0":
            continue
        if not _may_stand(sign, word[:position][-1:], word[position + 1 :][:1]):
            return False
        found = found or (True if sign in _MONEY and any(other.isdigit() for other in word) else None)
    return found


def _is_of_a_language(letters: str) -> bool:
    special = {letter.lower() for letter in letters if not letter.isascii()}
    is_capital = any(letter.isupper() and not letter.isascii() for letter in letters[1:])
    return (
        any(special <= alphabet for alphabet in _ALPHABETS)
        and not (is_capital and not letters.isupper())
        and sum(not letter.isascii() for letter in letters) <= max(1, (len(letters) + 1) // 2)
        and _STRANGE.search(letters.lower()) is None
    )


def _may_stand(sign: str, before: str, after: str) -> bool:
    if before.isalpha() and after.isalpha():
        if sign == "·":
            return before.lower() == after.lower() == "l"
        return sign in _BETWEEN and (sign == "’" or not (before + after).isupper())
    if after.isalpha():
        return sign in _BEFORE
    if before.isalpha():
        return sign in _AFTER and not (sign == "…" and before.isupper())
    return sign in _ALONE + _BEFORE + _AFTER


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
    elif _MARKUP.match(sample):
        kind = "a web page or XML, whatever its name says; save the table as CSV"
    elif _SQL.match(sample):
        kind = "SQL; load it into its database, and write the table as CSV"
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


def encoding_of(path: Path) -> str | None:
    """The encoding of a file, found out: "utf-8" only where it is so throughout, and holds more than ASCII.

    None: ASCII, or nothing that is near certain.
    """
    with path.open("rb") as file, closing(unpacked(file)) as stream:
        try:
            start = read_bytes(stream, BLOCK, path)
            said = marked(start)
            if said is not None:
                return said
            decoder = codecs.getincrementaldecoder("utf-8")()
            is_ascii, part = True, start
            while part:
                is_ascii = is_ascii and part.isascii()
                if not is_ascii:
                    decoder.decode(part)
                part = read_bytes(stream, BLOCK, path)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            pass
        else:
            return None if is_ascii else "utf-8"
    with path.open("rb") as file, closing(unpacked(file)) as stream:
        return None if b"\0" in start else recognised(_lines(stream, path))


def _lines(stream: Readable, path: Path) -> Iterator[bytes]:
    """Lines of bytes; those of a megabyte and more come in parts."""
    rest = b""
    while part := read_bytes(stream, BLOCK, path):
        *lines, rest = (rest + part).replace(b"\r", b"\n").split(b"\n")
        yield from lines
        if len(rest) > BLOCK:
            yield rest
            rest = b""
    yield rest


def unpacked(file: BinaryIO) -> Readable:
    """The file's content, unpacked."""
    start = file.read(2)
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if start == _GZIP else file


def opened(file: BinaryIO, path: Path, encoding: str | None) -> Readable:
    """The file's content as UTF-8, unpacked."""
    start = read_bytes(unpacked(file), 4, path)
    file.seek(0)
    code = recoding(encoding, start)
    stream = unpacked(file)
    return stream if code is None else Recoded(stream, code)


def read_bytes(stream: Readable, size: int, path: Path) -> bytes:
    try:
        return stream.read(size)
    except UnicodeDecodeError as error:
        raise IngestError(f"{path}: the file is no text of the encoding {error.encoding} ({error.reason}).") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise IngestError(f"{path}: the file is damaged and cannot be decompressed ({error}).") from None
    except OSError as error:
        raise IngestError(f"{path}: the file cannot be read ({error.strerror or error}).") from None
