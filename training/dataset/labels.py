"""What happened to whom: the population of each cutoff, and its outcome in the window that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import ibis
import numpy as np
import pandas as pd

from features.config.business import Business
from features.generation import Generation
from features.store.offline import OfflineStore
from training.dataset.training_set import Labels
from training.errors import LabelError


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """The moments at which customers are judged, oldest first: those to train on end a horizon before the first to test on.

    `early` could have trained, but had less than a horizon of history behind them.
    """

    train: tuple[datetime, ...]
    test: tuple[datetime, ...]
    early: tuple[datetime, ...] = ()


def data_end(last_event: datetime, timezone: str) -> datetime:
    """The midnight after the last event, in the business's zone: an outcome window is complete if it ends by then."""
    day: date = last_event.astimezone(ZoneInfo(timezone)).date()
    return datetime.combine(day + timedelta(days=1), time(), ZoneInfo(timezone))


def choose_cutoffs(
    available: Sequence[datetime],
    test: Sequence[datetime] | None,
    horizon_days: int,
    last_event: datetime,
    timezone: str,
    first_event: datetime | None = None,
) -> Cutoffs:
    """Divide cutoffs into those to train on and those to test on.

    Args:
        available: the cutoffs that have features.
        test: those to test on; None takes the last whose outcome window is complete.
        first_event: cutoffs with less than a horizon of history behind them do not train, if any others do: what is
            known of customers then is not what will be known of them later.

    Raises:
        LabelError: a test cutoff has no features or no complete outcome window, or none is left to train on.
    """
    horizon = timedelta(days=horizon_days)
    end = data_end(last_event, timezone)

    def is_complete(cutoff: datetime) -> bool:
        # By the wall clock: a change to summer time must not push a window over the midnight at which the data end.
        return cutoff.astimezone(ZoneInfo(timezone)) + horizon <= end

    complete = sorted({cutoff for cutoff in available if is_complete(cutoff)})
    if test is None:
        if not complete:
            raise LabelError(
                f"No cutoff has a complete outcome window of {horizon_days} days: the events end on {_day(last_event)}, so give "
                f"more history or a shorter [churn] horizon_days."
            )
        tested = complete[-1:]
    else:
        tested = sorted(set(test))
        for cutoff in tested:
            if not is_complete(cutoff):
                raise LabelError(
                    f"The outcome window of test cutoff {_day(cutoff)} ends on {_day(cutoff + horizon)}, but the events end on "
                    f"{_day(last_event)}: choose earlier [churn] test_cutoffs or a shorter horizon_days."
                )
            if cutoff not in complete:
                raise LabelError(
                    f"The test cutoff {_day(cutoff)} has no features: run 'python -m features build CONFIG' again."
                )
    ended = tuple(cutoff for cutoff in complete if cutoff + horizon <= tested[0])
    trained = tuple(cutoff for cutoff in ended if first_event is None or cutoff >= first_event + horizon) or ended
    if not trained:
        raise LabelError(
            f"No training cutoff has its outcome window of {horizon_days} days complete by the first test cutoff, "
            f"{_day(tested[0])}: give more history, earlier [churn] cutoffs or a shorter horizon_days."
        )
    return Cutoffs(trained, tuple(tested), tuple(cutoff for cutoff in ended if cutoff not in trained))


def _day(moment: datetime) -> str:
    shown = moment.astimezone(UTC)
    return shown.strftime("%Y-%m-%d" if shown.time() == time() else "%Y-%m-%d %H:%M")


def label_events(generation: Generation, business: Business) -> tuple[Labels, Cutoffs]:
    """The population of every usable cutoff of an event business, and who of them churned.

    By inactivity, a customer churned who has no event of the `activity` types in `[cutoff, cutoff + horizon)` by
    `occurred_at`; by event, one who has the `event`. Rows are ordered by cutoff and customer; `rank` is the cutoff's.

    Raises:
        LabelError: see `choose_cutoffs`; or nobody is a customer at them.
    """
    churn = business.churn
    last_event = generation.sources.last_event
    if churn is None or last_event is None:
        raise LabelError(f"{business.path}: training needs [data] and [churn], and at least one event.")
    first_event = generation.sources.first_event
    cutoffs = choose_cutoffs(
        generation.cutoffs, churn.test_cutoffs, churn.horizon_days, last_event, business.timezone, first_event
    )
    return label_at(generation, business, [*cutoffs.train, *cutoffs.test]), cutoffs


