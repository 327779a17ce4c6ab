"""Rows of a CSV file with their physical line numbers, in blocks of bounded size; bad lines are told, not skipped.

DuckDB and pandas read CSV faster, but neither can say on which line of the file an accepted row stood, and both give up
on a file, or on a line without a word, where it is malformed. Blocks that are clean go through Arrow's reader, at its speed.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from features.config.data import Written
from features.config.suggestions import near_matches
from features.errors import IngestError
from features.ingestion.encodings import BLOCK, WESTERN, encoding_of, opened, read_bytes, refuse_other
from features.ingestion.quarantine import BadLine, raw_row
from features.reasons import Reason
from features.words import shown, word

DELIMITERS: Final = (",", ";", "\t", "|")
_BOM: Final = b"\xef\xbb\xbf"
_LONGEST_ROW: Final = 1 << 22  # bytes; a quote still open after that many was never meant to close
_SAMPLE: Final = 1 << 16
_HEADS: Final = 100  # lines of which one may be the header
_STATED: Final = re.compile(rb'(?i)"?sep=([^"])"?')
_RULE: Final = re.compile(r'[-=+:|\s,;"]*--[-=+:|\s,;"]*')
"""What some tools draw between a header and its rows."""
_ESCAPED: Final = re.compile(rb'(?<!\\)((?:\\\\)*)\\"')
"""A quote within a cell, where a backslash says that it is one."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the TOML says of how files are written; a delimiter or an encoding of None is found out.

    `skip_lines` come before the header; `columns` names those of files that have none.
    """

    delimiter: str | None = None
    encoding: str | None = None
    skip_lines: int = 0
    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, written: Written) -> Dialect:
        """That of a source."""
        return cls(written.delimiter, written.encoding, written.skip_lines, written.columns)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a CSV file is written: its columns, its delimiter, and where its rows begin."""

    path: Path
    header: tuple[str, ...]
    delimiter: str
    first_line: int  # the physical line, from 1, after the header
    offset: int  # the same in (decompressed) bytes
    carriage_returns: bool  # lines end in \r alone, as on old Macs
    encoding: str | None = None  # that of the TOML, or the one that was recognised
    heading: list[str] = field(default_factory=list)  # the header's cells as the file has them, empty where it has none
    has_escapes: bool = False  # a quote within a cell is \", not ""
    is_indented: bool = False  # blanks stand between a delimiter and a cell's quote
    notes: tuple[str, ...] = ()  # what was recognised, for the user


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows: `columns` are string arrays in the header's order; `lines` and `rows` are int64, both from 1."""

    lines: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    columns: list[pa.Array]
    bad: list[BadLine] = field(default_factory=list)


