"""Figures over a customer's visible events, as Ibis expressions that run on DuckDB and on Spark alike.

An expression reads the pillar's table: one row per customer of the population and visible event, and one empty row for
who has none. Its columns are those of canonical events, and `age`: how many days before the cutoff the event happened
(always above 0); `new_day`, whether it begins a day of its type, is there where all cutoffs are midnights. Counts and sums over no events are 0; latest, mean, recency and rhythm are null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ibis

from features.pillars.data_profile import DataProfile
from features.pillars.exact_sum import exact_mean, exact_sum
from features.schema import Feature

WINDOWS = (7, 30, 90, 180)
MONTH = 30
USUAL_DAYS = 180
"""A customer's usual month is taken from at most this many days before the last 30."""

Expression = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Events:
    """Which events a figure is about: their types, at most `days` old, whose `property` `equals` or `differs`."""

    types: tuple[str, ...]
    days: float | None = None
    property: str | None = None
    equals: str | None = None
    differs: str | None = None

    def among(self, events: Any) -> Any:
        """The condition on a row of the pillar's table."""
        chosen = events.type == self.types[0] if len(self.types) == 1 else events.type.isin(self.types)
        if self.days is not None:
            chosen &= events.age <= self.days
        if self.property is not None and self.equals is not None:
            chosen &= events[self.property] == self.equals
        if self.property is not None and self.differs is not None:
            chosen &= events[self.property].isnull() | (events[self.property] != self.differs)
        return chosen


def events(*types: str, days: float | None = None) -> Events:
    """Events of these types."""
    return Events(types, days)


def count(chosen: Events) -> Expression:
    """How many."""
    return lambda table: table.count(where=chosen.among(table))


def total(chosen: Events) -> Expression:
    """The sum of their values."""
    return lambda table: exact_sum(table, table.value, chosen.among(table)).fill_null(0.0)


def mean(chosen: Events) -> Expression:
    """The mean of their values."""
    return lambda table: exact_mean(table, table.value, chosen.among(table))


def level(chosen: Events) -> Expression:
    """The mean of their values with weights that fade by 1/e a month: where the customer stands now."""

    def faded(table: Any) -> Any:
        among = chosen.among(table) & table.value.notnull()
        weight = (-table.age / MONTH).exp()
        # Far back all weights vanish; the null that follows says that nothing is known any more.
        return exact_sum(table, table.value * weight, among) / exact_sum(table, weight, among).nullif(0.0)

    return faded


def latest(chosen: Events, column: str = "value") -> Expression:
    """The newest value; of several at one moment, the largest."""

    def newest(table: Any) -> Any:

        rank = ibis.struct({"age": -table.age, "value": table[column]})
        return table[column].argmax(rank, where=chosen.among(table) & table[column].notnull())

    return newest


def distinct(chosen: Events, column: str) -> Expression:
    """How many different words in `column`."""

    def different(table: Any) -> Any:
        # Not as a filter: DuckDB would sort out the words of all other rows too before it left them out.
        return chosen.among(table).ifelse(table[column], ibis.null(table[column].type())).nunique()

    return different


def active_days(chosen: Events) -> Expression:
    """On how many different days, counted back from the cutoff in steps of 24 hours."""
    return lambda table: _days(table, chosen)


def _days(table: Any, chosen: Events) -> Any:
    among = chosen.among(table)
    # Where days are the calendar's, the log says which rows begin one, within a type: counting them is much cheaper.
    if "new_day" in table.columns and len(chosen.types) == 1 and chosen.property is None:
        return table.count(where=among & table.new_day)
    return among.ifelse(table.age.ceil(), ibis.null("int64")).nunique()


def recency(chosen: Events) -> Expression:
    """Days since the newest."""
    return lambda table: table.age.min(where=chosen.among(table))


def first(chosen: Events) -> Expression:
    """Days since the oldest."""
    return lambda table: table.age.max(where=chosen.among(table))


def share(part: Events, whole: Events) -> Expression:
    """How many of `whole` are `part`, null where there is no whole."""
    return lambda table: count(part)(table).cast("float64") / count(whole)(table).nullif(0)