def complete_cutoffs(generation: Generation, business: Business) -> tuple[datetime, ...]:
    """The generation's cutoffs whose outcome window is complete, oldest first."""
    last_event = generation.sources.last_event
    if business.churn is None or last_event is None:
        return ()
    zone = ZoneInfo(business.timezone)
    end, horizon = data_end(last_event, business.timezone), timedelta(days=business.churn.horizon_days)
    return tuple(sorted({cutoff for cutoff in generation.cutoffs if cutoff.astimezone(zone) + horizon <= end}))


def label_at(generation: Generation, business: Business, moments: Sequence[datetime]) -> Labels:
    """The population of some cutoffs whose outcome windows are complete, and who of them churned.

    Raises:
        LabelError: nobody is a customer at them.
    """
    churn = business.churn
    assert churn is not None
    people = OfflineStore(generation).population(moments)
    if people.empty:
        raise LabelError("Nobody was a customer at any cutoff: give earlier events or later [churn] cutoffs.")
    types = (churn.event,) if churn.definition == "event" else churn.activity
    by_event = churn.definition == "event"
    connection = ibis.duckdb.connect()
    connection.raw_sql("SET TimeZone = 'UTC'")
    events = connection.read_parquet(generation.events_files)
    relevant = events.filter(events.type.isin(types))
    customer_id = people["customer_id"].to_numpy(dtype=object)
    timestamp = people["event_timestamp"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    y = np.zeros(len(people), dtype=np.int8)
    for moment in moments:
        in_window = relevant.filter(
            relevant.occurred_at >= ibis.literal(moment),
            relevant.occurred_at < ibis.literal(moment + timedelta(days=churn.horizon_days)),
        )
        seen = set(in_window.select("customer_id").distinct().to_pandas()["customer_id"])
        rows = np.flatnonzero(timestamp == np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us"))
        y[rows] = [(customer in seen) == by_event for customer in customer_id[rows]]
    return Labels(
        customer_id=customer_id,
        event_timestamp=timestamp,
        y=y,
        group=np.unique(customer_id.astype(str), return_inverse=True)[1].astype(np.int64),
        rank=np.unique(timestamp, return_inverse=True)[1].astype(np.int64),
    )


def label_table(generation: Generation, *, ordered: bool) -> Labels:
    """The rows of a table business, in the file's order, with their known outcome.

    Args:
        ordered: whether the TOML says that rows stand in time order; `rank` is None if not.
    """
    connection = ibis.duckdb.connect()
    table = connection.read_parquet(str(generation.customers_file))
    frame = table.select("customer_id", *(name for name in table.columns if name.startswith("__"))).to_pandas()
    frame = frame.sort_values("__order", kind="stable", ignore_index=True)
    n = len(frame)
    moment = np.datetime64(generation.as_of.astimezone(UTC).replace(tzinfo=None), "us")
    group = np.arange(n, dtype=np.int64)
    if "__group" in frame and frame["__group"].notna().any():
        # A row without a group is one of its own.
        named = [
            f"g{value}" if known else f"r{row}"
            for row, (value, known) in enumerate(zip(frame["__group"], frame["__group"].notna(), strict=True))
        ]
        group = np.unique(named, return_inverse=True)[1].astype(np.int64)
    return Labels(
        customer_id=frame["customer_id"].to_numpy(dtype=object),
        event_timestamp=np.full(n, moment),
        y=frame["__outcome"].to_numpy(dtype=np.int8),
        group=group,
        rank=frame["__order"].to_numpy(dtype=np.int64) if ordered else None,
    )


def entity_frame(labels: Labels) -> pd.DataFrame:
    """Who and when, as Feast's point-in-time join asks for it."""
    return pd.DataFrame(
        {
            "customer_id": labels.customer_id,
            "event_timestamp": pd.DatetimeIndex(labels.event_timestamp).tz_localize("UTC"),
        }
    )
