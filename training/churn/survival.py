"""When customers leave: person-periods from the training cutoffs, and those too young to have an outcome as far as they go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import ibis
import numpy as np
import numpy.typing as npt
import pandas as pd

from features.config.business import Business
from features.config.data import Churn
from features.generation import Generation
from features.store.offline import OfflineStore
from models.arrays import FloatArray
from models.inference.survival import Hazard, period_ends
from training.churn.fit import FittedModel, predict
from training.dataset.prepare import Prepared, joined
from training.dataset.training_set import Labels

_DAY_SECONDS = 86_400.0
FEWEST_CHURNERS = 10
"""Among customers who were watched for a horizon: with fewer, nothing is known of when."""


def learned_hazard(generation: Generation, business: Business, prepared: Prepared, model: FittedModel) -> Hazard | None:
    """The hazard model that belongs to a churn model; None for a table, which has no time, or where nothing tells of when.

    Rows are those that trained, with their out-of-fold probabilities, and the cutoffs between them and the test window,
    whose outcomes are cut off when that window begins: no day is used that the churn model's own test does not allow.
    """
    churn = business.churn
    if churn is None or churn.definition is None or not prepared.cutoffs.test:
        return None
    silent = churn.definition == "inactivity"
    if len(period_ends(churn.horizon_days, silent=silent)) < 2:
        return None
    until = min(prepared.cutoffs.test)
    labels = prepared.data.labels
    train = prepared.train
    p = model.classifier.oof_probabilities_
    held_out = np.isfinite(p)
    customers = [labels.customer_id[train][held_out]]
    moments = [labels.event_timestamp[train][held_out]]
    headlines = [p[held_out]]
    late = [cutoff for cutoff in generation.cutoffs if max(prepared.cutoffs.train) < cutoff < until]
    if late:
        young = _unlabelled(generation, late)
        data = joined(generation, young).select(prepared.data.schema)
        customers.append(young.customer_id)
        moments.append(young.event_timestamp)
        headlines.append(predict(model, data, np.arange(len(young), dtype=np.int64)))
    customer, moment, headline = np.concatenate(customers), np.concatenate(moments), np.concatenate(headlines)
    known = _days(np.datetime64(until.astimezone(UTC).replace(tzinfo=None), "us") - moment)
    when = days_to_churn(_told(generation, churn), customer, moment, churn.horizon_days, silent=silent)
    seen = (when < known) & (known >= churn.horizon_days)
    if seen.sum() < FEWEST_CHURNERS:
        return None
    return Hazard.fit(headline, when, known, churn.horizon_days, silent=silent)


def days_to_churn(
    events: pd.DataFrame,
    customer_id: npt.NDArray[np.object_],
    moment: npt.NDArray[np.datetime64],
    horizon_days: int,
    *,
    silent: bool,
) -> FloatArray:
    """Days (n,) from each moment to churn, infinite where no event tells of it.

    Args:
        events: columns customer_id and occurred_at (UTC, without a zone): the event that is churn or, with `silent`,
            those whose absence for `horizon_days` is; the silence is then complete, counted from the moment on.
    """
    events = events.sort_values("occurred_at", kind="stable", ignore_index=True)
    asked = pd.DataFrame({"customer_id": customer_id, "moment": moment, "row": np.arange(len(moment))})
    asked = asked.sort_values("moment", kind="stable", ignore_index=True)

    def following(told: pd.DataFrame) -> FloatArray:
        found = pd.merge_asof(
            asked, told, left_on="moment", right_on="occurred_at", by="customer_id", direction="forward"
        )
        days = np.empty(len(asked))
        passed = (found["occurred_at"] - found["moment"]).dt.total_seconds() / _DAY_SECONDS
        days[asked["row"].to_numpy()] = passed.fillna(np.inf).to_numpy()
        return days

    first = following(events)
    if not silent:
        return first
    after = events.groupby("customer_id")["occurred_at"].shift(-1)
    silence = (after - events["occurred_at"]).dt.total_seconds() / _DAY_SECONDS
    last = following(events[silence.isna() | (silence >= horizon_days)])
    # A sign at the moment itself, and none after it, is no silence from the moment on, if only by a moment.
    soonest = np.nextafter(float(horizon_days), np.inf)
    return np.where(first >= horizon_days, float(horizon_days), np.maximum(last + horizon_days, soonest))


def _unlabelled(generation: Generation, cutoffs: Sequence[datetime]) -> Labels:
    """Who was a customer at cutoffs whose outcome is not known to its end; `y` is 0 for all and means nothing."""
    people = OfflineStore(generation).population(cutoffs)
    n = len(people)
    moment = people["event_timestamp"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    rows = np.arange(n, dtype=np.int64)
    return Labels(people["customer_id"].to_numpy(dtype=object), moment, np.zeros(n, dtype=np.int8), rows, rows)


def _told(generation: Generation, churn: Churn) -> pd.DataFrame:
    """The events that churn is told by."""
    types = (churn.event,) if churn.definition == "event" else churn.activity
    connection = ibis.duckdb.connect()
    connection.raw_sql("SET TimeZone = 'UTC'")
    events = connection.read_parquet(generation.events_files)
    told: pd.DataFrame = events.filter(events.type.isin(types)).select("customer_id", "occurred_at").to_pandas()
    occurred = pd.to_datetime(told["occurred_at"], utc=True).dt.tz_localize(None).astype("datetime64[us]")
    return told.assign(occurred_at=occurred, customer_id=told["customer_id"].astype(object))


def _days(passed: npt.NDArray[np.timedelta64]) -> FloatArray:
    """Time as days; an hour that a clock was put on or back by is no part of a day."""
    days = np.asarray(passed / np.timedelta64(1, "D"), dtype=np.float64)
    whole = np.round(days)
    return np.where(np.abs(days - whole) < timedelta(hours=2) / timedelta(days=1), whole, days)