def layout(path: Path, dialect: Dialect) -> Layout:
    """Read a file's header, and find its delimiter where none is given.

    Raises:
        IngestError: the file is empty, damaged, binary or not of its encoding, or its header names a column twice.
    """
    encoding = dialect.encoding
    if encoding is None:
        found = encoding_of(path)
        encoding = found if found in WESTERN else None
    with path.open("rb") as file:
        sample = read_bytes(opened(file, path, encoding), _SAMPLE, path)
    refuse_other(path, sample)
    if not sample.strip():
        raise IngestError(f"{path}: the file is empty.")
    carriage_returns = b"\r" in sample and b"\n" not in sample
    if carriage_returns:
        sample = sample.replace(b"\r", b"\n")
    whole = len(sample) < _SAMPLE
    lines = sample.removeprefix(_BOM).split(b"\n")
    if not whole and len(lines) > 1:
        lines.pop()
    skipped = min(dialect.skip_lines, len(lines))
    delimiter = dialect.delimiter
    stated = _STATED.fullmatch(lines[skipped].strip()) if skipped < len(lines) else None
    if stated is not None:  # Excel's own way to say it
        delimiter = delimiter or stated[1].decode("latin-1")
        skipped += 1
    remarks = _remarks(lines[skipped:], delimiter)
    skipped += remarks
    before, lines = lines[:skipped], lines[skipped:]
    if delimiter is None:
        delimiter = _likeliest_delimiter(_texts(lines))
    indented = _is_indented(lines, delimiter)
    feed = _Feed([line.decode("utf-8", "surrogateescape") + "\n" for line in lines])
    try:
        reader = csv.reader(feed, delimiter=delimiter, skipinitialspace=indented)
        header = next((cells for cells in reader if cells), None)
        if header is not None:
            "".join(header).encode()
    except csv.Error as error:
        why = "lines end with a carriage return alone; save it with line feeds" if "new-line" in str(error) else error
        raise IngestError(f"{path}: the header cannot be read as CSV ({why}).") from None
    except UnicodeEncodeError:
        raise IngestError(
            f"{path}: the header is not UTF-8 text, and which encoding it has its letters do not tell; set encoding, such as "
            f"{', '.join(map(repr, WESTERN))}, or save the file as UTF-8."
        ) from None
    if header is None:
        raise IngestError(f"{path}: the file is empty.")
    if feed.exhausted:
        raise IngestError(f"{path}: the header opens a quote that it never closes.")
    names, taken = _names(header), feed.position
    if dialect.columns:
        if names == dialect.columns:
            raise IngestError(f"{path}: the first line is the header that `columns` names; leave the key out.")
        names, taken, header = dialect.columns, 0, []
    escapes = _has_escapes(lines[taken:], delimiter)
    notes: list[str] = []
    if encoding is not None and dialect.encoding is None:
        notes.append(f"{path.name}: read as {WESTERN[encoding]} text, as its letters say; `encoding` says otherwise.")
    if remarks:
        first = shown(before[-remarks].decode("utf-8", "replace").strip())
        lines_are = (
            "the line before the header is a remark"
            if remarks == 1
            else f"{remarks} lines before the header are remarks"
        )
        notes.append(f"{path.name}: {lines_are}, and no row: {first}.")
    if escapes:
        notes.append(f'{path.name}: \\" within a cell is read as a quote.')
    bom = len(_BOM) if sample.startswith(_BOM) else 0
    offset = bom + sum(len(line) + 1 for line in [*before, *lines[:taken]])
    first_line = skipped + taken + 1
    return Layout(
        path, names, delimiter, first_line, offset, carriage_returns, encoding, header, escapes, indented, tuple(notes)
    )


def instead(file: Path, dialect: Dialect | None, name: str, names: Sequence[str]) -> str:
    """The end of a message about a column that a file lacks: which key finds it, or what there is; `dialect` is that of CSV."""
    if dialect is not None and not dialect.columns:
        below = header_below(file, dialect, name)
        if below is not None:
            return f"; line {below + 1} names it: set skip_lines = {below}."
        if len(names) == 1:
            return f"; the header is read as one cell, {shown(names[0])}: set delimiter."
        if any(one.replace(".", "", 1).isdecimal() for one in names):
            return f"{near_matches(name, names).rstrip('.')}; where that is a row, and the file has no header, `columns` names them."
    return near_matches(name, names)


def header_below(path: Path, dialect: Dialect, name: str) -> int | None:
    """How many lines to skip so that the header is one that names the column `name`; None where no line does."""
    with path.open("rb") as file, closing(opened(file, path, dialect.encoding)) as stream:
        sample = read_bytes(stream, _SAMPLE, path).removeprefix(_BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    delimiters = DELIMITERS if dialect.delimiter is None else (dialect.delimiter,)
    for position, line in enumerate(_texts(sample.split(b"\n")[:_HEADS])):
        for delimiter in delimiters:
            with suppress(csv.Error):
                cells = next(csv.reader([line], delimiter=delimiter), [])
                if len(cells) > 1 and word(name) in _names(cells):
                    return position
    return None


def _texts(lines: list[bytes]) -> list[str]:
    return [line.decode("utf-8", "replace") + "\n" for line in lines]


def _names(header: list[str]) -> tuple[str, ...]:
    """The columns' names: an unnamed one is a data frame's index, and pandas' own name for it is what people know."""
    return tuple(word(name) or f"Unnamed: {position}" for position, name in enumerate(header))


def _remarks(lines: list[bytes], delimiter: str | None) -> int:
    """How many of the first lines are remarks, which begin with #; a header or a row that does has as many cells as the next."""
    content = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith(b"#")), 0)
    if not content:
        return 0
    sign = (delimiter or _likeliest_delimiter(_texts(lines[content:]))).encode()
    others = [at for at in range(content) if lines[at].strip() and lines[at].count(sign) != lines[content].count(sign)]
    return others[-1] + 1 if others else 0


def _has_escapes(lines: list[bytes], delimiter: str) -> bool:
    """Whether quotes within cells are written with a backslash: only so are all lines that hold it well-formed."""

    held = [line for line in lines if b'\\"' in line]
    if all(_is_sound(line, delimiter) for line in held):
        return False
    return all(_is_sound(_ESCAPED.sub(rb'\1""', line), delimiter) for line in held)


