"""The moments of a build: as of now, 30 days before, and the cutoffs that training learns from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from features.config.business import Business
from features.errors import ConfigError, IngestError

DAY = timedelta(days=1)
COMPARISON = timedelta(days=30)
WEEK = timedelta(days=7)
WEEKS = 12
"""How many weeks before now are described beside now, for trends."""
HISTORY = timedelta(days=60)
"""A regular cutoff has at least this much history behind it, where the data is long enough."""


@dataclass(frozen=True, slots=True)
class Moments:
    """When customers are described: `cutoffs` for training, `as_of` for now, `before` for comparison, `weeks` for trends.

    All are UTC; `weeks` are kept in files of their own, which neither training nor Feast reads.
    """

    as_of: datetime
    before: datetime | None
    cutoffs: tuple[datetime, ...]
    weeks: tuple[datetime, ...] = ()

    @property
    def all(self) -> tuple[datetime, ...]:
        """Each moment but those of `weeks`, once, oldest first."""
        return tuple(sorted({*self.cutoffs, self.as_of, *([self.before] if self.before else [])}))


def moments_of_table(now: datetime) -> Moments:
    """A table knows one moment, the build's, to the second."""
    return Moments(as_of=now.astimezone(UTC).replace(microsecond=0), before=None, cutoffs=())


def _weeks_before(as_of: datetime) -> Iterator[datetime]:
    """The last Mondays before `as_of`, oldest first: the same ones all week, so that a day that is added moves none."""
    since = as_of - WEEKS * WEEK - timedelta.resolution  # a Monday that long ago counts
    return itertools.takewhile(lambda week: week < as_of, _mondays(since))


def moments_of_events(business: Business, first_event: datetime, last_event: datetime, now: datetime) -> Moments:
    """The moments of a log from `first_event` to `last_event`, as the TOML's `cutoffs` and `test_cutoffs` say.

    Raises:
        ConfigError: a listed cutoff lies outside the log, or no regular one lies within it.
        IngestError: the whole log lies in the future.
    """
    churn = business.churn
    if churn is None:
        raise ConfigError(f"{business.path}: the table [churn] is missing; it needs at least horizon_days.")
    first_event, last_event = first_event.astimezone(UTC), last_event.astimezone(UTC)
    end = midnight(last_event) + DAY
    as_of = min(now.astimezone(UTC).replace(microsecond=0), end)
    if as_of <= first_event:
        raise IngestError(
            f"{business.path}: every event lies in the future, the first at {first_event:%Y-%m-%d %H:%M}."
        )
    if isinstance(churn.cutoffs, str):
        cutoffs = _regular(churn.cutoffs, first_event, as_of)
        if not cutoffs and not churn.test_cutoffs:
            raise ConfigError(
                f"{business.path}: [churn] cutoffs: no {churn.cutoffs} cutoff lies within the events, which reach from "
                f"{first_event:%Y-%m-%d} to {last_event:%Y-%m-%d}; list cutoffs by date, or give more data."
            )
    else:
        cutoffs = churn.cutoffs
        _check(business, "cutoffs", cutoffs, first_event, as_of)
    tests = churn.test_cutoffs or ()
    _check(business, "test_cutoffs", tests, first_event, as_of)
    before = as_of - COMPARISON
    return Moments(
        as_of=as_of,
        before=before if before > first_event else None,
        cutoffs=tuple(sorted({*cutoffs, *tests})),
        weeks=tuple(week for week in _weeks_before(as_of) if week > first_event),
    )


def midnight(moment: datetime) -> datetime:
    """The start of the moment's day, UTC."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _regular(rhythm: str, first_event: datetime, as_of: datetime) -> tuple[datetime, ...]:
    every = _months(first_event) if rhythm == "monthly" else _mondays(first_event)
    found: list[datetime] = []
    for cutoff in every:
        if cutoff > as_of:
            break
        found.append(cutoff)
    with_history = [cutoff for cutoff in found if cutoff >= first_event + HISTORY]
    return tuple(with_history or found)


def _months(after: datetime) -> Iterator[datetime]:
    year, month = after.year, after.month
    while True:
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        yield datetime(year, month, 1, tzinfo=UTC)


def _mondays(after: datetime) -> Iterator[datetime]:
    cutoff = midnight(after) - after.weekday() * DAY
    while True:
        cutoff += 7 * DAY
        yield cutoff


def _check(business: Business, key: str, cutoffs: tuple[datetime, ...], first_event: datetime, as_of: datetime) -> None:
    for cutoff in cutoffs:
        if not first_event < cutoff <= as_of:
            raise ConfigError(
                f"{business.path}: [churn] {key}: {cutoff:%Y-%m-%d %H:%M} lies outside the events, which reach from "
                f"{first_event:%Y-%m-%d %H:%M} to {as_of:%Y-%m-%d %H:%M}."
            )
