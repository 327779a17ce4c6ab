"""RFC 3339: moments as requests and events write them, with a zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_RFC3339: Final = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[Tt](?P<minute>\d\d:\d\d):(?P<second>[0-5]\d|60)(?P<fraction>\.\d+)?"
    r"(?P<zone>[Zz]|[+-]\d\d:\d\d)?\Z",
    re.ASCII,
)


class NoMoment(ValueError):
    """A text is no moment; the message says what it should be."""


class NoZone(NoMoment):
    """A text would be a moment if it had a zone."""


def moment(text: str) -> datetime:
    """An RFC 3339 time as UTC; a leap second is the last microsecond before it, as nobody's clock here knows it.

    Raises:
        NoMoment: it is none, or none that the calendar has.
        NoZone: all it lacks is the zone.
    """
    expected = "not an RFC 3339 time with a zone, such as 2026-11-20T00:00:00Z"
    match = _RFC3339.match(text)
    if match is None:
        raise NoMoment(expected)
    second, fraction = match["second"], (match["fraction"] or "")[:7]
    if second == "60":
        second, fraction = "59", ".999999"
    given = match["zone"] or "Z"
    zone = "+00:00" if given in "Zz" else given
    try:
        found = datetime.fromisoformat(
            f"{match['day']}T{match['minute']}:{second}{fraction.ljust(7, '0') if fraction else ''}{zone}"
        )
    except ValueError:
        raise NoMoment("not a time that the calendar has") from None
    if match["zone"] is None:
        raise NoZone(expected)
    try:
        return found.astimezone(UTC)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if found.year == 1 else datetime.max.replace(tzinfo=UTC)
