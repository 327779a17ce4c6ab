"""Subgroups, windows and the top that a team can call."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.config.business import Business
from features.errors import ConfigError
from features.generation import Generation
from training.dataset.prepare import prepare
from training.evaluation.bootstrap import figures_of
from training.evaluation.held_out import HeldOutPredictions
from training.evaluation.slices import (
    calibration_tests,
    compared_groups,
    examine,
    gains,
    subgroup_columns,
    team_capacity,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

CALLS = """
[[actions]]
name = "call"
channel = "phone"
cost = 5.0
minutes = 20
prior_effect = 0.2
capacity = { count = 30, days = 7 }
[[actions]]
name = "mail"
channel = "email"
cost = 0.1
prior_effect = 0.02
capacity = { count = 100000, days = 7 }
"""


def _groups(seed: int, shift: float, n: int = 4000) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    plan = rng.choice(["basic", "plus", "pro"], n).astype(object)
    region = rng.choice(["north", "south"], n).astype(object)
    margin = rng.normal(-1, 1, n)
    p = 1 / (1 + np.exp(-margin))
    truth = 1 / (1 + np.exp(-(margin + shift * (plan == "pro") + 0.5)))  # off by half for everybody
    return (rng.random(n) < truth).astype(np.int64), p, {"plan": plan, "region": region}


def test_a_group_that_is_off_is_named_and_one_that_is_off_for_everybody_is_not() -> None:
    y, p, columns = _groups(0, 0.8)
    plan, region = compared_groups(y, p, np.arange(len(y)), columns)
    assert plan.differs
    assert (plan.column, plan.worst) == ("plan", "pro")
    assert plan.off > 0.05
    assert not region.differs
    assert {group.name for group in plan.groups} == {"basic", "plus", "pro"}
    assert sum(group.rows for group in plan.groups) == len(y)
    for group in plan.groups:
        assert group.auc_interval is not None
        assert group.auc is not None
        assert group.auc_interval.low <= group.auc <= group.auc_interval.high


def test_chance_alone_is_warned_of_one_time_in_twenty_at_most_however_many_columns() -> None:
    rng = np.random.default_rng(7)
    warned = 0
    for seed in range(40):
        y, p, _ = _groups(seed, 0.0, 1500)
        columns = {f"c{number}": rng.choice(["a", "b", "c", "d"], 1500).astype(object) for number in range(8)}
        warned += any(p_value < 0.05 for p_value, _, _ in calibration_tests(y, p, np.arange(1500), columns))
    assert warned <= 6


def test_gains_of_a_perfect_order_and_of_none() -> None:
    y = np.r_[np.ones(20), np.zeros(80)].astype(np.int64)
    assert dict(gains(y, np.linspace(1, 0, 100)))[0.2] == pytest.approx(1.0)
    for share, caught in gains(y, np.full(100, 0.2)):
        assert caught == pytest.approx(share)


@pytest.mark.parametrize(
    ("last", "k", "why"),
    [
        ("", 40, "tenth"),
        (CALLS, 30, "[[actions]]"),
        (CALLS + "[evaluation]\ntop_k = 12\n", 12, "top_k"),
        ("[evaluation]\ntop_k = 99999\n", 400, "top_k"),
        (
            CALLS.replace("capacity = { count = 30, days = 7 }\n", "").replace(
                "capacity = { count = 100000, days = 7 }\n", ""
            )
            + "[policy]\nstaff = { minutes = 400, days = 7 }\n",
            20,
            "staff",
        ),
    ],
)
def test_the_top_is_what_a_team_can_call(table: Any, tmp_path: Path, last: str, k: int, why: str) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(table.business.path.read_text() + last)
    found, reason = team_capacity(Business.load(path), 400)
    assert found == k
    assert why in reason


@pytest.mark.parametrize("line", ["top_k = 0", 'subgroup = ["plan"]', "top_k = true"])
def test_a_wrong_key_is_a_sentence(table: Any, tmp_path: Path, line: str) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(table.business.path.read_text() + f"\n[evaluation]\n{line}\n")
    with pytest.raises(ConfigError, match=r"\[evaluation\]"):
        Business.load(path)


@pytest.fixture(scope="module")
def prepared(table: Any) -> Any:
    return prepare(Generation.current(table.home), table.business)


def test_a_run_is_examined_as_a_whole(table: Any, prepared: Any, tmp_path: Path) -> None:
    data = prepared.data
    rows = np.arange(len(data))
    p = np.clip(0.15 * data.columns["calls"] / 3 + 0.2, 0.05, 0.95)
    tested = HeldOutPredictions(rows, p, p, np.full(len(data), data.y.mean()))
    found = examine(table.business, prepared, tested, tested.evaluate(data.y))
    shown = found.to_json()
    assert set(shown["intervals"]) == set(tested.evaluate(data.y).metrics.to_json())
    assert set(shown["baseline_intervals"]) == {"base_rate", "logistic_regression"}
    assert [one["column"] for one in shown["subgroups"]] == ["plan"]
    assert shown["windows"] == []
    assert shown["top_k"]["precision"] == pytest.approx(figures_of(data.y, p, 41)["precision_at_k"])
    assert shown["top_k"]["k"] == 41

    path = tmp_path / "tiny.toml"
    path.write_text(table.business.path.read_text() + '\n[evaluation]\nsubgroups = ["age", "plann"]\n')
    columns, unknown = subgroup_columns(Business.load(path), prepared)
    assert set(columns) == {"age"}
    assert len(set(columns["age"].tolist())) == 4
    assert "'plann'; did you mean 'plan'" in unknown[0]


def test_windows_are_told_apart(build_events: Any, purchases: Any, tmp_path: Path) -> None:
    said = (
        'definition = "inactivity"\nactivity = ["purchase"]\ntest_cutoffs = ["2024-05-01", "2024-06-01", "2024-07-01"]'
    )
    place = build_events(tmp_path / "b", purchases(80), said)
    prepared = prepare(Generation.current(place.home), place.business)
    rows = prepared.split.folds[0].test
    p = np.full(len(rows), 0.3)
    tested = HeldOutPredictions(rows, p, p, p)
    found = examine(place.business, prepared, tested, tested.evaluate(prepared.data.y))
    assert [part.name for part in found.windows] == ["2024-05-01", "2024-06-01", "2024-07-01"]
    moments = prepared.data.labels.event_timestamp[rows]
    first = moments == np.datetime64(datetime(2024, 5, 1, tzinfo=UTC).replace(tzinfo=None), "us")
    assert found.windows[0].churn_rate == pytest.approx(prepared.data.y[rows][first].mean())
    # Three windows of the same customers: the top is a tenth of each.
    assert found.top_k.k == 3 * max(1, round(len(rows) // 3 / 10))