def trend(chosen: Events) -> Expression:
    """The last 30 days as a share of the customer's own usual month; null with less than 60 days of history."""

    def against_usual(table: Any) -> Any:

        age = table.age
        among = chosen.among(table)
        now = table.count(where=among & (age <= MONTH))
        horizon = MONTH + USUAL_DAYS
        before = table.count(where=among & (age > MONTH) & (age <= horizon))
        oldest = age.max(where=among)
        known_days = ibis.least(oldest, ibis.literal(float(horizon))) - MONTH
        usual = (oldest >= 2 * MONTH).ifelse(before.cast("float64") * MONTH / known_days, ibis.null("float64"))
        return now.cast("float64") / usual.nullif(0.0)

    return against_usual


def gap(chosen: Events) -> Expression:
    """The mean days between the days on which they happened; null with fewer than two such days."""

    def between(table: Any) -> Any:
        among = chosen.among(table)
        day = table.age.ceil()
        steps = _days(table, chosen) - 1
        return (day.max(where=among) - day.min(where=among)) / steps.nullif(0)

    return between


def gap_ratio(chosen: Events) -> Expression:
    """Days since the newest over the customer's own mean gap: above 1 is later than usual."""
    return lambda table: recency(chosen)(table) / gap(chosen)(table)


def age_of_pillar(pillar: str, evidence: DataProfile, repeats: str | None = None) -> Feature:
    """How old what is known of a pillar is.

    Where the type `repeats` alone feeds the pillar, a recency feature tells models the same already.
    """
    fed_by = evidence.feeding(pillar)
    return Feature(
        name=f"{pillar}_age_days",
        pillar=pillar,
        unit="days",
        sentence=f"{{value}} day{{s}} since anything was known of {pillar}",
        missing=f"nothing is known of {pillar} yet",
        direction=0,
        predictive=fed_by != (repeats,),
        expression=recency(events(*fed_by)),
    )


def counts(
    pillar: str, prefix: str, noun: str, chosen: Sequence[str], windows: Sequence[int] = WINDOWS, direction: int = -1
) -> list[Feature]:
    """One count per window: `<prefix>_<days>d`."""
    return [
        Feature(
            name=f"{prefix}_{days}d",
            pillar=pillar,
            unit="count",
            sentence=f"{{value}} {noun}{{s}} in the last {days} days",
            direction=direction,
            expression=count(events(*chosen, days=days)),
        )
        for days in windows
    ]


def days_active(
    pillar: str, prefix: str, noun: str, chosen: Sequence[str], windows: Sequence[int], direction: int = -1
) -> list[Feature]:
    """One count of distinct days per window: `<prefix>_days_<days>d`."""
    return [
        Feature(
            name=f"{prefix}_days_{days}d",
            pillar=pillar,
            unit="days",
            sentence=f"{{value}} day{{s}} with a {noun} in the last {days}",
            direction=direction,
            expression=active_days(events(*chosen, days=days)),
        )
        for days in windows
    ]


def rhythm(pillar: str, prefix: str, noun: str, chosen: Sequence[str]) -> list[Feature]:
    """Recency, trend, and the current gap against the usual one."""
    what = events(*chosen)
    return [
        since(pillar, prefix, noun, chosen),
        Feature(
            name=f"{prefix}_trend",
            pillar=pillar,
            unit="share",
            sentence=f"{noun}s of the last 30 days at {{value}} of this customer's usual month",
            missing=f"too few earlier {noun}s to know what is usual",
            direction=-1,
            expression=trend(what),
        ),
        Feature(
            name=f"{prefix}_gap_ratio",
            pillar=pillar,
            unit="ratio",
            sentence=f"the time since the last {noun} is {{value}} times this customer's usual gap",
            missing=f"too few {noun}s to know the usual gap",
            direction=1,
            expression=gap_ratio(what),
        ),
    ]


def since(pillar: str, prefix: str, noun: str, chosen: Sequence[str], direction: int = 1) -> Feature:
    """Days since the newest: `<prefix>_recency_days`."""
    return Feature(
        name=f"{prefix}_recency_days",
        pillar=pillar,
        unit="days",
        sentence=f"{{value}} day{{s}} since the last {noun}",
        missing=f"no {noun} yet",
        direction=direction,
        expression=recency(events(*chosen)),
    )
