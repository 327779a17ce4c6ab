"""Times that are written as numbers: since 1970, as computers count, or since 1900, as spreadsheets do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Clock:
    """A way to count time: `name` is what `occurred_format` calls it, `least` to `most` what a column of it holds.

    `micros` is a unit in microseconds; dates in digits (20240131) have none.
    """

    name: str
    said: str
    least: float
    most: float
    micros: float = 0.0

    def sql(self, number: str) -> str:
        """SQL of a DOUBLE as TIMESTAMPTZ; spreadsheets count in the business's time zone, and round to the second."""
        inside = f"{number} >= {self.least!r} AND {number} < {self.most!r}"
        if self.name == "excel":
            seconds = f"CAST(round({number} * 86400) AS BIGINT)"
            moment = f"CAST(TIMESTAMP '1899-12-30 00:00:00' + to_seconds({seconds}) AS TIMESTAMPTZ)"
        elif self.name.startswith("yyyy"):
            format = "%Y%m%d" if self.name == "yyyymmdd" else "%Y%m%d%H%M%S"
            moment = f"CAST(try_strptime(CAST(CAST({number} AS BIGINT) AS VARCHAR), '{format}') AS TIMESTAMPTZ)"
        else:
            moment = f"make_timestamptz(CAST(round({number} * {self.micros!r}) AS BIGINT))"
        return f"CASE WHEN {inside} THEN {moment} END"


# No two overlap, so that a column tells by itself which it is: seconds from 1973, spreadsheets' days of 1927 to 2173.
CLOCKS: Final = {
    clock.name: clock
    for clock in (
        Clock("excel", "days of a spreadsheet (45292 is 2024-01-01)", 1e4, 1e5),
        Clock("yyyymmdd", "dates in digits (20240131)", 1.9e7, 2.1e7),
        Clock("seconds", "seconds since 1970", 1e8, 1e11, 1e6),
        Clock("milliseconds", "milliseconds since 1970", 1e11, 1e13, 1e3),
        Clock("yyyymmddhhmmss", "dates and times in digits (20240131101500)", 1.9e13, 2.1e13),
        Clock("microseconds", "microseconds since 1970", 1e14, 1e17, 1.0),
        Clock("nanoseconds", "nanoseconds since 1970", 1e17, 1e20, 1e-3),
    )
}
ALIASES: Final = {"%s": "seconds", "%Q": "milliseconds"}
"""What others call them in a format."""


def clock_of(format: str) -> Clock | None:
    """The clock that a format of the TOML names, if it names one."""
    return CLOCKS.get(ALIASES.get(format, format))
