"""Which format reads times that are not written as ISO 8601 has them: found from examples, for messages to name."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Final

import duckdb

from features.ingestion.cells.casts import literal

_MOST: Final = 0.95  # of the examples a format must read
_SOME: Final = 20
_CLOCK: Final = re.compile(
    r"[0-9]{1,2}:[0-9]{2}(?P<second>:[0-9]{2})?(?P<fraction>[.,][0-9]{1,9})?(?P<half> ?[AaPp]\.?[Mm]\.?)?"
    r"(?P<zone> ?(?:[+-][0-9]{2}(?::?[0-9]{2})?|[A-Z]{1,5}))?$"
)
_DIGITS: Final = re.compile(r"(?P<day>[0-9]{8})(?P<between>T| ?)(?P<time>(?:[0-9]{2}){2,3})(?P<zone>Z?)")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def fitting(connection: duckdb.DuckDBPyConnection, examples: Sequence[str]) -> list[str]:
    """The strptime formats, of those that people use, that read the examples; several where days and months are not told apart."""
    if not examples:
        return []
    counted = "SELECT count(*) FILTER (try_strptime(trim(example), {}) IS NOT NULL) FROM (SELECT unnest(?) AS example)"
    found: dict[str, int] = {}
    for format in dict.fromkeys(itertools.chain(*map(_candidates, examples[:_SOME]))):
        read = connection.execute(counted.format(literal(format)), [list(examples)]).fetchall()[0][0]
        if read >= _MOST * len(examples):
            found[format] = read
    return [format for format, read in found.items() if read == max(found.values())]


def _candidates(example: str) -> Iterator[str]:
    """The formats in which one time may be written."""
    text = example.strip()
    digits = _DIGITS.fullmatch(text)
    if digits is not None:
        time = "%H%M%S"[: len(digits["time"])]
        yield f"%Y%m%d{digits['between']}{time}{'%Z' if digits['zone'] else ''}"
        return
    clock = _CLOCK.search(text)
    time = ""
    if clock is not None:
        time = ("%I" if clock["half"] else "%H") + ":%M" + (":%S" if clock["second"] else "")
        time += f"{clock['fraction'][0]}%f" if clock["fraction"] else ""
        time += f"{' ' if clock['half'][0] == ' ' else ''}%p" if clock["half"] else ""
        if clock["zone"]:
            bare = clock["zone"].lstrip()
            time += clock["zone"][: -len(bare)] + ("%z" if bare[0] in "+-" else "%Z")
        text = text[: clock.start()]
    tokens = re.findall(r"[0-9]+|[^\W\d_]+|.", text)
    numbers = [token for token in tokens if token.isdecimal()]
    has_month = any(token.lower()[:3] in _MONTHS for token in tokens)
    for order in _orders(numbers, has_month):
        parts = iter(order)
        date = "".join(next(parts) if token.isdecimal() else _named(token) for token in tokens)
        yield date + time


def _named(token: str) -> str:
    """What a word within a date is: a month, a day of the week, or just itself."""
    for names, short, long in ((_MONTHS, "%b", "%B"), (_DAYS, "%a", "%A")):
        if token.lower()[:3] in names:
            return short if len(token) == 3 else long
    return token.replace("%", "%%")


def _orders(numbers: Sequence[str], has_month: bool) -> list[tuple[str, ...]]:
    """In which orders the numbers of a date may be its day, month and year."""
    lengths = [len(number) for number in numbers]
    if lengths == [8]:
        return [("%Y%m%d",)]
    if lengths == [6]:
        return [("%Y%m",)]
    if has_month:
        if len(numbers) != 2:
            return [("%Y",)] if lengths == [4] else []
        return [("%Y", "%d")] if lengths[0] == 4 else [("%d", "%Y" if lengths[1] == 4 else "%y")]
    if len(numbers) == 2:
        return [("%Y", "%m")] if lengths[0] == 4 else [("%m", "%Y")] if lengths[1] == 4 else []
    if len(numbers) != 3:
        return []
    if lengths[0] == 4:
        return [("%Y", "%m", "%d"), ("%Y", "%d", "%m")]
    year = "%Y" if lengths[2] == 4 else "%y"
    return [("%d", "%m", year), ("%m", "%d", year)]
