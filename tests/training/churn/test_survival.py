"""When customers leave, as the log tells it: days to churn, what is censored, and what a run keeps of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.generation import Generation
from models.inference.calibration import logit
from training.churn import survival
from training.churn.fit import FittedModel, fit_and_test
from training.churn.survival import days_to_churn, learned_hazard
from training.churn.uncertainty import learned_coverage, learned_interval
from training.dataset.prepare import Prepared, prepare
from training.evaluation.held_out import HeldOutPredictions

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
START = datetime(2024, 1, 1)
Log = list[tuple[str, float]]


def told(log: Log) -> pd.DataFrame:
    occurred = [START + timedelta(days=day) for _, day in log]
    return pd.DataFrame({"customer_id": [one for one, _ in log], "occurred_at": occurred}).astype(
        {"customer_id": object, "occurred_at": "datetime64[us]"}
    )


def asked(customers: list[str], days: list[float], log: Log, horizon: int, *, silent: bool) -> list[float]:
    moments = np.array([START + timedelta(days=day) for day in days], dtype="datetime64[us]")
    found = days_to_churn(told(log), np.array(customers, dtype=object), moments, horizon, silent=silent)
    return [float(one) for one in found]


def test_the_first_event_from_the_moment_on_is_churn() -> None:
    log = [("a", 20.0), ("a", 50.0), ("b", 10.0)]
    assert asked(["a", "a", "a", "b", "c"], [10, 20, 20.5, 11, 0], log, 30, silent=False) == [
        10.0, 0.0, 29.5, np.inf, np.inf
    ]  # fmt: skip


def test_silence_is_complete_a_horizon_after_the_last_sign() -> None:
    log = [("a", 5.0), ("a", 30.0), ("a", 62.0)]
    # Silent from the moment on; a gap of 32 days; the open end; a gap that began before the moment does not count.
    assert asked(["a", "a", "a", "a", "b"], [62.5, 6, 40, 31, 9], log, 30, silent=True) == [
        30.0, 54.0, 52.0, 30.0, 30.0
    ]  # fmt: skip
    assert asked(["a"], [32], log, 30, silent=True) == [30.0], "exactly a horizon of silence is one"


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 60)), max_size=12),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60)), min_size=1, max_size=6),
    st.integers(1, 25),
)
def test_within_the_horizon_it_is_the_label(log: list[tuple[str, int]], who: Log, horizon: int) -> None:
    """What `label_events` says of `[cutoff, cutoff + horizon)`, from the same events, day by day."""
    customers, moments = [one for one, _ in who], [float(day) for _, day in who]
    days = [(one, float(day)) for one, day in log]
    gone = asked(customers, moments, days, horizon, silent=False)
    quiet = asked(customers, moments, days, horizon, silent=True)
    for place, (customer, moment) in enumerate(zip(customers, moments, strict=True)):
        inside = any(one == customer and moment <= day < moment + horizon for one, day in days)
        assert (gone[place] < horizon) == inside
        assert (quiet[place] <= horizon) == (not inside)
        later = sorted(day for one, day in days if one == customer and day >= moment)
        ends = [
            day for day, following in zip([moment, *later], [*later, np.inf], strict=True) if following - day >= horizon
        ]
        assert quiet[place] == pytest.approx(ends[0] - moment + horizon)


Taught = tuple[Generation, Prepared, FittedModel, HeldOutPredictions]


@pytest.fixture(scope="module")
def leaving(build_events: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Customers whose sessions thin out before they cancel, at random times."""
    rng = np.random.default_rng(4)
    rows: list[dict[str, object]] = []
    start = datetime(2024, 1, 1, tzinfo=UTC)
    for number in range(320):
        rate, joined = rng.choice([0.08, 0.5]), rng.uniform(0, 240)
        leaves = joined + rng.exponential(60 if rate < 0.2 else 300)
        day = joined
        while day < min(leaves, 300):
            rows.append({"customer_id": f"C{number:03d}", "occurred_at": (start + timedelta(days=day)).isoformat(),
                         "type": "session"})  # fmt: skip
            day += rng.exponential(1 / rate)
        if leaves < 300:
            rows.append({"customer_id": f"C{number:03d}", "occurred_at": (start + timedelta(days=leaves)).isoformat(),
                         "type": "subscription_cancelled"})  # fmt: skip
    churn = 'definition = "event"\nevent = "subscription_cancelled"'
    return build_events(tmp_path_factory.mktemp("leaving") / "business", rows, churn)


@pytest.fixture(scope="module")
def taught(leaving: Any) -> Taught:
    generation = Generation.current(leaving.home)
    prepared = prepare(generation, leaving.business)
    model, _, tested = fit_and_test(prepared.data, prepared.split, prepared.windows, lambda: None)
    return generation, prepared, model, tested


def test_a_log_of_cancellations_teaches_when(leaving: Any, taught: Taught) -> None:
    generation, prepared, model, tested = taught
    hazard = learned_hazard(generation, leaving.business, prepared, model)
    assert hazard is not None
    assert hazard == learned_hazard(generation, leaving.business, prepared, model)
    found, expected = hazard.outlook(tested.p, logit(tested.p))
    assert hazard.days == (30, 60, 90, 180)
    assert (found[:, 0] == tested.p).all(), "its own horizon is 30 days"
    assert (np.diff(found, axis=1) > 0).all()
    # Those who leave sooner than expected are those who left: it orders them.
    assert expected[tested.p > np.median(tested.p)].mean() < expected[tested.p <= np.median(tested.p)].mean()
    interval = learned_interval(prepared, model, tested)
    low, high = interval.bounds(tested.p, logit(tested.p))
    assert ((low <= tested.p) & (tested.p <= high)).all()
    coverage = learned_coverage(prepared, model).of(prepared.data.X(tested.rows, model.categories))
    assert (coverage > 0.5).mean() > 0.9


def test_an_outcome_after_the_test_cutoff_teaches_nothing(
    leaving: Any, taught: Taught, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embargo: what happens from the test cutoff on may be anything."""
    generation, prepared, model, _ = taught
    until = pd.Timestamp(min(prepared.cutoffs.test)).tz_localize(None)
    before = learned_hazard(generation, leaving.business, prepared, model)
    read = survival._told

    def rewritten(*given: Any) -> pd.DataFrame:
        events = read(*given)
        kept = events[events["occurred_at"] < until]
        assert len(kept) < len(events)
        return kept

    monkeypatch.setattr(survival, "_told", rewritten)
    assert learned_hazard(generation, leaving.business, prepared, model) == before


def test_silence_is_told_from_its_own_horizon_on(log: Any) -> None:
    generation = Generation.current(log.home)
    prepared = prepare(generation, log.business)
    model, _, tested = fit_and_test(prepared.data, prepared.split, prepared.windows, lambda: None)
    hazard = learned_hazard(generation, log.business, prepared, model)
    assert hazard is not None
    assert hazard.silent
    assert hazard.ends[0] == 30
    found, expected = hazard.outlook(tested.p, logit(tested.p))
    assert (found[:, 0] == tested.p).all()
    assert (expected >= 30.0).all()


def test_a_table_has_no_time(table: Any) -> None:
    generation = Generation.current(table.home)
    prepared = prepare(generation, table.business)
    unasked: Any = None
    assert learned_hazard(generation, table.business, prepared, unasked) is None