def _is_indented(lines: list[bytes], delimiter: str) -> bool:
    """Whether blanks stand before quotes that hold a cell: where not, each quote is a part of what the cell says."""
    held = [line for line in lines if f'{delimiter} "'.encode() in line]
    return bool(held) and all(_is_sound(line, delimiter, indented=True) for line in held)


def _is_sound(line: bytes, delimiter: str, *, indented: bool = False) -> bool:
    """Whether a line is one well-formed row."""
    try:
        return len(list(csv.reader(_texts([line]), delimiter=delimiter, skipinitialspace=indented, strict=True))) == 1
    except csv.Error:
        return False


def blocks(where: Layout, advance: Callable[[int], None]) -> Iterator[Block]:
    """The file's rows, block by block; `advance` hears how many of the file's bytes have been read so far.

    Raises:
        IngestError: the file is damaged, or has a line longer than any row can be.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_ROW))
    with where.path.open("rb") as file, closing(opened(file, where.path, where.encoding)) as stream:
        skip = where.offset
        while skip:
            skip -= len(read_bytes(stream, min(skip, BLOCK), where.path)) or skip
        line, row, rest, final = where.first_line, 1, b"", False
        while not final:
            read = read_bytes(stream, BLOCK, where.path)
            advance(file.tell())
            content = rest + (read.replace(b"\r", b"\n") if where.carriage_returns else read)
            final = not read
            end = len(content) if final else content.rfind(b"\n") + 1
            if not final and len(content) - end > _LONGEST_ROW:
                raise IngestError(
                    f"{where.path}: line {line} is longer than {_LONGEST_ROW >> 20} MB: this is not a CSV file."
                )
            if not end:
                rest = content
                continue
            block, used, lines_used = _parsed(content[:end], where, line, row, final)
            rest = content[used:]
            line += lines_used
            row += len(block.rows) + len(block.bad)
            yield block


def _parsed(content: bytes, where: Layout, line: int, row: int, final: bool) -> tuple[Block, int, int]:
    """A block of whole lines as rows; also how many of its bytes and lines were used up."""
    if where.has_escapes:
        content = _ESCAPED.sub(rb'\1""', content)  # as long as before
    columns = _at_once(content, where)
    if columns is None or _may_hold_no_row(columns, where, line):
        return _with_care(content, where, line, row, final)
    count = len(columns[0])
    block = Block(np.arange(line, line + count), np.arange(row, row + count), columns)
    return block, len(content), count


def _may_hold_no_row(columns: list[pa.Array], where: Layout, line: int) -> bool:
    """Whether some line may be the header again, or the first one is drawn."""
    first = where.delimiter.join(column[0].as_py() for column in columns if len(column))
    if line == where.first_line and _RULE.fullmatch(first):
        return True
    return bool(where.heading) and bool(pc.any(pc.equal(columns[0], where.heading[0])).as_py())


def _at_once(content: bytes, where: Layout) -> list[pa.Array] | None:
    """The columns of a block in which every line is one well-formed row; None where one may not be."""
    if content.count(b"\r") != content.count(b"\r\n") or content.startswith((b"\n", b"\r")):
        return None
    if not where.delimiter.isascii():
        return None  # Arrow parts at one byte
    if b"\n\n" in content or b"\n\r\n" in content:
        return None
    newlines = np.flatnonzero(np.frombuffer(content, np.uint8) == ord("\n"))
    count = len(newlines) + (not content.endswith(b"\n"))
    if b'"' in content:
        quotes = np.flatnonzero(np.frombuffer(content, np.uint8) == ord('"'))
        if (
            where.is_indented
            or (np.searchsorted(quotes, newlines) % 2).any()
            or _some_is_amiss(content, quotes, where.delimiter)
        ):
            return None  # a quote is open at the end of some line, or stands within a cell alone
    names = [str(position) for position in range(len(where.header))]
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(content),
            pyarrow.csv.ReadOptions(use_threads=False, column_names=names, block_size=len(content) + 1),
            pyarrow.csv.ParseOptions(delimiter=where.delimiter),
            pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid:
        return None
    return [column.combine_chunks() for column in table.columns] if table.num_rows == count else None


def _some_is_amiss(content: bytes, quotes: npt.NDArray[np.int64], delimiter: str) -> bool:
    """Whether a quote stands neither at an end of a cell nor beside another."""
    around = np.frombuffer(b"\n" + content + b"\n", np.uint8)
    ends = np.frombuffer(b'\r\n"' + delimiter.encode(), np.uint8)
    return not bool((np.isin(around[quotes], ends) | np.isin(around[quotes + 2], ends)).all())


class _Feed:
    """Lines for csv.reader; knows how many it took, and whether it asked for more than there are."""

    def __init__(self, lines: list[str], position: int = 0) -> None:
        self.lines = lines
        self.position = position
        self.exhausted = False

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        if self.position == len(self.lines):
            self.exhausted = True
            raise StopIteration
        self.position += 1
        return self.lines[self.position - 1]


def _with_care(content: bytes, where: Layout, line: int, row: int, final: bool) -> tuple[Block, int, int]:
    """Row by row, for blocks that hold line breaks in quotes, blank lines, or anything malformed.

    A row over several lines that turns out malformed costs its first line only: reading goes on with the next, or one
    stray quote would swallow good rows.
    """
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    texts = [text.decode("utf-8", "surrogateescape") + "\n" for text in lines]
    good: list[list[str]] = []
    good_lines: list[int] = []
    good_rows: list[int] = []
    bad: list[BadLine] = []

    def reject(position: int, reason: Reason, cells: list[str]) -> None:
        bad.append(BadLine(line + position, row + len(good) + len(bad), reason, raw_row(where.header, cells)))

    feed = _Feed(texts)
    reader = csv.reader(feed, delimiter=where.delimiter, skipinitialspace=where.is_indented)
    while True:
        start = feed.position
        cells: list[str] | None = []
        problem = None
        try:
            cells = next(reader, None)
            problem = _problem(cells, texts[start : feed.position], where, feed.exhausted) if cells else None
            if cells and (
                cells == where.heading or (line + start == where.first_line and _RULE.fullmatch(texts[start]))
            ):
                problem = Reason.NO_ROW
        except csv.Error:
            problem = Reason.OPEN_QUOTE if feed.position - start > 1 else Reason.NOT_CSV
        if cells is None:
            break
        if problem is Reason.OPEN_QUOTE and feed.exhausted and not final:
            length = sum(len(text) + 1 for text in lines[start:])
            if length < _LONGEST_ROW:  # it may close in the next block
                feed.position = start
                break
        if problem in (Reason.OPEN_QUOTE, Reason.NOT_CSV):
            reject(start, problem, [texts[start].rstrip("\r\n")])
            feed = _Feed(texts, start + 1)
            reader = csv.reader(feed, delimiter=where.delimiter, skipinitialspace=where.is_indented)
        elif problem is not None:
            reject(start, problem, cells)
        elif cells:
            good_lines.append(line + start)
            good_rows.append(row + len(good) + len(bad))
            good.append(cells)
    columns = [pa.array(column, pa.string()) for column in zip(*good, strict=True)]
    columns = columns or [pa.array([], pa.string()) for _ in where.header]
    used = min(len(content), sum(len(text) + 1 for text in lines[: feed.position]))
    block = Block(np.array(good_lines, np.int64), np.array(good_rows, np.int64), columns, bad)
    return block, used, feed.position


def _problem(cells: list[str], lines: list[str], where: Layout, exhausted: bool) -> Reason | None:
    if exhausted:
        return Reason.OPEN_QUOTE
    if '"' in lines[0]:  # a quote that is amiss changes what a cell says, even where it ends none
        reader = csv.reader(lines, delimiter=where.delimiter, skipinitialspace=where.is_indented, strict=True)
        strictly = list(reader)
        if len(strictly) != 1 or (len(lines) > 1 and len(cells) != len(where.header)):
            return Reason.OPEN_QUOTE
    if len(cells) != len(where.header):
        return Reason.WRONG_COLUMNS
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return Reason.BAD_UTF8
    return None


def _likeliest_delimiter(lines: list[str]) -> str:
    """The delimiter that splits the header, and as many of the first rows as possible into as many cells."""
    best, best_score = DELIMITERS[0], (0.0, 1)
    for delimiter in DELIMITERS:
        try:
            rows = [
                cells for cells, _ in zip(csv.reader(lines, delimiter=delimiter), range(200), strict=False) if cells
            ]
        except csv.Error:
            continue
        if not rows or len(rows[0]) < 2:
            continue
        width = len(rows[0])
        score = (round(sum(len(cells) == width for cells in rows) / len(rows), 1), width)
        if score > best_score:
            best, best_score = delimiter, score
    return best
